from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.scoring.joining import join
from credit_risk_model.scoring.provenance import Run, fingerprint
from credit_risk_model.scoring.writing import OutputFile, Rejects, open_scores, open_whole_files
from credit_risk_model.tables.stores import StoredFile

SCORES = pa.table({"id": ["a", "b"], "risk_probability": [0.1 + 0.2, 5e-324], "credit_risk": ["risky", "safe"]})


@pytest.fixture(params=["unnamed", "named"])
def either_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unfinished files without a name, and with one, as on file systems that require it."""
    if request.param == "named":
        monkeypatch.delattr("os.O_TMPFILE")


@pytest.mark.usefixtures("either_kind")
def test_finished_file_has_its_name(tmp_path: Path) -> None:
    """A file that is written to its end replaces what was there, readable for all, with its folder made."""
    path = tmp_path / "new" / "scores.csv"
    for content in (b"first", b"second"):
        with open_whole_files(path) as (file,):
            file.write(content)
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o444 == 0o444
    assert [found.name for found in path.parent.iterdir()] == ["scores.csv"]


@pytest.mark.usefixtures("either_kind")
def test_unfinished_file_leaves_nothing(tmp_path: Path) -> None:
    """What goes wrong in between leaves the former file and no other."""
    path = tmp_path / "scores.csv"
    path.write_bytes(b"former")

    def write_in_vain() -> None:
        with open_whole_files(path) as (file,):
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_in_vain()
    assert path.read_bytes() == b"former"
    assert [found.name for found in tmp_path.iterdir()] == ["scores.csv"]


def test_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    """On a full disk, the error names the file, the reason and the cure."""
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(DataError) as refused:
        OutputFile(full, tmp_path / "scores.csv").write(b"x")
    assert str(refused.value) == (
        "scores.csv: can't be written (No space left on device). Nothing was written. Free some space or choose "
        "another folder, then run the same command again."
    )


def test_folder_that_can_not_be_is_a_clear_error(tmp_path: Path) -> None:
    """If the folder's path is a file, nothing can be written."""
    (tmp_path / "file").write_bytes(b"")

    def write() -> None:
        with open_whole_files(tmp_path / "file" / "scores.csv"):
            pass

    with pytest.raises(DataError, match=r"scores.csv: can't be written \((File exists|Not a directory)\)"):
        write()


def test_folder_of_the_files_name_is_a_clear_error(tmp_path: Path) -> None:
    """If the output's path is a folder, the run stops at once and leaves no other file."""
    (tmp_path / "scores.csv").mkdir()

    def write() -> None:
        with open_whole_files(tmp_path / "rejects.csv", tmp_path / "scores.csv"):
            pytest.fail("something is done")

    with pytest.raises(DataError, match=r"^scores.csv: can't be written \(Is a directory\)."):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


@pytest.mark.usefixtures("either_kind")
def test_no_right_to_write_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only folder is reported."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)

    def write() -> None:
        with open_whole_files(tmp_path / "scores.csv"):
            pass

    with pytest.raises(DataError, match=r"^scores.csv: can't be written \(Permission denied\)."):
        write()


@pytest.mark.usefixtures("either_kind")
@pytest.mark.parametrize("failing", [0, 1])
def test_what_can_not_be_finished_leaves_no_file(failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk becomes full on flushing, neither file gets its name."""
    paths = [tmp_path / "rejects.csv", tmp_path / "scores.csv"]
    paths[0].write_bytes(b"former")
    calls: list[int] = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing + 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)

    def write() -> None:
        with open_whole_files(*paths) as files:
            for file in files:
                file.write(b"new")

    with pytest.raises(DataError, match=r"can't be written \(No space left on device\)"):
        write()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"rejects.csv": b"former"}


def test_csv_keeps_every_bit(tmp_path: Path) -> None:
    """A probability's text is the shortest that gives its very bits back."""
    path = tmp_path / "scores.csv"
    with open_whole_files(path) as (file,), open_scores(file, path, SCORES.schema) as scores:
        scores.write(SCORES)
    assert path.read_text() == ("id,risk_probability,credit_risk\na,0.30000000000000004,risky\nb,5e-324,safe\n")


@pytest.mark.parametrize("text", ["a,b", 'a "b"', "a\nb"])
def test_csv_quotes_what_needs_it(text: str, tmp_path: Path) -> None:
    """An id with a comma, a quote or a line break comes back as it was."""
    path = tmp_path / "scores.csv"
    odd = SCORES.set_column(0, "id", pa.array([text, "b"]))
    with open_whole_files(path) as (file,), open_scores(file, path, odd.schema) as scores:
        scores.write(odd)
    parsed = pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True))
    assert parsed.to_pylist() == odd.to_pylist()


def test_later_rejects_have_no_header(tmp_path: Path) -> None:
    """Shards' rejects, joined in their order, are one file: only the first has the columns' names."""
    parts = [tmp_path / f"{number}.rejects.csv" for number in (1, 2, 3)]
    for number, path in enumerate(parts, start=1):
        with open_whole_files(path) as (file,):
            Rejects(file, [], header=number == 1).write({number: ([], "term: missing")} if number < 3 else {})
    join(parts, tmp_path / "rejects.csv")
    assert (tmp_path / "rejects.csv").read_bytes() == b"row,reasons\n1,term: missing\n2,term: missing\n"


