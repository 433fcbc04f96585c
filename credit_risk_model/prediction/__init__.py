"""Loan in, answer out."""
