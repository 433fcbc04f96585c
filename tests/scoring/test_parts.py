import csv
import datetime
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from conftest import made_up_loans, spoilt

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import AGE
from credit_risk_model.scoring.run import Settings, score
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Shard

WriteParts = Callable[..., Path]
SUFFIXES = ("snappy.parquet", "csv", "csv.gz")


def write_as(suffix: str, table: pa.Table, path: Path) -> None:
    """Write one part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix.endswith("parquet"):
        pq.write_table(table, path, row_group_size=100)
        return
    pyarrow.csv.write_csv(table, path)
    if suffix.endswith("gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.fixture
def write_parts(tmp_path: Path) -> WriteParts:
    """Write loans as Spark does: three parts of 250, and what it writes beside them."""

    def write(loans: pa.Table, suffix: str) -> Path:
        folder = tmp_path / "loans"
        for number in (2, 0, 1):
            part = folder / f"part-0000{number}-ab12.{suffix}"
            write_as(suffix, loans.slice(number * 250, 250), part)
            (folder / f".{part.name}.crc").write_bytes(b"crc")
        (folder / "_SUCCESS").write_bytes(b"")
        return folder

    return write


def scores_of(source: Path, archive: Path, shard: Shard | None = None) -> str:
    """The scores and the rejects of a run, as text."""
    output = source.with_name("scores.csv")
    settings = Settings(source, output, ids=("id",), archive=str(archive), shard=shard or Shard())
    score(settings)
    return output.read_text() + Path(settings.rejects_path).read_text()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_folder_of_parts_is_read_in_the_order_of_names(
    suffix: str, write_parts: WriteParts, archive_path: Path, tmp_path: Path
) -> None:
    """A folder of Parquet or CSV parts gives what one file of all its rows gives; Spark's own files are no parts."""
    loans = made_up_loans(750)
    whole = tmp_path / f"whole.{suffix}"
    write_as(suffix, loans, whole)
    assert scores_of(write_parts(loans, suffix), archive_path) == scores_of(whole, archive_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_shards_of_a_folder_are_the_whole(suffix: str, count: int, write_parts: WriteParts) -> None:
    """A shard takes whole parts, or whole row groups of Parquet; each row is in one shard, and numbered as in a run."""
    loans = made_up_loans(750)
    folder = write_parts(loans, suffix)
    found: list[str] = []
    for number in range(1, count + 1):
        source = open_source(folder, ("id",), Shard(number, count))
        ids = [value for task in source.tasks() for value in task.parse().table["id"].to_pylist()]
        assert not ids or source.rows_before == len(found)
        found += ids
    assert found == loans["id"].to_pylist()


@pytest.mark.parametrize("name", ["term=36/issue_d=Dec-2014", "term=36 months/issue_d=Dec-2014"])
def test_names_of_hives_folders_are_columns(name: str, loan: dict[str, Any], tmp_path: Path) -> None:
    """What Hive and Spark write into the folders' names is read as a column of the parts within."""
    row = {key: value for key, value in loan.items() if key not in ("term", AGE)} | {"snapshot_d": "Jan-2016"}
    write_as("parquet", pa.Table.from_pylist([row] * 2), tmp_path / "loans" / name / "part-0.parquet")
    other = name.replace("36", "60").replace("2014", "2015")
    write_as("parquet", pa.Table.from_pylist([row]), tmp_path / "loans" / other / "part-0.parquet")
    source = open_source(tmp_path / "loans", ("issue_d",))
    rows = [found for task in source.tasks() for found in task.parse().table.to_pylist()]
    assert [str(found["term"]).partition(" ")[0] for found in rows] == ["36", "36", "60"]
    assert [found[AGE] for found in rows] == [13, 13, 1]
    assert [found["issue_d"] for found in rows] == ["Dec-2014", "Dec-2014", "Dec-2015"]


def test_latest_month_is_that_of_all_parts(loan: dict[str, Any], tmp_path: Path) -> None:
    """The months of all parts say when the loans were recorded."""
    del loan[AGE]
    for number, month in enumerate(("Mar-2015", "Jan-2016", "Feb-2015")):
        row = loan | {"issue_d": "Dec-2014", "last_pymnt_d": month}
        write_as("parquet", pa.Table.from_pylist([row]), tmp_path / "loans" / f"{number}.parquet")
    source = open_source(tmp_path / "loans")
    assert [task.parse().table[AGE][0].as_py() for task in source.tasks()] == [13, 13, 13]


def test_parts_of_other_columns_are_refused(loan: dict[str, Any], tmp_path: Path) -> None:
    """Parts that differ in a column that is read are named; other columns may differ, and a column may be empty."""
    folder = tmp_path / "loans"
    for suffix in ("parquet", "csv"):
        write_as(suffix, pa.Table.from_pylist([loan]), folder / suffix / "a")
    write_as(
        "parquet", pa.Table.from_pylist([loan | {"employment_length": None, "note": "x"}]), folder / "parquet" / "b"
    )
    assert [task.parse().rows for task in open_source(folder / "parquet").tasks()] == [1, 1]
    write_as("parquet", pa.Table.from_pylist([loan | {"loan_amount": "12000"}]), folder / "parquet" / "c")
    with pytest.raises(
        DataError,
        match=r"^parquet: column loan_amount of c is string, but int64 in a. Write all parts with the same columns",
    ):
        open_source(folder / "parquet")
    write_as("csv", pa.Table.from_pylist([loan | {"note": "x"}]), folder / "csv" / "b")
    with pytest.raises(DataError, match=r"^csv: the columns of b differ from those of a.$"):
        open_source(folder / "csv")


def test_damaged_part_is_named(write_parts: WriteParts) -> None:
    """Of many parts the one that can't be read is named."""
    folder = write_parts(made_up_loans(750), "parquet")
    part = folder / "part-00001-ab12.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"^part-00001-ab12.parquet: damaged, truncated"):
        open_source(folder)


def test_scores_do_not_lie_among_the_loans(write_parts: WriteParts, archive_path: Path) -> None:
    """An output or a rejects file in the folder of the loans is refused: a next run would read it as loans."""
    folder = write_parts(made_up_loans(750), "csv")
    for output, rejects in ((folder / "scores.csv", None), (folder.parent / "scores.csv", folder / "rejects.csv")):
        with pytest.raises(
            ConfigurationError, match=r"^loans: the output is in this folder, and would be read as loans"
        ):
            score(Settings(folder, output, rejects=rejects, archive=str(archive_path)))


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([[1], [2]], "list<element: int64>"),
        ([{"a": 1}, {"a": 2}], "struct<a: int64>"),
        ([b"x", b"y"], "binary"),
    ],
)
def test_ids_that_no_csv_can_hold_are_refused(ids: list[Any], kind: str, tmp_path: Path) -> None:
    """A list, a struct or bytes can't be an id, and opening the file reports that."""
    write_as("parquet", made_up_loans(2).set_column(0, "id", [ids]), tmp_path / "loans.parquet")
    with pytest.raises(DataError) as refused:
        open_source(tmp_path / "loans.parquet", ("id",))
    assert str(refused.value) == (
        f"loans.parquet: column id is of type {kind}, which can't be an id. Use text, numbers, dates or times."
    )


