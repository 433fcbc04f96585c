"""Credit risk of loans on the book: train, package and serve a LightGBM model."""

__version__ = "0.3.0"

DESCRIPTION = "Calls a loan on the book safe or risky and says how probable it is that the loan is risky."
