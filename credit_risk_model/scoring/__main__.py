"""Scores a file of loans: `python -m credit_risk_model.scoring --help`."""

from credit_risk_model.scoring.entry import run

if __name__ == "__main__":
    run("command_line", "python -m credit_risk_model.scoring")
