"""Files of loans in, files of scores out: `python -m credit_risk_model.scoring --help`.

It needs the extra `scoring`: pyarrow, because it reads Parquet and CSV in pieces of chosen size by the columns that are
needed, parses a decimal to the nearest float as Python does (so that a file gets the service's very probabilities),
lets go of the interpreter lock while it works, and writes the same bytes for the same content. Table libraries that
are built for queries (pandas, Polars, DuckDB) give less say in where a file is cut and when it is in memory.
"""
