"""Reads, checks and encodes tables of loans, by the same rules for files and frames.

It needs NumPy and Arrow (the extras `scoring` and `training`). Arrow reads only the needed columns of Parquet and CSV,
in chunks of a chosen size, and releases the interpreter lock while it works. It parses a decimal to the nearest float,
as Python does, so a file gets exactly the service's probabilities. The service, which scores single loans, imports
nothing from here.
"""
