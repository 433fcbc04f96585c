import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import made_up_loans, spoilt

import credit_risk_model
from credit_risk_model import archive
from credit_risk_model.errors import ConfigurationError, DataError, ModelArchiveError
from credit_risk_model.features import AGE
from credit_risk_model.loan_age import DATES_OF_FILE
from credit_risk_model.prediction.loans import LoanModel

LAST_PULL, _ = DATES_OF_FILE


@pytest.fixture(scope="module")
def model(archive_path: Path) -> LoanModel:
    """The small archive's model."""
    return LoanModel(archive_path)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Loans of which some violate the contract."""
    return spoilt(made_up_loans(3000), "term", {0: "soon", 1200: None, 2999: "soon"}).combine_chunks()


@pytest.fixture
def dated(loan: dict[str, Any]) -> Callable[..., pa.RecordBatch]:
    """Make a batch of one loan of October 2014 without its age, with other columns."""
    del loan[AGE]
    return lambda **columns: pa.RecordBatch.from_pylist([{**loan, "issue_d": "Oct-2014", **columns}])


@pytest.mark.parametrize("rows", [1, 1000, 3000])
def test_batches_are_scored_as_the_whole(rows: int, model: LoanModel, table: pa.Table) -> None:
    """However a table is cut, each row gets what `score` gives it, in its place, behind the columns that are kept."""
    answers = pa.Table.from_batches(
        model.score_batches(table.slice(0, 3 * rows).to_batches(max_chunksize=rows), keep=["id", "loan_amount"])
    )
    expected = table.slice(0, 3 * rows)
    assert answers.select(["id", "loan_amount"]).equals(expected.select(["id", "loan_amount"]))
    assert answers.drop_columns(["id", "loan_amount"]).equals(model.score(expected))
    assert answers["rejected"][0].as_py() == "term: unknown level"


def test_batch_of_any_size_is_scored_on_the_calling_thread(model: LoanModel) -> None:
    """A batch of several chunks starts no thread, so that a worker with one core uses one."""
    (batch,) = made_up_loans(40_000).combine_chunks().to_batches()
    started = set()
    threading.setprofile(lambda *_: started.add(threading.current_thread()))  # which each new thread calls
    try:
        (answers,) = model.score_batches([batch])
    finally:
        threading.setprofile(None)
    assert (answers.num_rows, started) == (40_000, set())


def test_batches_are_taken_one_at_a_time(model: LoanModel, table: pa.Table) -> None:
    """The next batch is not taken before the answers to the last one are, so that memory stays flat."""
    taken: list[int] = []

    def take() -> Iterator[pa.RecordBatch]:
        for place, batch in enumerate(table.to_batches(max_chunksize=1000)):
            taken.append(place)
            yield batch

    answers = model.score_batches(take())
    assert taken == []
    next(answers)
    assert taken == [0]


def test_batch_without_rows_is_answered(model: LoanModel, table: pa.Table) -> None:
    """An empty batch gives an empty one of the same columns, and no batch none."""
    (empty,) = model.score_batches([table.to_batches()[0].slice(0, 0)], keep=["id"])
    assert isinstance(empty, pa.RecordBatch)
    assert (empty.num_rows, empty.column_names[0]) == (0, "id")
    (answers,) = model.score_batches(table.slice(0, 1).to_batches(), keep=["id"])
    assert empty.schema == answers.schema
    assert list(model.score_batches(iter(()))) == []


def test_schema_for_spark_is_that_of_the_scores(model: LoanModel, table: pa.Table) -> None:
    """The DDL has the columns of the scores in their order, by Spark's names of their types."""
    (answers,) = model.score_batches(table.to_batches())
    names = {pa.float64(): "DOUBLE", pa.string(): "STRING"}
    assert model.spark_schema == ", ".join(f"{field.name} {names[field.type]}" for field in answers.schema)


@pytest.mark.parametrize("make", [lambda loans: loans.to_pandas(), pl.DataFrame, lambda loans: loans])
def test_parts_may_be_frames(make: Callable[[pa.Table], Any], model: LoanModel, table: pa.Table) -> None:
    """Dask's parts are frames of pandas, Ray's tables: each gives one of its kind, under the same index."""
    part = make(table)
    if isinstance(part, pd.DataFrame):
        part = part.set_axis(range(7, 3007))
    (answers,) = model.score_batches([part], keep=["id"])
    assert isinstance(answers, type(part))
    if isinstance(part, pd.DataFrame):
        pd.testing.assert_frame_equal(answers, part[["id"]].join(model.score(part)))
    else:
        assert pa.table(answers).drop_columns("id").to_pylist() == model.score(table).to_pylist()


