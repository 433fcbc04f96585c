"""Compares scored loans with the training's loans or with others, by the alert rules' statistic."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

from credit_risk_model import archive as archives
from credit_risk_model.archive import Archive
from credit_risk_model.decisions import DecisionLogError
from credit_risk_model.drift.counting import Counted, Counts, LoanCount
from credit_risk_model.drift.judging import smoothed_shares
from credit_risk_model.drift.reference import SCORE, ZONE, Reference
from credit_risk_model.errors import DataError, MissingPackageError
from credit_risk_model.monitoring.replay import read_loan
from credit_risk_model.schemas import Caution
from credit_risk_model.tables.places import Place, get_name, get_suffix

TABLES = (".parquet", ".csv")
_COLUMNS = [SCORE, "cautions"]
_BEGINNINGS_OF_LOGS = (b"", b"{")


def count_log(records: Iterable[dict[str, Any]], archive: Archive) -> Counts:
    """Count a decision log's loans; skip erased ones."""
    counts: dict[str, LoanCount] = {reference.age: LoanCount(reference) for reference in archive.metadata.reference}
    for record in records:
        if "loan" in record["personal"]:
            loan = read_loan(record, archive)
            known = archive.with_age is not None and loan.instalments_due is not None
            count = counts.get("known" if known else "unknown")
            if count is not None:
                count.add(loan, record["risk_probability"])
    return {age: count.read() for age, count in counts.items()}


def read_archive(place: Place) -> Archive:
    """Read an archive from a path or a URI."""
    if isinstance(place, Path):
        return archives.read(place)
    _, stores = _import_tables(place)
    with stores.on_this_machine(place) as path:
        return archives.read(path)


def is_table(place: Place) -> bool:
    """Return whether this is a file or folder of loans or scores, not a decision log, which is a local file of JSON.

    Raises:
        DecisionLogError: It is a decision log in an object store.
    """
    if get_suffix(place) in TABLES:
        return True
    if isinstance(place, Path):
        if not place.is_file():
            return place.is_dir()
        with place.open("rb") as file:
            return file.read(1) not in _BEGINNINGS_OF_LOGS
    _, stores = _import_tables(place)
    if stores.StoredFile.at(place).begins_with(b"{"):
        raise DecisionLogError(f"{get_name(place)}: a decision log must be on this machine. Fetch it first.")
    return True


def count_table(place: Place, archive: Archive, as_of: str | None = None) -> Counts:
    """Count the loans of a file of scores by probability, or those of a file of loans by probability and fields.

    Args:
        place: A file of scores, or a file of loans, which is scored in flat memory.
        archive: Scores the loans, and has the bins to count them into.
        as_of: Month in which the loans were recorded, as 2016-01, for files that do not say it.

    Raises:
        DataError: The file can't be read, or holds neither loans nor scores.
        ConfigurationError: `as_of` is not a month.
        MissingPackageError: The extra `scoring` is not installed.
    """
    counting, stores = _import_tables(place)
    stored = stores.StoredFile.at(place)
    return _count_scores(stored, archive) if _holds_scores(stored) else counting.count_file(place, archive, as_of)


def _import_tables(place: Place) -> tuple[ModuleType, ModuleType]:
    """Import the modules that count tables' loans and reach object stores."""
    try:
        from credit_risk_model.scoring import counting  # noqa: PLC0415  # a log needs none of it
        from credit_risk_model.tables import stores  # noqa: PLC0415
    except ModuleNotFoundError:
        raise MissingPackageError(
            f"{get_name(place)}: reading a table needs packages that are not installed: "
            "pip install 'credit-risk-model[scoring]'."
        ) from None
    return counting, stores


def _count_scores(stored: Any, archive: Archive) -> Counts:
    import numpy as np  # noqa: PLC0415

    table = _read_scores(stored)
    probability = table[SCORE].to_numpy()
    unknown = np.array(
        [Caution.INSTALMENTS_DUE_MISSING.value in cautions for cautions in table["cautions"].to_pylist()]
    )
    if archive.with_age is None:
        unknown[:] = True
    counts: Counts = {}
    for reference in archive.metadata.reference:
        chosen = probability[unknown == (reference.age == "unknown")]
        of_score = (SCORE, ZONE)
        counts[reference.age] = Counted(
            [bins.count_values(chosen) if bins.feature in of_score else None for bins in reference.bins],
            float(chosen.sum()),
            len(chosen),
        )
    return counts


def _holds_scores(stored: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv, parquet  # noqa: PLC0415

    try:
        if stored.name.endswith(".csv"):
            schema = csv.open_csv(stored.open()).schema
        else:
            schema = parquet.read_schema(stored.path, filesystem=stored.filesystem)
    except (OSError, pa.ArrowException):  # reading it as loans will report the error
        return False
    return SCORE in schema.names


def _read_scores(stored: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv, parquet  # noqa: PLC0415

    try:
        if stored.name.endswith(".parquet"):
            table = parquet.read_table(stored.path, columns=_COLUMNS, filesystem=stored.filesystem)
        else:
            types = {SCORE: pa.float64(), "cautions": pa.string()}
            options = csv.ConvertOptions(column_types=types, include_columns=_COLUMNS)
            table = csv.read_csv(stored.open(), convert_options=options)
        table = table.cast(pa.schema([(SCORE, pa.float64()), ("cautions", pa.string())]))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DataError(f"{stored.name}: holds no scores ({str(error).splitlines()[0][:200]}).") from None
    return table


def draw_bins(reference: Reference, counted: Counted, against: Counted | None) -> str:
    """Draw each feature's bins as bars in HTML, the expected share above the found one."""
    parts = [f"<h2>Loans whose age is {reference.age}</h2>"]
    for place, (bins, counts) in enumerate(zip(reference.bins, counted.counts, strict=True)):
        if counts is None:
            continue
        others = None if against is None else against.counts[place]
        expected = bins.shares if others is None else smoothed_shares(others)
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{_draw_bar(was, 'was')}{_draw_bar(now, 'now')}</td>"
            f"<td>{was:.1%}</td><td>{now:.1%}</td></tr>"
            for name, was, now in zip(bins.names, expected, smoothed_shares(counts), strict=True)
        )
        parts.append(
            f"<h3>{escape(bins.feature)}</h3><table><tr><th>bin</th><th></th><th>expected</th><th>found</th></tr>"
            f"{rows}</table>"
        )
    return "\n".join(parts)


def _draw_bar(share: float, kind: str) -> str:
    return f'<div class="{kind}" style="width: {share * 30:.2f}em"></div>'
