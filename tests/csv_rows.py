"""Made-up rows of CSV files, and what their chunks hold."""

from pathlib import Path
from typing import Any

from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Chunk, Source

NUMBERS = [feature.name for feature in CONTRACT_FEATURES if not feature.levels]
NOTE = "Notes offered by Prospectus (https://www.lendingclub.com/info/prospectus.action)"
MARKER = "Loans that do not meet the credit policy"
FOOTER = "Total amount funded in policy code 1: 123450"

Rows = list[dict[str, Any]]


def write(path: Path, content: str | bytes) -> Path:
    """Write a file into a folder that may not be there yet."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parse(source: Source, *, as_they_are: bool = False) -> list[Chunk]:
    """All chunks of a source."""
    tasks = source.tasks(as_they_are=True) if as_they_are else source.tasks()
    return [task.parse() for task in tasks]


def amounts(chunks: list[Chunk]) -> list[float]:
    """The loan amounts of chunks, which tell the made loans apart."""
    return [amount for chunk in chunks for amount in chunk.table["loan_amount"].to_pylist()]


def read(content: str | bytes, path: Path, ids: tuple[str, ...] = ("id",)) -> Chunk:
    """The only chunk of a file."""
    (chunk,) = parse(open_source(write(path, content), ids))
    return chunk