@pytest.mark.parametrize("output", ["scores.csv", "scores.parquet"])
@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        (pa.array([7, None, 9]), ["7", "", "9"]),
        (pa.array(["a", "b,c", 'd"']), ["a", '"b,c"', '"d"""']),
        (pa.array(["a", "b", "c"], pa.string_view()), ["a", "b", "c"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([datetime.date(2020, 1, day) for day in (1, 2, 3)]), ["2020-01-01", "2020-01-02", "2020-01-03"]),
    ],
)
def test_ids_of_other_types_go_into_scores_and_rejects(
    ids: pa.Array, texts: list[str], output: str, *, archive_path: Path, tmp_path: Path
) -> None:
    """Ids of any simple type are written before the scores and in the rejects file."""
    loans = spoilt(made_up_loans(3), "term", {1: "soon"}).set_column(0, "id", ids)
    write_as("parquet", loans, tmp_path / "loans.parquet")
    settings = Settings(tmp_path / "loans.parquet", tmp_path / output, ids=("id",), archive=str(archive_path))
    score(settings)
    assert Path(settings.rejects_path).read_text() == f"row,id,reasons\n2,{texts[1]},term: unknown level\n"
    expected = [ids[0].as_py(), ids[2].as_py()]
    if output.endswith("csv"):
        scored = list(csv.DictReader(Path(settings.output).read_text().splitlines()))
        assert [row["id"] for row in scored] == list(map(str, expected))
    else:
        assert pq.read_table(settings.output)["id"].to_pylist() == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("a.parquet", "b.csv"),
            "loans: a.parquet is Parquet, b.csv is not. Put only files of one format into a folder.",
        ),
        (
            ("a.csv", "b.parquet"),
            "loans: b.parquet is Parquet, a.csv is not. Put only files of one format into a folder.",
        ),
    ],
)
def test_folder_of_two_kinds_is_refused(names: tuple[str, str], message: str, tmp_path: Path) -> None:
    """A folder with files of two kinds is refused, since some may be there by mistake or twice."""
    for name in names:
        write_as(name.partition(".")[2], made_up_loans(2), tmp_path / "loans" / name)
    with pytest.raises(DataError) as refused:
        open_source(tmp_path / "loans")
    assert str(refused.value) == message
