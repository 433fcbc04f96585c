import csv
import gzip
import math
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from processes import unmeasured_environment
from pydantic import ValidationError

from credit_risk_model.errors import DataError, ModelArchiveError
from credit_risk_model.features import AGE, CONTRACT_FEATURES, TERM_MONTHS
from credit_risk_model.loan_age import parse_month
from credit_risk_model.prediction.batch import CreditRiskBatch
from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import (
    CreditRiskBatchInput,
    CreditRiskExplanationInput,
    CreditRiskModelInput,
    CreditRiskModelOutput,
)
from credit_risk_model.scoring.run import Settings, score

ROOT = Path(__file__).parents[2]
WriteLoans = Callable[..., Path]
RunScoring = Callable[..., "subprocess.CompletedProcess[str]"]

REAL_LOANS = Path(os.environ.get("LOAN_DATA", ROOT.parent / "shared" / "data" / "loan.csv.gz"))


def read_scores(path: Path | str) -> list[dict[str, Any]]:
    """A file of scores as rows."""
    return (pq.read_table(path) if Path(path).suffix == ".parquet" else pyarrow.csv.read_csv(path)).to_pylist()


def in_batches(model: CreditRiskBatch, loans: list[CreditRiskModelInput]) -> Iterator[CreditRiskModelOutput]:
    """The answers of the batch model."""
    for start in range(0, len(loans), 1000):
        yield from model.predict(CreditRiskBatchInput(loans=tuple(loans[start : start + 1000]))).predictions


@pytest.mark.parametrize("source", ["loans.csv", "loans.parquet"])
def test_all_ways_to_ask_answer_alike(source: str, write_loans: WriteLoans, archive_path: Path, tmp_path: Path) -> None:
    """Online, in a batch, with reasons or from a file: 10,000 loans get the same bits and the same decision."""
    path = write_loans(source, 10_000)
    table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    settings = Settings(path, tmp_path / "scores.parquet", ids=("id",), archive=str(archive_path))
    assert score(settings).scored == 10_000
    offline = read_scores(settings.output)
    rows = table.drop_columns("id").to_pylist()  # in CSV a missing text is an empty one
    loans = [
        CreditRiskModelInput.model_validate({name: None if value == "" else value for name, value in row.items()})
        for row in rows
    ]
    model, explanation = CreditRiskModel(str(archive_path)), CreditRiskExplanation(str(archive_path))
    online = [model.predict(loan) for loan in loans]
    explained = (explanation.predict(CreditRiskExplanationInput(**loan.model_dump(mode="json"))) for loan in loans)
    seen = set()
    batched = in_batches(CreditRiskBatch(str(archive_path)), loans)
    for expected, file, reasons, batch in zip(online, offline, explained, batched, strict=True):
        cautions = [caution.value for caution in expected.cautions]
        answer = (expected.risk_probability, expected.credit_risk.value, ";".join(cautions))
        assert answer == (file["risk_probability"], file["credit_risk"], file["cautions"])
        assert answer == (reasons.risk_probability, reasons.credit_risk.value, ";".join(reasons.cautions))
        seen.add(answer[2])
        assert expected == batch
    assert [row["id"] for row in offline] == table["id"].to_pylist()
    # With the age and without, within the training's ranges and beyond them.
    assert {"outside_training_range", "instalments_due_missing;outside_training_range"} <= seen


def test_values_written_otherwise_are_scored_and_counted(
    loan: dict[str, Any], run_scoring: RunScoring, tmp_path: Path
) -> None:
    """A loan in lenders' usual spellings, with cents, gets the contract's own score, and the report counts them."""
    spelled = {"term": "36", "employment_length": "5", "home_ownership": "rent", "verification_status": "VERIFIED"}
    for name, changed in (("plain", {}), ("spelled", {**spelled, "annual_income": 65000.4})):
        with (tmp_path / f"{name}.csv").open("w") as file:
            writer = csv.DictWriter(file, loan)
            writer.writeheader()
            writer.writerows([loan | changed] * 3)
        done = run_scoring(tmp_path / f"{name}.csv", "--output", tmp_path / f"{name}.scores.csv")
        assert done.returncode == 0
    assert (tmp_path / "plain.scores.csv").read_text() == (tmp_path / "spelled.scores.csv").read_text()
    assert (
        "  converted: annual_income: cents rounded (3), employment_length: another spelling (3), home_ownership: "
        "another spelling (3), term: another spelling (3), verification_status: another spelling (3).\n"
    ) in done.stderr


