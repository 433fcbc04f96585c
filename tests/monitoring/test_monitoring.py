import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from conftest import SHIPPED
from pydantic_core import to_json

from credit_risk_model import archive, decisions
from credit_risk_model.decisions import Chain
from credit_risk_model.monitoring.__main__ import FAILED, FOUND_WRONG, main
from credit_risk_model.monitoring.replay import compute_stability_index
from credit_risk_model.prediction.model import decide
from credit_risk_model.schemas import CreditRiskModelInput

KEY = "k" * 64


@pytest.fixture(scope="module")
def shipped() -> archive.Archive:
    """The shipped archive."""
    return archive.read(SHIPPED)


@pytest.fixture
def log(tmp_path: Path, shipped: archive.Archive) -> Path:
    """A log of the shipped archive's made-up loans, as the service writes it, the first under the reference `one`."""
    chain, path = Chain(KEY.encode()), tmp_path / "decisions.jsonl"
    (tmp_path / "key").write_text(KEY)
    lines = [chain.add("begin", b'"follows":"%b"' % chain.mac.encode())]
    for number, golden in enumerate(shipped.golden):
        record = {
            "time": "2026-01-09T00:00:00.000+00:00",
            "model_version": shipped.metadata.model_version,
            "archive_sha256": shipped.sha256,
            "cut_off": shipped.metadata.cut_off,
            "risk_probability": golden.risk_probability,
            "credit_risk": decide(golden.risk_probability, shipped.metadata.cut_off),
        }
        reference = "one" if number == 0 else str(number)
        personal = decisions.make_personal(reference, golden.loan.model_dump_json().encode(), None)
        lines.append(chain.add("decision", to_json(record)[1:-1], personal))
    aside = decisions.sealed_name(path, 1)
    aside.write_bytes(b"".join([*lines, chain.add("seal", b'"time":""')]))
    path.write_bytes(chain.add("begin", b'"follows":"%b"' % chain.mac.encode()))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path, status: int = 0) -> Any:
    """Run a command; give what it prints as JSON, or its error."""
    assert main([str(argument) for argument in arguments]) == status
    output = capsys.readouterr()
    return json.loads(output.out) if output.out else output.err


def test_log_is_replayed_to_the_last_bit(
    capsys: pytest.CaptureFixture[str], log: Path, shipped: archive.Archive
) -> None:
    """Every probability is reproduced from the archive that the log names; a changed one is reported with its line."""
    number = len(shipped.golden)
    found = run(capsys, "replay", log)
    assert (found["decisions"], found["equal"], found["different"], found["of_unknown_archives"]) == (
        number, number, 0, {},
    )  # fmt: skip
    aside = decisions.find_files(log)[0]
    probability = str(shipped.golden[2].risk_probability).encode()
    aside.write_bytes(aside.read_bytes().replace(b'"risk_probability":' + probability, b'"risk_probability":0.123', 1))
    found = run(capsys, "replay", log, status=FOUND_WRONG)
    assert [(row["line"], row["logged"]) for row in found["differing"]] == [(4, 0.123)]


def test_archive_that_is_not_at_hand_is_reported(capsys: pytest.CaptureFixture[str], log: Path) -> None:
    """Decisions of an unavailable archive are counted as unproven."""
    aside = decisions.find_files(log)[0]
    digest = json.loads(aside.read_text().splitlines()[1])["archive_sha256"]
    aside.write_text(aside.read_text().replace(digest, "0" * 64))
    found = run(capsys, "replay", log, status=FOUND_WRONG)
    assert list(found["of_unknown_archives"]) == ["0" * 64]


def test_challenger_is_compared_with_the_champion(
    capsys: pytest.CaptureFixture[str], log: Path, archive_path: Path, tmp_path: Path
) -> None:
    """What another archive would have decided: flips, means and PSI, for all and by segment, as JSON and as a page."""
    challenger = archive.read(archive_path)
    page = tmp_path / "page.html"
    found = run(capsys, "replay", log, "--archive", archive_path, "--html", page)
    records = list(decisions.records(decisions.find_files(log)))
    loans = [CreditRiskModelInput.model_validate(record["personal"]["loan"]) for record in records]
    probabilities = [challenger.evaluate(loan) for loan in loans]
    called = [decide(probability, challenger.metadata.cut_off).value for probability in probabilities]
    logged = [record["credit_risk"] for record in records]
    segments = {segment["segment"]: segment for segment in found["segments"]}
    everything = segments["all all"]
    assert everything["mean_replayed"] == pytest.approx(sum(probabilities) / len(probabilities))
    assert everything["flips_to_risky"] == sum(
        a == "safe" and b == "risky" for a, b in zip(logged, called, strict=True)
    )
    assert everything["flips_to_safe"] == sum(a == "risky" and b == "safe" for a, b in zip(logged, called, strict=True))
    for name in ("term", "age", "credit_risk"):
        parts = [segment["decisions"] for segment in segments.values() if segment["segment"].startswith(f"{name} ")]
        assert (len(parts), sum(parts)) == (2, len(records)), name
    text = page.read_text()
    assert "<td>term 36 months</td>" in text
    assert "http" not in text


