"""Joins the scores of all shards: `python -m credit_risk_model.scoring.join --help`."""

from credit_risk_model.scoring.entry import run

if __name__ == "__main__":
    run("joining", "python -m credit_risk_model.scoring.join")
