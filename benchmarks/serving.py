"""Measures throughput, latency, CPU, memory and start of the service and of other servers.

Run it with `make bench` or `python -m benchmarks.serving [--quick]`. The contenders take turns, so that a drift of the
machine's speed affects all of them. The server has one core, the load generator (wrk) another. Under load, each
contender that predicts is also checked with loans of known probability.
"""

import http.client
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.processes import (
    BARE_FASTAPI,
    EXPLANATION,
    FRAMEWORK,
    FRAMEWORK_CONSTANT,
    LOGGING_SERVICE,
    PREDICTION,
    RAW_STARLETTE,
    SERVICE,
    Contender,
    Server,
    parse_quick,
    serving,
    usual_wrapper,
)
from credit_risk_model import archive
from credit_risk_model.schemas import CreditRiskModelInput

SERVER_CPU, LOAD_CPU = {0}, {1}
_CONSTANT = {"bare FastAPI, constant", "raw Starlette route, constant", "rest_model_service, constant"}
# Seconds between two checks, and as a multiple of the last one's duration: checks must not become the load.
_PAUSE, _PAUSES = 0.02, 20
_MAX_PAUSE = 2.0  # uvicorn closes a connection after five idle seconds
_FIGURES = ("requests/s, 1 connection", "requests/s, 16", "p99 ms, 16", "CPU ms a request", "PSS MB", "s to ready")


def contenders() -> dict[str, Contender]:
    """List the contenders by their names in the report."""
    return {
        "service, everything on": SERVICE,
        "service, decisions logged": LOGGING_SERVICE,
        "bare FastAPI, constant": BARE_FASTAPI,
        "raw Starlette route, constant": RAW_STARLETTE,
        "rest_model_service with the model": FRAMEWORK,
        "rest_model_service, constant": FRAMEWORK_CONSTANT,
        "usual wrapper": usual_wrapper(),
    }


def known_loans() -> list[tuple[dict[str, Any], float]]:
    """Return the shipped archive's golden loans with the booster's own probabilities."""
    shipped = archive.read(archive.newest())
    return [(golden.loan.model_dump(mode="json"), shipped.evaluate(golden.loan)) for golden in shipped.golden]


def write_bodies(folder: Path) -> Path:
    """Write the known loans, one per line, for wrk to send in rotation."""
    path = folder / "loans"
    loans = [CreditRiskModelInput.model_validate(loan) for loan, _ in known_loans()]
    path.write_text("".join(f"{loan.model_dump_json()}\n" for loan in loans))
    return path


