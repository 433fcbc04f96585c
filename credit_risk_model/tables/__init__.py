"""Tables of loans, from files and from frames: recognised, checked and encoded by the same rules.

It needs NumPy and Arrow (the extra `scoring`). The service, which answers single loans, imports nothing of it.
"""
