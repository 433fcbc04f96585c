"""A gate on work rather than on time: what a prediction and a start cost, counted, the same on every machine."""

import json
import subprocess
import sys
from typing import Any

import pytest
from conftest import CONFIGURATION, ROOT

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from time import perf_counter
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.service.app import Application
from credit_risk_model.service.drift import DriftCount
from credit_risk_model.service.server import Request, server
from credit_risk_model.service.settings import read_configuration

app = Application(read_configuration(Path(sys.argv[1])))
body = json.dumps(EXAMPLE_LOAN).encode()
headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

def predict():
    request = Request("POST", "/api/models/credit_risk_model/prediction", headers, perf_counter())
    app.admit(request)
    request.body += body
    answer = app.answer(request)
    app.note(request, answer)
    return answer.status

async def main():
    while not app._ready():
        await asyncio.sleep(0.01)
    for _ in range(10):
        predict()
    calls = {"call": 0, "c_call": 0}
    def count(frame, event, argument):
        if event in calls:
            calls[event] += 1
    await asyncio.sleep(0.1)  # the log's lines are out
    DriftCount.write()  # as when the metrics are scraped: what waits to be counted is
    before = sys.getallocatedblocks()
    for _ in range(4000):
        predict()
    await asyncio.sleep(0.1)
    DriftCount.write()
    kept = sys.getallocatedblocks() - before
    sys.setprofile(count)
    status = predict()
    app._bookkeeping.settle()
    sys.setprofile(None)
    print(json.dumps({"status": status, "python": calls["call"], "c": calls["c_call"], "kept": kept,
                      "modules": sum(not name.startswith("credit_risk_model") for name in sys.modules)}))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def work() -> dict[str, Any]:
    """The counts of a fresh process that serves the shipped configuration, everything on."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(CONFIGURATION)],
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,  # a model that does not load is never ready
    )
    counts: dict[str, Any] = json.loads(done.stdout)
    assert counts["status"] == 200
    return counts


def test_prediction_makes_few_calls(work: dict[str, Any]) -> None:
    """Validation, prediction, metrics, log and answer take a few dozen calls, of which the model's trees are one."""
    assert work["python"] <= 68
    assert work["c"] <= 73


def test_prediction_leaves_nothing_behind(work: dict[str, Any]) -> None:
    """Of four thousand predictions not even every fourth keeps a block of memory."""
    assert work["kept"] < 1000


def test_start_imports_what_it_needs(work: dict[str, Any]) -> None:
    """The whole service, its server included, loads fewer foreign modules than pandas and scikit-learn alone have."""
    assert work["modules"] <= 560
