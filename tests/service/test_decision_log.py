import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import ROOT
from processes import PYTHON, Service, wait_until

from credit_risk_model import decisions
from credit_risk_model.examples import EXAMPLE_LOAN

MODELS = "/api/models"
PREDICTION = f"{MODELS}/credit_risk_model/prediction"
EXPLANATION = f"{MODELS}/credit_risk_explanation/prediction"
BATCH = f"{MODELS}/credit_risk_batch/prediction"
OTHERS = (
    "credit_risk_model.prediction.explanation.CreditRiskExplanation",
    "credit_risk_model.prediction.batch.CreditRiskBatch",
)
FORMER_LOAN = {name: value for name, value in EXAMPLE_LOAN.items() if name != "instalments_due"}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The file of a log's key."""
    path = tmp_path / "key"
    path.write_text("0123456789abcdef" * 4)
    return path


def start(start_service: Callable[..., Service], archive: Path, log: str, key: Path, **settings: Any) -> Service:
    """Start a service that logs its decisions, and wait until it is ready."""
    service = start_service(
        settings={"decisions": {"file": log, "key_file": str(key), **settings}},
        more_models=OTHERS,
        archive=str(archive),
    )
    service.wait_for("/api/health/ready")
    return service


def logged(log: Path, number: int) -> list[dict[str, Any]]:
    """The decisions of a log, once there are so many."""
    deadline = time.monotonic() + 10
    while True:
        found = list(decisions.records(decisions.find_files(log)))
        if len(found) >= number or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def monitor(*arguments: str | Path, status: int = 0) -> Any:
    """Run a monitoring command; give what it prints."""
    command = [PYTHON, "-m", "credit_risk_model.monitoring", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_each_decision_is_logged_and_can_be_had_again(
    start_service: Callable[..., Service], archive_path: Path, tmp_path: Path, key: Path
) -> None:
    """Predictions, explanations and each loan of a batch: who asked what, what was answered, equal to the last bit."""
    keys, log = tmp_path / "keys", tmp_path / "decisions.jsonl"
    keys.write_text(f"bank-a {'a' * 40}\n")
    service = start_service(
        settings={
            "decisions": {"file": str(log), "key_file": str(key)},
            "api_keys": {"file": str(keys), "protect": ["predictions"]},
        },
        more_models=OTHERS,
        archive=str(archive_path),
    )
    service.wait_for("/api/health/ready")
    headers = {"X-API-Key": "a" * 40, "X-Decision-Reference": "loan:1", "X-Request-ID": "one"}
    with httpx.Client(base_url=service.address, headers=headers) as client:
        one = client.post(PREDICTION, json=EXAMPLE_LOAN).json()
        why = client.post(EXPLANATION, json={**FORMER_LOAN, "max_reasons": 2}).json()
        batch = {"loans": [EXAMPLE_LOAN, FORMER_LOAN]}
        many = client.post(BATCH, json=batch).json()["predictions"]
    # Those of a batch are made on a thread, and logged at once.
    records = sorted(logged(log, 4), key=lambda record: ("batch" in record["model"], "explan" in record["model"]))
    answers = [one, why, *many]
    assert [record["risk_probability"] for record in records] == [answer["risk_probability"] for answer in answers]
    assert [record["credit_risk"] for record in records] == [answer["credit_risk"] for answer in answers]
    assert [record["cautions"] for record in records] == [answer["cautions"] for answer in answers]
    assert [record["personal"]["reference"] for record in records] == ["loan:1", "loan:1", "loan:1/0", "loan:1/1"]
    assert {(record["request_id"], record["key"]) for record in records} == {("one", "bank-a")}
    assert [record["model"].removeprefix("credit_risk_") for record in records] == [
        "model", "explanation", "batch", "batch",
    ]  # fmt: skip
    assert records[0]["personal"]["loan"] == EXAMPLE_LOAN
    assert records[1]["personal"]["loan"] == {**FORMER_LOAN, "instalments_due": None}
    assert records[1]["personal"]["reasons"] == why["reasons"]
    assert "a" * 40 not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    replayed = monitor("replay", log, "--archives", archive_path)
    assert (replayed["decisions"], replayed["equal"], replayed["different"]) == (4, 4, 0)
    service.stop()
    verified = monitor("verify", log, "--key-file", key)
    assert (verified["decisions"], verified["faults"]) == (4, [])


def test_chain_goes_on_over_restarts_and_full_files(
    start_service: Callable[..., Service], archive_path: Path, tmp_path: Path, key: Path
) -> None:
    """After a kill, a restart and files that are full there is one chain, whose head the metrics tell."""
    log, number = tmp_path / "decisions.jsonl", 300
    for end in (signal.SIGKILL, signal.SIGTERM):
        service = start(start_service, archive_path, str(log), key, max_file_bytes=65_536)
        with httpx.Client(base_url=service.address) as client:
            for _ in range(number):
                assert client.post(PREDICTION, json=EXAMPLE_LOAN).status_code == 200
        logged = f"credit_risk_decisions_logged_total {number:.1f}"
        wait_until(lambda: logged in httpx.get(f"{service.address}/metrics").text)  # noqa: B023  # called here alone
        samples = httpx.get(f"{service.address}/metrics").text.splitlines()
        service.process.send_signal(end)
        service.process.wait(30)
    values = {name: value for name, _, value in (line.rpartition(" ") for line in samples)}
    head = f"{values['credit_risk_decision_log_lines']}:{values['credit_risk_decision_log_head']}"
    verified = monitor("verify", log, "--key-file", key, "--head", head)
    assert (verified["decisions"], verified["faults"]) == (2 * number, [])
    assert len(decisions.find_files(log)) > 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "decisions", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("Needs the right to mount a file system.")
    yield folder
    subprocess.run(["/bin/umount", "--lazy", folder], check=True)


@pytest.mark.long
@pytest.mark.parametrize("when_failing", ["refuse", "continue"])
def test_full_disk_holds_nobody_up(
    start_service: Callable[..., Service], archive_path: Path, small_disk: Path, key: Path, when_failing: str
) -> None:
    """While the disk is full, predictions are refused or answered, as the setting says, and probes always."""
    log, filler = small_disk / "decisions.jsonl", small_disk / "filler"
    service = start(start_service, archive_path, str(log), key, when_failing=when_failing, max_waiting=50)
    filler.write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize - 8192))

    def ask(_: int) -> int:
        return httpx.post(service.address + PREDICTION, json=EXAMPLE_LOAN, timeout=10).status_code

    statuses: set[int] = set()
    deadline = time.monotonic() + 20
    with ThreadPoolExecutor(8) as pool:
        while time.monotonic() < deadline and (when_failing == "refuse") != (503 in statuses):
            statuses = set(pool.map(ask, range(40)))
        if when_failing == "continue":
            statuses = set(pool.map(ask, range(200)))
            time.sleep(0.2)
            assert set(pool.map(ask, range(80))) == {200}
    assert (503 in statuses) == (when_failing == "refuse")
    began = time.monotonic()
    assert service.get("/api/health")[0] == 200
    assert time.monotonic() - began < 1
    text = service.get("/metrics")[1].decode()
    assert "credit_risk_decision_log_failing 1.0" in text
    if when_failing == "continue":
        lost = next(line for line in text.splitlines() if line.startswith("credit_risk_decisions_lost_total"))
        assert float(lost.split()[1]) > 0
    filler.unlink()
    while ask(0) != 200 or b"credit_risk_decision_log_failing 0.0" not in service.get("/metrics")[1]:
        assert time.monotonic() < deadline + 20
        time.sleep(0.1)
    service.stop()
    verified = monitor("verify", log, "--key-file", key)
    assert verified["faults"] == []
    assert verified["decisions"] > 0


