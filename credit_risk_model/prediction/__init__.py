"""Models: loan in, prediction out."""
