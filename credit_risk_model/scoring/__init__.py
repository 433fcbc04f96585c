"""Scores files of loans: `python -m credit_risk_model.scoring --help`.

It needs the extra `scoring`. `tables` reads the loans with pyarrow, which writes the same bytes for the same content.
Table libraries that are built for queries (pandas, Polars, DuckDB) give less control over where a file is split and
when it is in memory.
"""
