import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from csv_rows import MARKER, NOTE, Rows, amounts, parse, write
from loan_files import to_csv

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import AGE
from credit_risk_model.tables import csv_file
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Chunk, Shard


def test_tasks_know_the_share_that_is_done(rows: Rows, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share grows to 1 over all files, by the bytes that were read."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 700)
    size = write(path, to_csv(rows)).stat().st_size
    done = [task.done for task in open_source(path).tasks()]
    assert done == [min(1.0, (place + 2) * 700 / size) for place in range(len(done))]
    assert len(done) == open_source(path).pieces == -(-size // 700)
    folder = path.with_name("folder")
    for name in ("a.csv", "b.csv"):
        write(folder / name, to_csv(rows))
    write(folder / "c.csv", to_csv(rows))
    all_done = [task.done for task in open_source(folder).tasks()]
    assert all_done == pytest.approx([(file + each) / 3 for file in range(3) for each in done])


def test_share_of_a_file_that_grows_is_at_most_the_whole(rows: Rows, path: Path) -> None:
    """Rows that are added after a file was opened are read, and the work is done no more than once."""
    source = open_source(write(path, to_csv(rows)))
    with path.open("a") as file:
        file.write(to_csv(rows).partition("\n")[2])
    assert [(task.done, task.parse().rows) for task in source.tasks()] == [(1.0, 20)]


def test_two_files_are_two_shards(rows: Rows, path: Path) -> None:
    """Packed files of a folder can be read in shards, since each is a piece."""
    folder = path.with_name("folder")
    for name in ("a.csv.gz", "b.csv.gz"):
        write(folder / name, gzip.compress(to_csv(rows).encode()))
    for number in (1, 2):
        source = open_source(folder, ("id",), Shard(number, 2))
        assert amounts(parse(source)) == [row["loan_amount"] for row in rows]
        assert source.rows_before == (number - 1) * 10


def test_shards_of_a_folder_are_its_files(rows: Rows, path: Path) -> None:
    """A shard takes whole files, and numbers its rows behind those of the files before it, broken ones among them."""
    folder = path.with_name("folder")
    for number, count in enumerate((2, 3, 5)):
        write(folder / f"{number}.csv", to_csv(rows[:count]) + "short\n" + MARKER)
    for count, before in ((3, [0, 4, 9]), (2, [0, 4])):
        found = []
        for number in range(1, count + 1):
            source = open_source(folder, ("id",), Shard(number, count))
            chunks = parse(source)
            assert source.rows_before == before[number - 1]
            assert source.pieces == 3
            assert len(chunks) == len(Shard(number, count).of(3))
            found += amounts(chunks)
        assert found == amounts(parse(open_source(folder)))


def test_notes_and_lines_before_are_those_of_all_files(rows: Rows, path: Path) -> None:
    """A folder's files may be written in different ways; each way is noted once."""
    folder = path.with_name("folder")
    write(folder / "a.csv", f"{NOTE}\n" + to_csv(rows, delimiter=";"))
    write(folder / "b.csv", f"{NOTE}\n{NOTE}\n" + to_csv(rows, delimiter="\t"))
    write(folder / "c.csv", to_csv(rows, delimiter=";"))
    source = open_source(folder, ("id",))
    assert source.notes == ("semicolons between columns", "tabs between columns")
    assert source.lines_before == 3
    assert amounts(parse(source)) == [row["loan_amount"] for row in rows] * 3
    write(folder / "d.csv", to_csv([{"more": 1, **row} for row in rows]))
    words = "folder: the columns of d.csv differ from those of a.csv."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        open_source(folder)


def test_packed_file_has_no_shards(rows: Rows, path: Path) -> None:
    """A packed file is read whole, or refused with the command that converts it."""
    write(path, gzip.compress(to_csv(rows).encode()))
    assert amounts(parse(open_source(path, (), Shard(1, 1)))) == [row["loan_amount"] for row in rows]
    assert open_source(path).pieces == 1
    words = (
        "loans.csv: a gzip, zip or UTF-16 file can't be read in parts. Convert it to Parquet: "
        "credit-risk convert loans.csv OUTPUT.parquet"
    )
    with pytest.raises(ConfigurationError, match=f"^{re.escape(words)}$"):
        open_source(path, (), Shard(1, 2))


def test_latest_month_is_found_in_all_files(loan: dict[str, Any], path: Path) -> None:
    """The latest month may stand in any file and block, among broken lines and zero bytes."""
    del loan[AGE]
    folder = path.with_name("folder")
    for number, month in enumerate(("Dec-2014", "Mar\0-2015", "Jan-2015")):
        text = to_csv([{"issue_d": "Oct-2014", "last_pymnt_d": month, **loan}])
        write(folder / f"{number}.csv", f"{text}short\n")
    source = open_source(folder)
    assert source.age == "whole months from issue_d to 2015-03, the latest last_pymnt_d, at most the term's"
    assert [chunk.table[AGE].to_pylist() for chunk in parse(source)] == [[5]] * 3


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_of_a_file_are_its_blocks(count: int, rows: Rows, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is in one shard, and each shard knows how many rows are before it."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 600)
    header, *lines = to_csv(rows).splitlines()
    write(path, "\n".join([NOTE, header, *lines[:4], MARKER, "short", *lines[4:]]))
    found: list[Chunk] = []
    for number in range(1, count + 1):
        source = open_source(path, ("id",), Shard(number, count))
        chunks = parse(source)
        assert len(chunks) == len(Shard(number, count).of(source.pieces))
        assert not chunks or source.rows_before == sum(chunk.rows for chunk in found)
        found += chunks
    assert amounts(found) == [row["loan_amount"] for row in rows]
    assert sum(chunk.rows for chunk in found) == 12
    assert len(found) > 2
