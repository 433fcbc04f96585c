"""Drift: how far the requested loans differ from the training loans.

Training stores bins in the archive, with the share of its own loans in each. The service counts its loans in the same
bins. Prometheus rules and `python -m credit_risk_model.monitoring drift` test such counts with the same statistic.
"""
