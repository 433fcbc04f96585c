"""loan.csv in, model archive out."""

import os

# This must be set before LightGBM's OpenMP library is loaded. By default its threads spin for long while they wait for
# each other. On busy cores a fit then takes several times as long. On idle cores it makes no difference.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
