"""Spark's `mapInArrow` with a local session of two cores, against the command."""

import csv
import datetime
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, made_up_loans, spoilt

from credit_risk_model.features import AGE
from credit_risk_model.prediction.loans import LoanModel

pytestmark = pytest.mark.filterwarnings(  # PySpark's own
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

AS_OF = "2016-01"
ROWS = 12_000


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session whose executor has two cores; without Spark or Java the tests are skipped in words."""
    missing = [] if shutil.which("java") else ["Java"]
    try:
        from pyspark.sql import SparkSession  # noqa: PLC0415  # `make test-spark` brings it, no other environment has it
    except ModuleNotFoundError:
        missing.insert(0, "PySpark")
    if missing:
        reason = f"Needs {' and '.join(missing)}: `make test-spark` brings PySpark, .ci/run Java"
        (pytest.fail if os.environ.get("SPARK_TESTS") == "required" else pytest.skip)(reason)
    options = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        # The workers may have more threads than the tests allow themselves, so that the model keeps to one by itself.
        "spark.executorEnv.OMP_THREAD_LIMIT": "64",
        "spark.sql.execution.arrow.maxRecordsPerBatch": 1000,
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        "spark.ui.enabled": "false",
    }
    if other := SparkSession.getActiveSession():  # FLAML, of which the small archive is made, starts one where Spark is
        other.stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)  # else it is whatever python3 is in the path
        session = SparkSession.builder.master("local[2]").config(map=options).getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


@pytest.fixture(scope="module")
def model(archive_path: Path) -> LoanModel:
    """The small archive's model."""
    return LoanModel(archive_path)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of loans, some of them broken: one with their ages, one with the months of issue only."""
    loans = spoilt(made_up_loans(ROWS), "term", dict.fromkeys(range(5, ROWS, 500), "soon"))
    loans = spoilt(loans, "annual_income", dict.fromkeys(range(5, ROWS, 1000), 1.0))
    months = np.random.default_rng(3).integers(60, size=ROWS)
    issued = [datetime.date(2011 + int(month) // 12, int(month) % 12 + 1, 1) for month in months]
    dated = loans.drop_columns(AGE).append_column("issue_d", pa.array(issued))
    return {
        "ages": write_parts(loans, tmp_path_factory.mktemp("ages")),
        "months": write_parts(dated, tmp_path_factory.mktemp("months")),
    }


def write_parts(loans: pa.Table, folder: Path) -> Path:
    """Write loans as four files, each of three row groups."""
    for part in range(4):
        rows = loans.slice(part * ROWS // 4, ROWS // 4)
        pq.write_table(rows, folder / f"part-{part}.parquet", row_group_size=ROWS // 12)
    return folder


@pytest.mark.parametrize("name", ["ages", "months"])
def test_loans_get_what_the_command_gives_them(
    name: str, spark: Any, books: dict[str, Path], model: LoanModel, run_scoring: Callable[..., Any]
) -> None:
    """Each loan has the bits, the decision and the cautions that the command writes for it, or the reasons."""
    folder, scores = books[name], books[name].with_name(f"{name}.parquet")
    done = run_scoring(folder, "--output", scores, "--id", "id", "--as-of", AS_OF)
    assert done.returncode == 3, done.stderr
    loans = spark.read.parquet(str(folder)).repartition(5)
    score = partial(model.score_batches, keep=["id"], as_of=AS_OF)
    answers = {row["id"]: row for row in loans.mapInArrow(score, f"id STRING, {model.spark_schema}").collect()}
    assert len(answers) == ROWS
    columns = ("risk_probability", "credit_risk", "cautions")
    for row in pq.read_table(scores).to_pylist():
        assert [answers[row["id"]][column] for column in columns] == [row[column] for column in columns]
        assert answers.pop(row["id"])["rejected"] is None
    with scores.with_suffix(".rejects.csv").open(encoding="utf-8", newline="") as file:
        rejects = list(csv.DictReader(file))
    assert {row["id"]: row["reasons"] for row in rejects} == {id_: row["rejected"] for id_, row in answers.items()}
    assert all(row[column] is None for row in answers.values() for column in columns)
    assert len(answers) == 24


def test_rows_stay_in_their_order(spark: Any, model: LoanModel, books: dict[str, Path]) -> None:
    """Within a partition each loan's answer stands in its place, a broken one's too, without anything to join by."""
    answers = (
        spark.read.parquet(str(books["ages"] / "part-0.parquet"))
        .coalesce(1)
        .mapInArrow(model.score_batches, model.spark_schema)
    )
    expected = model.score(pq.read_table(books["ages"] / "part-0.parquet"))
    assert [row.asDict() for row in answers.collect()] == expected.to_pylist()


def test_worker_loads_the_archive_once_and_uses_one_thread(
    spark: Any, model: LoanModel, books: dict[str, Path]
) -> None:
    """Each of the two workers has one model for all its partitions, and no more threads than without it."""
    loans = spark.read.parquet(str(books["ages"])).repartition(8).cache()

    def count_threads() -> int:
        return len(os.listdir("/proc/self/task"))

    def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_pylist([{"worker": os.getpid(), "threads": count_threads()}] * batch.num_rows)

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for answers in model.score_batches(batches):
            seen = {"worker": os.getpid(), "threads": count_threads(), "model": id(model)}
            yield pa.RecordBatch.from_pylist([seen] * answers.num_rows)

    without = loans.mapInArrow(look, "worker BIGINT, threads BIGINT").distinct().collect()
    scored = loans.mapInArrow(score, "worker BIGINT, threads BIGINT, model BIGINT")
    assert scored.count() == ROWS
    seen = scored.distinct().collect()
    assert 1 <= len({(row["worker"], row["model"]) for row in seen}) == len({row["worker"] for row in seen}) <= 2
    assert max(row["threads"] for row in seen) <= max(row["threads"] for row in without)


def test_error_reaches_the_driver(spark: Any, model: LoanModel, books: dict[str, Path]) -> None:
    """A worker's error reaches the caller in the command's words."""
    from pyspark.errors import PySparkException  # noqa: PLC0415  # as in the fixture

    loans = spark.read.parquet(str(books["months"]))
    with pytest.raises(PySparkException, match=r"DataError: The frame: .* Pass the month \(as_of='2016-01'\)"):
        loans.mapInArrow(model.score_batches, model.spark_schema).collect()


def test_lines_of_the_page_score(spark: Any, books: dict[str, Path], tmp_path: Path) -> None:
    """What the documentation shows for Spark scores a folder of loans into one of scores."""
    page = (ROOT / "docs" / "how-to" / "score-in-spark.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^## Spark\n\n```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    folders = {'"loans/"': books["months"], '"scores/"': tmp_path / "scores"}
    for shown, folder in folders.items():
        assert shown in lines
        lines = lines.replace(shown, repr(str(folder)))
    exec(lines, {"spark": spark})  # noqa: S102  # our own page
    scores = pq.read_table(tmp_path / "scores")
    assert scores.column_names == ["id", "risk_probability", "credit_risk", "cautions", "rejected"]
    assert (scores.num_rows, scores["risk_probability"].null_count) == (ROWS, 24)
