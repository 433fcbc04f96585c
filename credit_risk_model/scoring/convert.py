"""Converts a file of loans to Parquet: `python -m credit_risk_model.scoring.convert --help`."""

from credit_risk_model.scoring.entry import run

if __name__ == "__main__":
    run("conversion", "python -m credit_risk_model.scoring.convert")