def test_rejects_are_in_the_rows_order(tmp_path: Path) -> None:
    """Rejected rows stand in the order of the file, with their ids in quotes where those need it."""
    with open_whole_files(tmp_path / "rejects.csv") as (file,):
        Rejects(file, ["id", "a,b"], header=True).write(
            {12: (["x", "1,5"], "term: missing"), 3: (["", ""], "16 fields"), 7: (['"', "y"], "term: missing")}
        )
    assert (tmp_path / "rejects.csv").read_text() == (
        'row,id,"a,b",reasons\n3,,,16 fields\n7,"""",y,term: missing\n12,x,"1,5",term: missing\n'
    )


RUN = Run(source="loans.parquet", fingerprint="1", archive="2", cut_off=0.3, shard=1, shards=3)


def write_part(path: Path, run: Run | None, scores: pa.Table = SCORES) -> Path:
    """Write scores as a part of a run."""
    schema = run.added_to(scores.schema) if run else scores.schema
    with open_whole_files(path) as (file,), open_scores(file, path, schema) as writer:
        writer.write(scores)
    return path


def test_parts_are_joined_in_the_shards_order(tmp_path: Path) -> None:
    """The joined file has the shards' order for any order of the parts."""
    parts = [
        write_part(tmp_path / f"{shard}.parquet", RUN.model_copy(update={"shard": shard}), SCORES.slice(0, shard))
        for shard in (2, 3, 1)
    ]
    join(parts, tmp_path / "whole.parquet")
    file = pq.ParquetFile(tmp_path / "whole.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(3)] == [1, 2, 2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cut_off": 0.5}, "2.parquet: its cut-off differs from that of 1.parquet. Score its shard again."),
        ({"archive": "x"}, "2.parquet: its archive differs from that of 1.parquet. Score its shard again."),
        ({"source": "x"}, "2.parquet: its source differs from that of 1.parquet. Score its shard again."),
        (
            {"fingerprint": "x"},
            "2.parquet: the content of its source differs from that of 1.parquet. Score its shard again.",
        ),
        ({"shards": 4}, "2.parquet: the number of shards differs from that of 1.parquet. Score its shard again."),
        ({"shard": 1}, "shard 1 of 3 is named twice. Name each part once."),
        ({}, "shard 3 of 3 is missing. Score it, or name its part."),
    ],
)
def test_parts_that_do_not_fit_are_not_joined(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A part with a different cut-off, archive or source, a repeated part and a missing part are refused by name."""
    parts = [
        write_part(tmp_path / "1.parquet", RUN),
        write_part(tmp_path / "2.parquet", RUN.model_copy(update={"shard": 2} | changed)),
    ]
    with pytest.raises(DataError) as refused:
        join(parts, tmp_path / "whole.parquet")
    assert str(refused.value) == message
    assert not (tmp_path / "whole.parquet").exists()


def test_parts_of_other_columns_are_not_joined(tmp_path: Path) -> None:
    """Parts that were scored with other ids don't make one file."""
    parts = [
        write_part(tmp_path / "1.parquet", RUN),
        write_part(tmp_path / "2.parquet", RUN.model_copy(update={"shard": 2}), SCORES.drop_columns("id")),
    ]
    with pytest.raises(DataError, match=r"2.parquet: its columns differ from those of 1.parquet"):
        join(parts, tmp_path / "whole.parquet")
    assert not (tmp_path / "whole.parquet").exists()


def test_file_that_is_no_part_is_not_joined(tmp_path: Path) -> None:
    """A file of scores without its run is refused, and so is an output of rejects that is not CSV."""
    with pytest.raises(DataError, match=r"^1.parquet: does not say which run wrote it. Score its shard again.$"):
        join([write_part(tmp_path / "1.parquet", None)], tmp_path / "whole.parquet")
    with pytest.raises(
        ConfigurationError, match=r"^whole.parquet: rejects are CSV. Name an output that ends in .csv.$"
    ):
        join([tmp_path / "1.rejects.csv"], tmp_path / "whole.parquet")


def test_file_of_the_same_name_has_a_different_fingerprint(tmp_path: Path) -> None:
    """A file of the same name and size has a different fingerprint if it differs at its ends; a copy has the same."""
    path = tmp_path / "loans"
    found = []
    for content in (b"a" * 200_000, b"a" * 200_000, b"a" * 199_999 + b"b", b"b" + b"a" * 199_999, b"a" * 199_999):
        path.write_bytes(content)
        found.append(fingerprint([StoredFile.at(path)]))
    assert found[0] == found[1]
    assert len(set(found)) == 4


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_missing_part_is_not_joined(suffix: str, tmp_path: Path) -> None:
    """A missing part leaves no file, and the error says what to do."""
    with pytest.raises(DataError, match="Score its shard again"):
        join([tmp_path / f"1{suffix}"], tmp_path / f"whole{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    """The output's name tells its format."""
    with pytest.raises(ConfigurationError, match=r"whole.txt: name an output that ends in .parquet or .csv"):
        join([], tmp_path / "whole.txt")
