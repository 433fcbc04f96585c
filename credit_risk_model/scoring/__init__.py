"""Files of loans in, files of scores out: `python -m credit_risk_model.scoring --help`.

It needs the extra `scoring`: pyarrow, with which `tables` reads the loans, and which writes the same bytes for the same
content. Table libraries that are built for queries (pandas, Polars, DuckDB) give less say in where a file is cut and
when it is in memory.
"""
