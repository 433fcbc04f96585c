import gzip
import warnings
from pathlib import Path

import pandas as pd
import pytest

from credit_risk_model.training.synthetic import make_synthetic_loan_book, write_synthetic_loan_book, writing
from credit_risk_model.training.synthetic.__main__ import main


def test_file_and_frame_hold_the_same_loans(tmp_path: Path) -> None:
    """Reading the written file back gives the book that was made in memory."""
    write_synthetic_loan_book(tmp_path / "loan.csv", 1_000)
    read = pd.read_csv(tmp_path / "loan.csv", keep_default_na=False, na_values=[""])
    assert_same_loans(read, make_synthetic_loan_book(1_000))


def assert_same_loans(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Same columns and values; the type of a column with no value in it does not count."""
    pd.testing.assert_frame_equal(left, right, check_exact=True, check_dtype=False)


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two files of the same rows and seed are equal byte by byte, plain and compressed."""
    for name in ("loan.csv", "loan.csv.gz"):
        write_synthetic_loan_book(tmp_path / name, 500, seed=7)
        write_synthetic_loan_book(tmp_path / "again" / name, 500, seed=7)
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_different_seed_gives_different_loans() -> None:
    """Two seeds share the layout and not the loans."""
    one, other = make_synthetic_loan_book(500, seed=1), make_synthetic_loan_book(500, seed=2)
    assert (one["installment"] != other["installment"]).mean() > 0.9


def test_compressed_file_holds_the_plain_one(tmp_path: Path) -> None:
    """A name that ends in .gz gives the same text, compressed."""
    write_synthetic_loan_book(tmp_path / "loan.csv", 300)
    write_synthetic_loan_book(tmp_path / "loan.csv.gz", 300)
    assert gzip.decompress((tmp_path / "loan.csv.gz").read_bytes()) == (tmp_path / "loan.csv").read_bytes()


@pytest.mark.parametrize("name", ["loan.csv", "loan.csv.gz"])
def test_interrupted_write_leaves_no_file(tmp_path: Path, name: str) -> None:
    """A write that is interrupted leaves neither the file nor a part of it."""

    def interrupt(_rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic_loan_book(tmp_path / name, 100, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_write_keeps_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves the file that was there before as it was."""
    path = tmp_path / "loan.csv"
    write_synthetic_loan_book(path, 10)
    before = path.read_bytes()

    def full_disk(_chunk: pd.DataFrame) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_cells", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        write_synthetic_loan_book(path, 20)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize("rows", [0, -1])
def test_book_without_rows_is_refused(tmp_path: Path, rows: int) -> None:
    """Fewer rows than one is an error, and nothing is written."""
    with pytest.raises(ValueError, match=f"A loan book of {rows} rows cannot be made: ask for at least 1 row"):
        make_synthetic_loan_book(rows)
    with pytest.raises(ValueError, match="ask for at least 1 row"):
        write_synthetic_loan_book(tmp_path / "folder" / "loan.csv", rows)
    assert list(tmp_path.iterdir()) == []


def test_negative_seed_is_refused() -> None:
    """A negative seed is an error."""
    with pytest.raises(ValueError, match="The seed -1 is negative: give 0 or more"):
        make_synthetic_loan_book(10, seed=-1)


def test_progress_is_reported_every_row(tmp_path: Path) -> None:
    """The rows that the progress callback gets add up to the requested rows."""
    reported: list[int] = []
    write_synthetic_loan_book(tmp_path / "loan.csv", 12_000, progress=reported.append)
    assert reported == [10_000, 2_000]


def test_command_line_writes_the_book(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes the same file as the function, and prints nothing without a terminal."""
    main(["--rows", "50", "--output", str(tmp_path / "new" / "loan.csv"), "--seed", "3"])
    write_synthetic_loan_book(tmp_path / "loan.csv", 50, seed=3)
    assert (tmp_path / "new" / "loan.csv").read_bytes() == (tmp_path / "loan.csv").read_bytes()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "0"], "argument --rows: 0 is too small: give 1 or more"),
        (["--rows", "many"], "argument --rows: 'many' is not a whole number"),
        (["--seed", "-1"], "argument --seed: -1 is too small: give 0 or more"),
    ],
)
def test_wrong_argument_ends_with_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong argument is named on the error stream and the command ends with code 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_file_that_cannot_be_written_ends_with_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the output can't be written, the command names it and the reason, and exits with 1."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        main(["--rows", "10", "--output", str(tmp_path / "file" / "loan.csv")])
    assert ended.value.code == 1
    assert f"cannot write {tmp_path / 'file' / 'loan.csv'}: " in capsys.readouterr().err


def test_generation_gives_no_warning() -> None:
    """No step divides by zero, overflows or relies on deprecated behaviour."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_synthetic_loan_book(10_001, seed=5)
