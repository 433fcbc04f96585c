"""Measures the service in operation: under a CPU limit, under saturation, and at its termination.

Run it with `make bench` or `python -m benchmarks.operation [--quick]`.
"""

import http.client
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks import report
from benchmarks.processes import (
    BARE_FASTAPI,
    PREDICTION,
    SERVICE,
    Contender,
    Server,
    parse_quick,
    serving,
    usual_wrapper,
)
from benchmarks.serving import SERVER_CPU, known_loans, load, write_bodies

_CGROUPS = Path("/sys/fs/cgroup")
_CPU_LIMIT = 0.2
_CONNECTIONS = 16


@contextmanager
def cpu_limit(share: float) -> Iterator[Path]:
    """Make a control group whose processes get a share of one core, like a pod's CPU limit."""
    period = 100_000
    old = (_CGROUPS / "cpu").is_dir()
    group = (_CGROUPS / "cpu" if old else _CGROUPS) / f"benchmark-{os.getpid()}"
    group.mkdir()
    try:
        if old:
            (group / "cpu.cfs_period_us").write_text(str(period))
            (group / "cpu.cfs_quota_us").write_text(str(int(period * share)))
        else:
            (group / "cpu.max").write_text(f"{int(period * share)} {period}")
        yield group
    finally:
        group.rmdir()


def start_under_limit(rounds: int) -> list[dict[str, str]]:
    """Measure the seconds to ready under the CPU limit, of service and usual wrapper in turns."""
    found: dict[str, list[float]] = {"service, everything on": [], "usual wrapper": []}
    for _ in range(rounds):
        for name, contender in zip(found, (SERVICE, usual_wrapper()), strict=True):
            with (
                cpu_limit(_CPU_LIMIT) as group,
                tempfile.TemporaryDirectory() as folder,
                serving(contender, Path(folder), cgroup=group) as server,
            ):
                found[name].append(server.seconds_to_ready)
    return [
        {
            "contender": name,
            f"s to ready at {_CPU_LIMIT} CPU": f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})",
        }
        for name, times in found.items()
    ]


def health_under_load(bodies: Path, seconds: float) -> list[dict[str, str]]:
    """Measure the probes' latency while 64 connections saturate the service on one core."""
    times: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(SERVICE, Path(folder), SERVER_CPU) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        saturation = pool.submit(load, server, bodies, 64, seconds)
        time.sleep(0.5)
        while not saturation.done():
            for path in ("/api/health", "/api/health/ready", "/api/health/startup"):
                began = time.perf_counter()
                if server.status(path) != 200:
                    sys.exit(f"{path} did not answer 200 under load.")
                times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.01)
        saturation.result()
    p99 = statistics.quantiles(times, n=100)[98]
    return [
        {
            "probes": f"{len(times)}",
            "p50 ms": f"{statistics.median(times):.3g}",
            "p99 ms (to reach: <= 100)": f"{p99:.3g}",
        }
    ]


def terminate_under_load(contender: Contender, rounds: int) -> dict[str, int]:
    """Terminate a contender while 16 keep-alive connections are busy; return how the connections ended."""
    ends = {"asked to close": 0, "request lost": 0}
    loan = json.dumps(known_loans()[0][0]).encode()
    request = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
    request += f"Content-Length: {len(loan)}\r\n\r\n".encode() + loan
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, serving(contender, Path(folder)) as server:
            threads = [threading.Thread(target=_converse, args=(server, request, ends)) for _ in range(_CONNECTIONS)]
            for thread in threads:
                thread.start()
            time.sleep(1)
            server.process.send_signal(signal.SIGTERM)
            for thread in threads:
                thread.join()
    return ends


def _converse(server: Server, request: bytes, ends: dict[str, int]) -> None:
    """Send requests on one connection until it ends, and count how it ended."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        while True:
            try:
                connection.sendall(request)
                response = http.client.HTTPResponse(connection)
                response.begin()
                response.read()
            except (OSError, http.client.HTTPException):  # closed, reset, or an incomplete response
                ends["request lost"] += 1
                return
            if response.getheader("connection") == "close":
                ends["asked to close"] += 1
                return


def main() -> None:
    """Measure everything and write the report."""
    quick = parse_quick("benchmarks.operation", __doc__)
    rounds, seconds = (1, 1) if quick else (5, 3)
    tables: dict[str, list[dict[str, str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bodies = write_bodies(Path(folder))
        parts: dict[str, Callable[[], list[dict[str, str]]]] = {
            "Start under a CPU limit": lambda: start_under_limit(rounds),
            "Probes while 64 connections saturate the service": lambda: health_under_load(bodies, seconds),
            "SIGTERM while 16 keep-alive connections are busy": lambda: [
                {"contender": name, **{end: str(count) for end, count in found.items()}}
                for name, found in (
                    ("service, everything on", terminate_under_load(SERVICE, rounds)),
                    ("bare FastAPI, constant", terminate_under_load(BARE_FASTAPI, rounds)),
                )
            ],
        }
        for heading, measure in parts.items():
            sys.stderr.write(f"{heading}\n")
            tables[heading] = measure()
    report.write(
        "operation_quick" if quick else "operation",
        "Operation",
        "make bench QUICK=1" if quick else "make bench",
        tables,
        [
            f"{rounds} rounds. Under the limit all cores are allowed, for {_CPU_LIMIT} of one core's time together "
            "(needs root and a cpu control group).",
        ],
    )


if __name__ == "__main__":
    main()
