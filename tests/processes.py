"""What runs beside a test: programs, services, threads."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = os.environ.get("SERVICE_PYTHON", sys.executable)
"""What services run with: `make test-versions` names the interpreter of another environment."""
FRAMEWORK = ("uvicorn", "rest_model_service.main:app")
"""The framework's own application, which serves the same YAML without what this project adds."""


def find_tool(name: str, *others: str, packaged: bool = True) -> str:
    """Give the path of a program that a test needs, by one of its names: without it the test is skipped in words.

    Where TOOLS=required, as in the repository's own checks, it fails instead, if a Debian package has the program.
    """
    if found := next(filter(None, map(shutil.which, (name, *others))), None):
        return found
    reason = f"{name} is not installed; .ci/run says in which package it is"
    if packaged and os.environ.get("TOOLS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def unmeasured_environment() -> dict[str, str]:
    """The environment for a process whose coverage is not measured.

    Coverage's tracer holds a lock for moments. A signal handler that raises in such a moment leaves it locked, and the
    process hangs.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


class Service:
    """A service as its users run it: a process of its own, reached over HTTP.

    Attributes:
        address: Base URL.
        process: The running service.
        log: File with what it wrote to standard output and error.
    """

    def __init__(
        self, configuration: Path, log: Path, *options: str, command: tuple[str, ...] = ("credit_risk_model.service",)
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [PYTHON, "-m", *command, "--port", str(self.port), *options],
                cwd=ROOT,
                env={**os.environ, "REST_CONFIG": str(configuration), "PYTHONPATH": str(ROOT / "tests" / "service")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def get(self, path: str, seconds: float = 10) -> tuple[int, bytes]:
        """Send a GET that is answered within some seconds; give status and body, 0 where nothing listens yet."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=seconds) as answer:  # noqa: S310  # our own address
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except (urllib.error.URLError, ConnectionError):
            return 0, b""

    def wait_for(self, path: str, status: int = 200, seconds: float = 60) -> None:
        """Ask until the path answers with the status."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.get(path)[0] == status:
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(f"{path} did not answer {status} in {seconds} s:\n{self.log.read_text()}")

    def stop(self) -> None:
        """End the process as an orchestrator does."""
        self.process.terminate()
        self.process.wait(timeout=30)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for what comes a moment later, such as a request's log line and its metrics."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it does not hold after {seconds} s"
        time.sleep(0.02)


def lines_of(service: Service, number: int = 0, **values: object) -> list[dict[str, Any]]:
    """The log's lines with these values, once there are so many: requests' lines are written a little late."""

    def read() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in service.log.read_text(encoding="utf-8").split("\n")[:-1]]
        return [line for line in lines if values.items() <= line.items()]

    wait_until(lambda: len(read()) >= number)
    return read()


@contextmanager
def threads(*functions: Callable[[threading.Event], object]) -> Iterator[None]:
    """Run functions beside a test until they return; its end, whatever it is, is told by the event that they get.

    A failed test must not hang the run: none of the threads keeps the process from ending.
    """
    over = threading.Event()
    started = [threading.Thread(target=function, args=(over,), daemon=True) for function in functions]
    for thread in started:
        thread.start()
    try:
        yield
    finally:
        over.set()
        deadline = time.monotonic() + 30
        for thread in started:
            thread.join(max(0, deadline - time.monotonic()))


@contextmanager
def process(command: Sequence[str | Path], folder: Path) -> Iterator[None]:
    """Run a command beside a test, quietly; it ends with it, whatever happens."""
    running = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
