"""A synthetic loan book in the 74-column layout of Kaggle's `loan.csv`, made from loan mathematics.

It replaces the real file if that is missing. Nothing in it describes a person, and every web address in it shows that
it is synthetic. Columns that neither training nor scoring reads are blank. A book is made in chunks of 10,000 loans,
each with the full file's mix of statuses in random order. So a longer book begins with the shorter one of its seed.

The steps follow a loan's life: issue months, borrowers, terms, statuses, repayment; then the odd and missing values of
a real file.
"""

from credit_risk_model.training.synthetic.layout import ADDRESS, COLUMNS
from credit_risk_model.training.synthetic.writing import make_synthetic_loan_book, write_synthetic_loan_book

__all__ = ["ADDRESS", "COLUMNS", "make_synthetic_loan_book", "write_synthetic_loan_book"]
