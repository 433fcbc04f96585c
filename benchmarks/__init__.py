"""Measurements of the service and of training, each run as `python -m benchmarks.<name>` from the repository root."""
