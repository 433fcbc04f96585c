"""Tables of loans, from files and from frames: found, read, recognised, checked and encoded by the same rules.

It needs NumPy and Arrow (the extras `scoring` and `training`): Arrow reads Parquet and CSV in pieces of chosen size by
the columns that are needed, parses a decimal to the nearest float as Python does (so that a file gets the service's
very probabilities), and lets go of the interpreter lock while it works. The service, which answers single loans,
imports nothing of it.
"""
