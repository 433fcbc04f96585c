"""How far the loans that are asked for are from those of the training: the bins, and what follows from their counts.

Training puts the bins into the archive, with the share of its own loans in each. The service counts the loans that it
answers into the same bins. Prometheus' rules and `python -m credit_risk_model.monitoring drift` judge such counts by
the same statistic.
"""