def test_erased_decisions_leave_a_log_that_holds(capsys: pytest.CaptureFixture[str], log: Path) -> None:
    """After `erase` the person's loan is gone, the log is verified, and replayed but for that decision."""
    key = log.with_name("key")
    assert run(capsys, "erase", log, "one", "--key-file", key) == {"erased": 1}
    verified = run(capsys, "verify", log, "--key-file", key)
    assert (verified["erased"], verified["faults"]) == (1, [])
    replayed = run(capsys, "replay", log)
    assert (replayed["erased"], replayed["equal"]) == (1, replayed["decisions"] - 1)


def test_nothing_is_erased_of_a_file_that_is_being_written(capsys: pytest.CaptureFixture[str], log: Path) -> None:
    """Erasing in a file that the service still writes to is refused with the time when it will be possible."""
    aside = decisions.find_files(log)[0]
    lines = aside.read_bytes().splitlines(keepends=True)
    aside.unlink()
    log.write_bytes(b"".join(lines[:-1]))  # without the seal
    before = log.read_bytes()
    words = run(capsys, "erase", log, "one", "--key-file", log.with_name("key"), status=FAILED)
    assert "is still being written and holds one" in words
    assert log.read_bytes() == before
    log.write_bytes(b"".join(lines))
    assert run(capsys, "erase", log, "one", "--key-file", log.with_name("key")) == {"erased": 1}


def test_changed_log_ends_with_its_own_exit_code(capsys: pytest.CaptureFixture[str], log: Path) -> None:
    """The exit codes of a broken log and of a failed command differ."""
    aside, key = decisions.find_files(log)[0], log.with_name("key")
    aside.write_bytes(aside.read_bytes().replace(b'"safe"', b'"risky"', 1))
    assert len(run(capsys, "verify", log, "--key-file", key, status=FOUND_WRONG)["faults"]) == 1
    assert "no such decision log" in run(capsys, "verify", log.with_name("x"), "--key-file", key, status=FAILED)
    assert "--head x: must be two numbers" in run(
        capsys, "verify", log, "--key-file", key, "--head", "x", status=FAILED
    )


def test_decisions_are_judged_by_outcomes(capsys: pytest.CaptureFixture[str], log: Path, tmp_path: Path) -> None:
    """Given what became of the loans, a row a month and version tells how right the decisions were."""
    outcomes, page = tmp_path / "outcomes.csv", tmp_path / "page.html"
    records = list(decisions.records(decisions.find_files(log)))
    lines = [f"{record['personal']['reference']},{record['credit_risk']}" for record in records[1:]]
    outcomes.write_text("\n".join(["reference,outcome", *lines, "nobody,safe"]))
    found = run(capsys, "outcomes", log, outcomes, "--html", page)
    assert (found["outcomes_unused"], found["decisions_without_reference"]) == (1, 0)
    month, everything = found["groups"]
    assert (month["month"], month["without_outcome"], everything["month"]) == ("2026-01", 1, "all")
    assert month["precision"][0] == month["recall"][0] == month["auc"][0] == 1
    assert "95 % interval" in page.read_text()


def test_population_stability_index_is_the_usual_one() -> None:
    """Two equal halves of ten bins, of which one doubles: the sum of differences times logarithms."""
    expected = [number / 1000 for number in range(1000)]
    found = [value for value in expected for _ in range(3 if value >= 0.9 else 1)]
    share = 300 / 1200
    by_hand = (share - 0.1) * math.log(share / 0.1) + 9 * (100 / 1200 - 0.1) * math.log(100 / 1200 / 0.1)
    assert compute_stability_index(expected, found) == pytest.approx(by_hand, rel=0.02)
    assert compute_stability_index(expected, random.Random(0).sample(expected, 1000)) == 0  # noqa: S311
    assert compute_stability_index([0.5] * 100, [0.5] * 50) == 0
    assert compute_stability_index([0.5] * 3, [0.5]) is None