def test_column_in_a_wrong_unit_stops_the_run(loan: dict[str, Any], run_scoring: RunScoring, tmp_path: Path) -> None:
    """Fractions instead of percents stop the run before it writes, and the error names the option to accept them."""
    rows = [loan | {"debt_to_income_ratio": 0.172, "loan_amount": 10_000 + 500 * number} for number in range(9)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "loans.parquet")
    command = [tmp_path / "loans.parquet", "--output", tmp_path / "scores" / "scores.csv"]
    done = run_scoring(*command)
    assert done.returncode == 1
    assert done.stderr.partition("\n")[2] == (
        "loans.parquet: nearly all values are too small in debt_to_income_ratio (by about 100): fractions instead of "
        "percents, or thousands of dollars instead of dollars. Nothing was scored. Fix the columns, or accept them "
        "unchanged with --accept-scale debt_to_income_ratio.\n"
    )
    assert list((tmp_path / "scores").iterdir()) == []
    done = run_scoring(*command, "--accept-scale", "debt_to_income_ratio")
    assert done.returncode == 0
    assert len(read_scores(tmp_path / "scores" / "scores.csv")) == 9


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64()])
def test_levels_may_be_numbers(kind: pa.DataType, loan: dict[str, Any], archive_path: Path, tmp_path: Path) -> None:
    """A Parquet column of months or years is read as the text with these digits."""
    rows = [{"term": 36, "employment_length": 5}, {"term": 60, "employment_length": 12}]
    table = pa.Table.from_pylist([loan | row for row in rows])
    for name in ("term", "employment_length"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    pq.write_table(table, tmp_path / "loans.parquet")
    expected = [loan, loan | {"term": " 60 months", "employment_length": "10+ years"}]
    pq.write_table(pa.Table.from_pylist(expected), tmp_path / "expected.parquet")
    found = []
    for name in ("loans", "expected"):
        output = tmp_path / f"{name}.scores.parquet"
        score(Settings(tmp_path / f"{name}.parquet", output, archive=str(archive_path)))
        found.append(read_scores(output))
    assert found[0] == found[1]
    assert len({row["risk_probability"] for row in found[0]}) == 2


@pytest.mark.skipif(not REAL_LOANS.exists(), reason="needs a loan.csv of Kaggle's layout, named by LOAN_DATA")
def test_real_loans_are_answered_alike(tmp_path: Path) -> None:
    """On real loans and the shipped model, file, batch and single requests agree, and so do rejects and refusals."""
    settings = Settings(REAL_LOANS, tmp_path / "scores.parquet")
    summary = score(settings)
    scores = {row["row"]: row for row in read_scores(settings.output)}
    rejects = {row["row"]: row["reasons"] for row in pyarrow.csv.read_csv(settings.rejects_path).to_pylist()}
    loans, refused = {}, {}
    for number, row in enumerate(csv.DictReader(gzip.decompress(REAL_LOANS.read_bytes()).decode().splitlines()), 1):
        values: dict[str, Any] = {feature.name: row[feature.column] for feature in CONTRACT_FEATURES if feature.column}
        for feature in CONTRACT_FEATURES:
            if feature.column and feature.nullable and values[feature.name] in ("", "n/a"):
                values[feature.name] = None
            elif feature.column and feature.bounds:
                values[feature.name] = float(values[feature.name] or math.nan)
        months = [parse_month(row[name]) for name in ("issue_d", "snapshot_d")]
        assert months[0] is not None
        assert months[1] is not None
        values["annual_income"] = float(np.round(values["annual_income"]))  # as training does
        values[AGE] = min(months[1] - months[0], TERM_MONTHS[row["term"]])
        try:
            loans[number] = CreditRiskModelInput.model_validate(values)
        except ValidationError as error:
            refused[number] = {str(found["loc"][0]) for found in error.errors()}
    assert {
        number: {reason.partition(":")[0] for reason in reasons.split("; ")} for number, reasons in rejects.items()
    } == refused
    assert (summary.scored, summary.rejected) == (len(loans), len(refused))
    model, batch, explanation = CreditRiskModel(), CreditRiskBatch(), CreditRiskExplanation()
    for (number, loan), answer in zip(loans.items(), in_batches(batch, list(loans.values())), strict=True):
        assert answer == model.predict(loan)
        assert (answer.risk_probability, answer.credit_risk.value) == (
            scores[number]["risk_probability"],
            scores[number]["credit_risk"],
        )
        if number % 100 == 0:
            explained = explanation.predict(CreditRiskExplanationInput(**loan.model_dump(mode="json")))
            assert explained.risk_probability == answer.risk_probability


@pytest.mark.parametrize("output", ["scores.csv", "scores.parquet"])
def test_command_scores_a_file(output: str, write_loans: WriteLoans, run_scoring: RunScoring, tmp_path: Path) -> None:
    """The command writes ids, probability, decision and model version of every good row, and counts the others."""
    source = write_loans("loans.csv", 50, annual_income={10: 1.0, 30: None, 31: 2.0}, term={30: "soon"})
    done = run_scoring(source, "--output", tmp_path / output, "--id", "id")
    assert done.returncode == 3
    scores = read_scores(tmp_path / output)
    assert list(scores[0]) == ["id", "risk_probability", "credit_risk", "cautions", "model_version"]
    assert [row["id"] for row in scores] == [f"L{number:06}" for number in range(50) if number not in {10, 30, 31}]
    assert {row["model_version"] for row in scores} == {"test"}
    assert (tmp_path / "scores.rejects.csv").read_text() == (
        "row,id,reasons\n"
        "11,L000010,annual_income: below 1896\n"
        "31,L000030,annual_income: missing; term: unknown level\n"
        "32,L000031,annual_income: below 1896\n"
    )
    assert re.fullmatch(
        r"Model version test from 1.zip, as named\. Risky from 0\.3 on\.\n"
        rf"{output}: 50 rows in [\d.]+ s \([\d,]+ rows/s\), 47 scored by model version test, 3 rejected.\n"
        r"  age: column instalments_due\.\n"
        "  rejected for annual_income: below 1896: 2\n"
        "  rejected for annual_income: missing: 1\n"
        r"  rejected for term: unknown level: 1 \(known: ' 36 months', ' 60 months'\)\n"
        r"  caution outside_training_range: \d+\n"
        r"  caution instalments_due_missing: \d+\n",
        done.stderr,
    )
    assert done.stdout == ""


def test_exit_code_shows_rejects(write_loans: WriteLoans, run_scoring: RunScoring, tmp_path: Path) -> None:
    """Exit code: 0 without rejects or within --max-rejects, 3 without that option, 1 and no file beyond it."""
    good = write_loans("good.csv", 5)
    bad = write_loans("bad.csv", 5, term={1: "soon", 2: "late"})
    output = tmp_path / "scores.csv"
    assert run_scoring(good, "--output", output).returncode == 0
    assert (tmp_path / "scores.rejects.csv").read_text() == "row,reasons\n"
    assert run_scoring(bad, "--output", output).returncode == 3
    assert run_scoring(bad, "--output", output, "--max-rejects", 2).returncode == 0
    output.unlink()
    (tmp_path / "scores.rejects.csv").unlink()
    done = run_scoring(bad, "--output", output, "--max-rejects", 1)
    assert done.returncode == 1
    assert done.stderr.partition("\n")[2] == (
        "bad.csv: more than 1 of the first 5 rows violate the contract, most often by term: unknown level. "
        "Nothing was written. Fix the rows, or raise --max-rejects.\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"good.csv", "bad.csv"}


def test_rows_are_numbered_where_there_are_no_ids(write_loans: WriteLoans, archive_path: Path, tmp_path: Path) -> None:
    """Without an id column a score tells its row, counted from 1 over the whole file, rejected rows included."""
    source = write_loans("loans.parquet", 40_100, term={0: None, 25_000: "soon"})
    settings = Settings(source, tmp_path / "scores.parquet", archive=str(archive_path))
    assert score(settings).rejected == 2
    rows = [row["row"] for row in read_scores(settings.output)]
    assert rows == [row for row in range(1, 40_101) if row not in {1, 25_001}]


def test_cut_off_decides(write_loans: WriteLoans, archive_path: Path, tmp_path: Path) -> None:
    """A cut-off of one's own decides as it does in the service, from the model's on without one."""
    source = write_loans("loans.csv", 200)
    for cut_off in (None, 0.05, 0.6):
        settings = Settings(source, tmp_path / "scores.parquet", archive=str(archive_path), cut_off=cut_off)
        score(settings)
        found = {
            (row["risk_probability"] >= (cut_off or 0.3), row["credit_risk"]) for row in read_scores(settings.output)
        }
        assert found == {(True, "risky"), (False, "safe")}


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_change_nothing(threads: int, write_loans: WriteLoans, archive_path: Path, tmp_path: Path) -> None:
    """The bytes written do not depend on how many threads there were."""
    source = write_loans("loans.parquet", 100_000, term={5: None})
    for name, count in (("one", 1), ("more", threads)):
        score(Settings(source, tmp_path / f"{name}.csv", archive=str(archive_path), threads=count))
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "more.csv").read_bytes()


def test_full_disk_is_reported(book: Path, scoring_command: list[str], tmp_path: Path) -> None:
    """If the output can't grow, the run ends with an error and without a file."""
    line = [*scoring_command, str(book / "loans.csv"), "--output", str(tmp_path / "scores.csv")]
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -f 64; exec {shlex.join(line)}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        # Coverage's own file would not fit into the limit either.
        env=unmeasured_environment(),
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.partition("\n")[2] == (
        "scores.csv: can't be written (File too large). Nothing was written. Free some space or choose another "
        "folder, then run the same command again.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.csv", "--output", "{out}/scores.csv"], 1, "none.csv: no such file."),
        (["README.md", "--output", "{out}/scores.txt"], 1, "scores.txt: name an output that ends in"),
        (["{book}/loans.csv", "--output", "{out}/s.csv", "--archive", "9.zip"], 1, "9.zip: no such file"),
        (["{book}/loans.csv", "--output", "{out}/s.csv", "--cut-off", "2"], 1, "cut_off is 2.0: set a probability"),
        (["{book}/loans.csv", "--output", "{out}/s.csv", "--shard", "4/3"], 1, "shard 4/3: the first number must be"),
        (
            ["{book}/loans.csv", "--output", "{out}/s.csv", "--shard", "1/3"],
            1,
            "s.csv: a shard's scores must be Parquet",
        ),
        (["{book}/loans.csv", "--output", "{out}/s.csv", "--threads", "0"], 1, "threads is 0, but must be at least 1"),
        (["{book}/loans.csv", "--output", "{book}/loans.csv"], 1, "are the same file"),
        (["{book}/loans.csv", "--output", "{out}/s.csv", "--id", "x"], 1, "loans.csv: no column x"),
        (["{book}/loans.csv"], 2, "--output"),
        (["{book}/loans.csv", "--output", "{out}/s.csv", "--shard", "one"], 2, "'one' is not a shard: write K/N"),
        (["{book}/loans.csv", "--output", "{out}/s.csv", "--max-rejects", "-1"], 2, "--max-rejects"),
    ],
)
def test_wrong_command_is_reported(
    arguments: list[str], code: int, message: str, *, book: Path, run_scoring: RunScoring, tmp_path: Path
) -> None:
    """An impossible command gives one clear line, a non-zero exit code and no file."""
    done = run_scoring(*(argument.format(book=book, out=tmp_path) for argument in arguments))
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_value_of_a_borrower_is_reported(write_loans: WriteLoans, run_scoring: RunScoring, tmp_path: Path) -> None:
    """Neither the messages nor the rejects file contain a rejected value."""
    source = write_loans(
        "loans.csv", 3, employment_length={0: "since the war", 1: "31337"}, annual_income={0: 1337.25, 2: 1.5e9}
    )
    done = run_scoring(source, "--output", tmp_path / "scores.csv")
    rejects = (tmp_path / "scores.rejects.csv").read_text()
    assert (done.returncode, len(rejects.splitlines())) == (3, 1 + 3)
    reported = done.stderr + rejects
    assert not [value for value in ("war", "31337", "1337.25", "1500000000", "1.5e") if value in reported]


