"""loan.csv in, model archive out."""

import os

# Before LightGBM's OpenMP library is loaded: by default its threads spin for so long while they wait for each other
# that a fit takes several times as long when the cores are busy with other work; idle ones make no difference.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