def test_standard_output_can_take_the_log(
    start_service: Callable[..., Service], archive_path: Path, tmp_path: Path, key: Path
) -> None:
    """With `file: "-"` lines go to standard output, between those of the service's own log, and can be verified."""
    service = start(start_service, archive_path, "-", key)
    assert httpx.post(service.address + PREDICTION, json=EXAMPLE_LOAN).status_code == 200
    service.stop()
    lines = [line for line in service.log.read_bytes().splitlines(keepends=True) if line.startswith(b'{"mac":')]
    collected = tmp_path / "collected.jsonl"
    collected.write_bytes(b"".join(lines))
    verified = monitor("verify", collected, "--key-file", key)
    assert (verified["decisions"], verified["faults"]) == (1, [])


def test_unfit_reference_is_refused(
    start_service: Callable[..., Service], archive_path: Path, tmp_path: Path, key: Path
) -> None:
    """A reference that the log can't hold is a 400: it would be missed later."""
    service = start(start_service, archive_path, str(tmp_path / "decisions.jsonl"), key)
    for reference in ("a b", "a" * 129):
        headers = {"X-Decision-Reference": reference}
        answer = httpx.post(service.address + PREDICTION, json=EXAMPLE_LOAN, headers=headers)
        assert (answer.status_code, answer.json()["messages"][0][:30]) == (400, "X-Decision-Reference: 1 to 128")


@pytest.mark.parametrize(
    ("log", "key", "words"),
    [
        ("decisions.jsonl", "nowhere", "nowhere: can't be read (No such file or directory)"),
        ("decisions.jsonl", "short", "short: the key of the decision log has 5 bytes, but needs at least 32"),
        ("short/decisions.jsonl", "key", "short"),
    ],
)
def test_unfit_settings_end_the_start_in_one_line(tmp_path: Path, log: str, key: str, words: str) -> None:
    """A key or a file that can't be used is told before the service listens."""
    (tmp_path / "short").write_text("short")
    (tmp_path / "key").write_text("k" * 32)
    configuration = tmp_path / "configuration.yaml"
    configuration.write_text(
        "service_title: x\nversion: '1'\nservice:\n"
        f"  decisions: {{file: {tmp_path / log}, key_file: {tmp_path / key}}}\n"
    )
    done = subprocess.run(
        [PYTHON, "-m", "credit_risk_model.service", "--config", configuration, "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