def test_age_is_not_taken_from_the_latest_date_of_a_part(
    model: LoanModel, loan: dict[str, Any], dated: Callable[..., pa.RecordBatch]
) -> None:
    """The month of the record is told, or stands in each row: a part does not know the latest date of the whole."""
    expected = model.score(pa.RecordBatch.from_pylist([loan | {AGE: 15}])).to_pylist()
    for batch, as_of in (
        (dated(), "2016-01"),
        (dated(**{LAST_PULL: "Dec-2015"}), "2016-01"),
        (dated(snapshot_d="Jan-2016"), None),
        (dated(**{AGE: 15}), None),
    ):
        (answers,) = model.score_batches([batch], as_of=as_of)
        assert answers.to_pylist() == expected
    for batch in (dated(), dated(**{LAST_PULL: "Jan-2016"})):
        with pytest.raises(
            DataError,
            match=r"^The frame: the month in which its loans were recorded is unknown, and a part .* Pass the month "
            r"\(as_of='2016-01'\), or add a column snapshot_d or instalments_due\.$",
        ):
            next(model.score_batches([batch]))


def test_age_that_nothing_tells_is_a_caution_as_elsewhere(
    model: LoanModel, dated: Callable[..., pa.RecordBatch]
) -> None:
    """Without a month of issue no date would help: the answer carries the caution."""
    (answers,) = model.score_batches([dated().drop_columns("issue_d")])
    assert answers["cautions"].to_pylist() == ["instalments_due_missing"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"as_of": "January"}, ConfigurationError, "as_of is 'January': write the month"),
        (
            {"keep": ["id", "rejected"]},
            ConfigurationError,
            "keep names 'rejected', which is also a column of the scores",
        ),
        ({"keep": ["id", "number"]}, DataError, "The frame: columns to keep are missing or repeated: 'number'"),
        ({"keep": "id"}, DataError, "The frame: columns to keep are missing or repeated: 'i', 'd'"),
    ],
)
def test_wrong_option_is_told(
    options: dict[str, Any], error: type[Exception], message: str, model: LoanModel, table: pa.Table
) -> None:
    """What is no month, and a column that can't be kept, are one line."""
    with pytest.raises(error, match=f"^{message}"):
        list(model.score_batches(table.to_batches(), **options))


def test_values_written_otherwise_are_counted_once_for_all_batches(
    model: LoanModel, loan: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One log line counts what was converted in all batches."""
    batch = pa.RecordBatch.from_pylist([loan | {"term": "36"}])
    with caplog.at_level("INFO", logger="credit_risk_model"):
        assert len(list(model.score_batches([batch] * 3))) == 3
    assert [record.getMessage() for record in caplog.records] == ["Converted: term: another spelling (3)."]


def test_pickled_model_is_loaded_once_in_a_process(model: LoanModel, table: pa.Table, archive_path: Path) -> None:
    """A pickle holds path and digest, so that a worker loads the archive itself, and once."""
    pickled = pickle.dumps(model.score_batches)
    assert len(pickled) < 1000
    first, second = pickle.loads(pickled), pickle.loads(pickled)  # noqa: S301  # our own
    assert first.__self__ is second.__self__ is not model
    (answers,), (expected,) = first(table.to_batches()), model.score_batches(table.to_batches())
    assert answers.equals(expected)
    assert b"1.zip" in pickled
    assert pickle.dumps(credit_risk_model.load()).find(b".zip") == -1  # a worker has its own package elsewhere


def test_worker_with_another_archive_refuses(archive_path: Path, tmp_path: Path) -> None:
    """Where the path holds another archive than the one that was pickled, nothing is scored."""
    path = tmp_path / "1.zip"
    path.write_bytes(archive_path.read_bytes())
    pickled = pickle.dumps(LoanModel(path))
    path.write_bytes(archive.newest().read_bytes())
    with pytest.raises(ModelArchiveError, match=r"^1.zip: .* pins"):
        pickle.loads(pickled)  # noqa: S301  # our own


def test_missing_package_is_named(archive_path: Path) -> None:
    """Where Arrow is not installed, the call says what to install."""
    program = f"""
import sys
sys.modules["pyarrow"] = None  # as where it is not installed
import credit_risk_model
credit_risk_model.load({str(archive_path)!r}).score_batches([])
"""
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stderr.splitlines()[-1].endswith(
        "need the package pyarrow, which is not installed: pip install 'credit-risk-model[scoring]'."
    )
