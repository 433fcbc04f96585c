"""Trains a model on a file of loans, and packages it as an archive."""

import os

# This must be set before LightGBM's OpenMP library is loaded. By default its threads spin for a long time while waiting
# for each other, which makes a fit several times slower on busy cores. On idle cores it makes no difference.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
