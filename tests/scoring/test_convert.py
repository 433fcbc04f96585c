import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loan_files import to_csv

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.scoring.conversion import LEFT_OUT, convert, main
from credit_risk_model.scoring.run import Settings, score
from credit_risk_model.scoring.writing import ROW_GROUP_ROWS
from credit_risk_model.tables import csv_file
from credit_risk_model.tables.source import Shard
from credit_risk_model.training.loans import read_loans

KAGGLE = {feature.name: feature.column or feature.name for feature in CONTRACT_FEATURES}
LABELS = {"loan_status": "Current", "installment": "407.23"}


@pytest.fixture
def rows(loan: dict[str, Any]) -> list[dict[str, str]]:
    """Sixty loans in Kaggle's columns, some with what is not as the contract has it, with ids, labels and a note."""
    oddities: list[dict[str, str]] = [
        {},
        {"annual_income": "65k"},
        {"debt_to_income_ratio": "NA"},
        {"term": "36", "home_ownership": "rent"},
        {"loan_purpose": "boat"},
        {"annual_income": "65000.37", "interest_rate": "7.35"},
        {"instalments_due": ""},
    ]
    odd = [{name: str(value) for name, value in (loan | oddities[row % 7]).items()} for row in range(60)]
    return [
        {"id": f"00{number}", **{KAGGLE[name]: value for name, value in row.items()}, **LABELS, "note": "a, b\n" * 3}
        for number, row in enumerate(odd)
    ]


def as_plain(rows: list[dict[str, str]]) -> bytes:
    """Commas and points."""
    return to_csv(rows).encode()


def as_european(rows: list[dict[str, str]]) -> bytes:
    """Semicolons and decimal commas, in UTF-16."""
    written = [{name: cell.replace(".", ",") for name, cell in row.items()} for row in rows]
    return to_csv(written, delimiter=";").encode("utf-16")


def as_lendingclub(rows: list[dict[str, str]]) -> bytes:
    """A note, percent signs, a marker line that a spreadsheet has filled up, and a footer, packed."""
    text = to_csv([{**row, "int_rate": f" {row['int_rate']}%", "note": ""} for row in rows])
    header, *lines = text.splitlines()
    marker = "Loans that do not meet the credit policy" + "," * header.count(",")
    footer = "Total amount funded in policy code 1: 123450"
    return gzip.compress("\n".join(["Notes offered by Prospectus", header, *lines, marker, footer]).encode())