def load(
    server: Server,
    bodies: Path,
    connections: int,
    seconds: float,
    *,
    path: str = PREDICTION,
    pinned: bool = True,
) -> dict[str, float]:
    """Load a server; return wrk's figures and the server's CPU milliseconds per request."""
    cpus = LOAD_CPU if pinned else os.sched_getaffinity(0)
    before = server.cpu_seconds()
    done = subprocess.run(
        [
            *("taskset", "-c", ",".join(map(str, cpus)), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"),
            *("-s", str(Path(__file__).with_name("load.lua")), f"http://127.0.0.1:{server.port}"),
            *("--", str(bodies), path),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if found["failed"]:
        sys.exit(f"{found['failed']} requests failed under load.")
    found["rate"] = found["requests"] / found["microseconds"] * 1e6
    found["cpu_ms"] = (server.cpu_seconds() - before) / found["requests"] * 1000
    return found


@contextmanager
def checked(server: Server, loans: list[tuple[dict[str, Any], float]]) -> Iterator[None]:
    """Compare answers with the booster's own probabilities while the block runs."""
    done = threading.Event()
    wrong: list[str] = []

    def check() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for loan, probability in itertools.cycle(loans):
            began = time.perf_counter()
            connection.request("POST", PREDICTION, json.dumps(loan), {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
            if abs(answer["risk_probability"] - probability) > archive.GOLDEN_TOLERANCE:
                wrong.append(f"{answer}, expected {probability}")
            if done.wait(min(max(_PAUSE, _PAUSES * (time.perf_counter() - began)), _MAX_PAUSE)):
                return

    def watch() -> None:
        try:
            check()
        except Exception as error:  # an answer that can't be compared is wrong, too
            wrong.append(repr(error))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if wrong:
        sys.exit(f"Wrong answers under load: {wrong[:3]}")


def measure(name: str, contender: Contender, bodies: Path, seconds: float) -> dict[str, float]:
    """Measure one round of one contender; returns the figures in the order of `_FIGURES`."""
    loans = known_loans()
    # A constant needs no check, but the checks' requests must load all contenders alike.
    expected = [(loan, 0.25) for loan, _ in loans] if name in _CONSTANT else loans
    with tempfile.TemporaryDirectory() as folder, serving(contender, Path(folder), SERVER_CPU) as server:
        load(server, bodies, 16, min(seconds, 1))  # warm
        with checked(server, expected):
            one = load(server, bodies, 1, seconds)
            many = load(server, bodies, 16, seconds)
        memory = server.proportional_megabytes()
        values = (one["rate"], many["rate"], many["p99"] / 1000, many["cpu_ms"], memory, server.seconds_to_ready)
        return dict(zip(_FIGURES, values, strict=True))


def summarize(rounds: dict[str, list[dict[str, float]]]) -> list[dict[str, str]]:
    """Return each contender's medians with their ranges."""
    rows = []
    for name, measured in rounds.items():
        row = {"contender": name}
        for figure in _FIGURES:
            values = [found[figure] for found in measured]
            row[figure] = f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"
        rows.append(row)
    return rows


def compute_ratios(rounds: dict[str, list[dict[str, float]]]) -> list[dict[str, str]]:
    """Return the medians of the ratios within each round, beside the targets."""
    pairs = (
        ("service, everything on", "bare FastAPI, constant", (">= 1.3", ">= 1.45", "<= 0.8", "<= 0.85", "", "")),
        ("service, everything on", "raw Starlette route, constant", (">= 0.70", ">= 0.85", "", "", "", "")),
        ("service, decisions logged", "service, everything on", ("", ">= 0.85", "", "", "", "")),
        ("service, decisions logged", "bare FastAPI, constant", ("", ">= 1.1", "", "", "", "")),
        ("rest_model_service with the model", "rest_model_service, constant", (">= 0.85", ">= 0.85", "", "", "", "")),
        ("service, everything on", "usual wrapper", (">= 30", ">= 30", "<= 0.05", "", "<= 0.5", "<= 0.4")),
    )
    rows = []
    for mine, other, bounds in pairs:
        row = {"ratio": f"{mine} / {other}"}
        for figure, bound in zip(_FIGURES, bounds, strict=True):
            within = [a[figure] / b[figure] for a, b in zip(rounds[mine], rounds[other], strict=True)]
            row[figure] = f"{statistics.median(within):.3g}" + (f" (to reach: {bound})" if bound else "")
        rows.append(row)
    return rows


def measure_explanations(bodies: Path, number: int, seconds: float) -> dict[str, str]:
    """Measure the latency of explanations, requested one by one."""
    with tempfile.TemporaryDirectory() as folder, serving(SERVICE, Path(folder), SERVER_CPU) as server:
        load(server, bodies, 1, 1, path=EXPLANATION)  # warm
        found = [load(server, bodies, 1, seconds, path=EXPLANATION) for _ in range(number)]
    columns = {"p50": "p50 ms (to reach: <= 4)", "p99": "p99 ms"}
    values = {name: [one[name] / 1000 for one in found] for name in columns}
    return {
        columns[name]: f"{statistics.median(ms):.3g} ({min(ms):.3g} to {max(ms):.3g})" for name, ms in values.items()
    }


def main() -> None:
    """Measure all contenders and write the report."""
    quick = parse_quick("benchmarks.serving", __doc__)
    number, seconds = (1, 1) if quick else (7, 5)
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contenders()}
    with tempfile.TemporaryDirectory() as folder:
        bodies = write_bodies(Path(folder))
        for turn in range(number):
            for name, contender in contenders().items():
                sys.stderr.write(f"round {turn + 1} of {number}: {name}\n")
                rounds[name].append(measure(name, contender, bodies, seconds))
        explained = measure_explanations(bodies, number, max(1, seconds // 2))
    report.write(
        "serving_quick" if quick else "serving",
        "Serving",
        "make bench QUICK=1" if quick else "make bench",
        {
            "Medians (and range) of the rounds": summarize(rounds),
            "Ratios, medians within a round": compute_ratios(rounds),
            "An explanation, over one connection": [explained],
        },
        [
            f"{number} rounds of {seconds} s each, with 1 and 16 connections; wrk has one core, the server the other.",
            "Everything on: validation, probability, request ids, metrics, structured log of every request.",
        ],
    )


if __name__ == "__main__":
    main()