def test_too_many_rejects_stop_the_run(write_loans: WriteLoans, archive_path: Path, tmp_path: Path) -> None:
    """What was scored before is not written either."""
    source = write_loans("loans.parquet", 70_000, term={69_999: None})
    with pytest.raises(DataError, match="more than 0 of the first 70000 rows"):
        score(Settings(source, tmp_path / "scores.csv", archive=str(archive_path), max_rejects=0))
    assert [path.name for path in tmp_path.iterdir()] == ["loans.parquet"]


def test_file_without_rows_gives_a_file_without_scores(
    write_loans: WriteLoans, archive_path: Path, tmp_path: Path
) -> None:
    """A header alone, or rows that are all bad, give an empty table of the usual columns."""
    for suffix in (".csv", ".parquet"):
        for rows in (0, 3):
            source = write_loans(f"loans{suffix}", rows, term=dict.fromkeys(range(rows), "soon"))
            settings = Settings(source, tmp_path / f"scores{suffix}", archive=str(archive_path))
            summary = score(settings)
            assert (summary.scored, summary.rejected) == (0, rows)
            assert read_scores(settings.output) == []


def test_damaged_archive_scores_nothing(book: Path, archive_path: Path, tmp_path: Path) -> None:
    """An archive that the service would not load scores no file either."""
    damaged = tmp_path / "1.zip"
    damaged.write_bytes(archive_path.read_bytes()[:-100])
    with pytest.raises(ModelArchiveError, match="damaged"):
        score(Settings(book / "loans.csv", tmp_path / "scores.csv", archive=str(damaged)))
    assert [path.name for path in tmp_path.iterdir()] == ["1.zip"]
