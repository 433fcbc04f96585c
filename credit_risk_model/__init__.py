"""Credit risk of running loans: train, package and serve a LightGBM model."""

__version__ = "0.4.0"

DESCRIPTION = "Predicts whether a running loan is safe or risky as it stands now, and how sure that is."