@pytest.mark.parametrize("written", [as_plain, as_european, as_lendingclub])
def test_scores_of_the_converted_file_are_those_of_the_source(
    written: Callable[[list[dict[str, str]]], bytes],
    rows: list[dict[str, str]],
    archive_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores and rejects are the same to the last byte, and a training reads the same loans."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 3000)
    (tmp_path / "loans.csv").write_bytes(written(rows))
    convert(tmp_path / "loans.csv", tmp_path / "loans.parquet")
    found = {}
    for suffix in ("csv", "parquet"):
        settings = Settings(
            tmp_path / f"loans.{suffix}", tmp_path / "scores.csv", ids=("id",), archive=str(archive_path)
        )
        summary = score(settings)
        found[suffix] = Path(settings.output).read_bytes(), Path(settings.rejects_path).read_bytes(), summary.reasons
    assert found["parquet"] == found["csv"]
    assert summary.rejected == 17
    readable = [row for row in rows if row["annual_inc"] != "65k"]
    (tmp_path / "loans.csv").write_bytes(written(readable))
    convert(tmp_path / "loans.csv", tmp_path / "loans.parquet")
    assert read_loans(tmp_path / "loans.parquet").loans.equals(read_loans(tmp_path / "loans.csv").loans)


def test_all_columns_are_there_as_they_are(rows: list[dict[str, str]], tmp_path: Path) -> None:
    """Texts are kept to the letter, numbers that are read are numbers, and a name that comes twice is numbered."""
    header, _, lines = to_csv(rows).partition("\n")
    (tmp_path / "loans.csv").write_text(f"{header.replace('note', 'id')}\n{lines}")
    convert(tmp_path / "loans.csv", tmp_path / "loans.parquet")
    table = pq.read_table(tmp_path / "loans.parquet")
    assert table.column_names == [*list(rows[0])[:-1], "id.1"]
    assert table["id"].to_pylist() == [row["id"] for row in rows]
    assert table["id.1"].to_pylist() == [row["note"] for row in rows]
    assert table["term"].to_pylist() == [row["term"] for row in rows]
    assert table["installment"].to_pylist() == [407.23] * 60
    numbers = {column.name for column in table.schema if column.type == pa.float64()}
    assert numbers == {KAGGLE[feature.name] for feature in CONTRACT_FEATURES if not feature.levels} | {"installment"}


def test_row_groups_shard_well(book: Path, archive_path: Path, tmp_path: Path) -> None:
    """Row groups have a fixed size, whatever the source's, and the shards' scores are those of the whole."""
    for suffix in ("csv", "parquet"):
        convert(book / f"loans.{suffix}", tmp_path / "loans.parquet")
        metadata = pq.read_metadata(tmp_path / "loans.parquet")
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        assert sizes == [ROW_GROUP_ROWS] * 3 + [100_000 - 3 * ROW_GROUP_ROWS]
    scores = []
    for shard in (Shard(), Shard(1, 2), Shard(2, 2)):
        settings = Settings(
            tmp_path / "loans.parquet",
            tmp_path / "scores.parquet",
            ids=("id",),
            archive=str(archive_path),
            shard=shard,
        )
        score(settings)
        scores.append(pq.read_table(settings.output))
    assert pa.concat_tables(scores[1:]).equals(scores[0])


def test_parquet_keeps_its_types_and_its_folders_keys(tmp_path: Path, loan: dict[str, Any]) -> None:
    """A folder of parts becomes one file, with lists, dictionaries and what the folders' names say."""
    tags = pa.array([["a", "b"]])
    part = pa.Table.from_pylist([loan]).append_column("tags", tags)
    part = part.append_column("grade", pa.array(["A"]).dictionary_encode())
    for year in (2014, 2015):
        (tmp_path / "loans" / f"year={year}").mkdir(parents=True)
        pq.write_table(part, tmp_path / "loans" / f"year={year}" / "part.parquet")
    convert(tmp_path / "loans", tmp_path / "loans.parquet")
    table = pq.read_table(tmp_path / "loans.parquet")
    assert table.drop_columns("year").schema.types == part.schema.types
    assert table["year"].to_pylist() == [2014, 2015]
    assert table.drop_columns("year").slice(1).to_pylist() == part.to_pylist()


def test_parts_with_other_columns_are_refused(tmp_path: Path, loan: dict[str, Any]) -> None:
    """Nothing is written if a part lacks any column of the first part, even an unscored one."""
    (tmp_path / "loans").mkdir()
    pq.write_table(pa.Table.from_pylist([loan | {"note": "x"}]), tmp_path / "loans" / "1.parquet")
    pq.write_table(pa.Table.from_pylist([loan]), tmp_path / "loans" / "2.parquet")
    with pytest.raises(DataError, match=r"^loans: the columns of 2.parquet differ from those of 1.parquet"):
        convert(tmp_path / "loans", tmp_path / "loans.parquet")
    assert not (tmp_path / "loans.parquet").exists()


def test_rows_that_are_left_out_are_reported(
    rows: list[dict[str, str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows with a wrong number of fields are reported by row number and by the exit code."""
    caplog.set_level("INFO")
    lines = to_csv([row | {"note": "caf\xe9"} for row in rows]).splitlines(keepends=True)
    lines[7] = f"x,{lines[7]}"
    (tmp_path / "loans.csv").write_text("".join(lines), encoding="cp1252")
    assert main([str(tmp_path / "loans.csv"), str(tmp_path / "loans.parquet")]) == LEFT_OUT
    assert pq.read_metadata(tmp_path / "loans.parquet").num_rows == 59
    assert caplog.messages[0].startswith("loans.parquet: 59 rows in ")
    assert caplog.messages[1:] == [
        "  text that is not in UTF-8 has lost its letters beyond ASCII. Write the source in UTF-8 to keep them.",
        f"  left out row 7: {len(rows[0]) + 1} fields where {len(rows[0])} are needed",
    ]


@pytest.mark.parametrize(
    ("source", "output", "error", "words"),
    [
        ("loans.csv", "loans.txt", ConfigurationError, r"^loans\.txt: name an output that ends in \.parquet\.$"),
        ("loans.parquet", "loans.parquet", ConfigurationError, "are the same file"),
        (".", "loans.parquet", ConfigurationError, "the output is in this folder, and would be read as loans"),
        ("none.csv", "loans.parquet", DataError, r"^none\.csv: no such file\.$"),
        ("cut.csv.gz", "loans.parquet", DataError, r"^cut\.csv\.gz: damaged, truncated"),
    ],
)
def test_what_cannot_be_converted_is_reported(
    source: str, output: str, error: type[Exception], words: str, *, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    """It is one line, and no part of the output is left."""
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(to_csv(rows * 5000).encode(), 1)[:-9])
    with pytest.raises(error, match=words):
        convert(tmp_path / source, tmp_path / output)
    assert [path.name for path in tmp_path.iterdir()] == ["cut.csv.gz"]
