"""Starts, pins, limits, watches and stops servers as separate processes."""

import argparse
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from credit_risk_model import archive

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "configuration" / "rest_configuration.yaml"
PREDICTION = "/api/models/credit_risk_model/prediction"
EXPLANATION = "/api/models/credit_risk_explanation/prediction"
BATCH = "/api/models/credit_risk_batch/prediction"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Contender:
    """A server to measure.

    Attributes:
        command: A Python module and its arguments.
        model: The model's entry in the YAML; None for the shipped one.
        plain: Whether to use the framework's defaults instead of the shipped configuration.
        logs_decisions: Whether to log each decision.
        environment: Folder of the virtual environment; LightGBM imports pandas and others if they are installed.
    """

    command: tuple[str, ...]
    model: dict[str, Any] | None = None
    plain: bool = False
    logs_decisions: bool = False
    environment: str = "service"


def parse_quick(module: str, description: str | None) -> bool:
    """Parse the option `--quick` of a benchmark that uses wrk; exit if wrk is missing."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs; not to quote")
    quick: bool = parser.parse_args().quick
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed. Run `apt-get install wrk`, or install your system's package of that name.")
    return quick


def _on_uvicorn(application: str) -> tuple[str, ...]:
    return ("uvicorn", application, "--no-access-log")


def usual_wrapper() -> Contender:
    """Make the contender of the usual wrapper with the shipped archive; it needs pandas and scikit-learn."""
    shipped = archive.newest()
    model = {
        "class_path": "benchmarks.contenders.usual.UsualWrapper",
        "create_endpoint": True,
        "configuration": {"archive": str(shipped), "cut_off": archive.read(shipped).metadata.cut_off},
    }
    return Contender(_on_uvicorn("rest_model_service.main:app"), model, plain=True, environment="training")


CONSTANT_MODEL = {"class_path": "benchmarks.contenders.constant.ConstantModel", "create_endpoint": True}

SERVICE = Contender(("credit_risk_model.service",))
LOGGING_SERVICE = Contender(("credit_risk_model.service",), logs_decisions=True)
BARE_FASTAPI = Contender(_on_uvicorn("benchmarks.contenders.constant:app"))
RAW_STARLETTE = Contender(_on_uvicorn("benchmarks.contenders.raw:app"))
FRAMEWORK = Contender(_on_uvicorn("rest_model_service.main:app"))
FRAMEWORK_CONSTANT = Contender(_on_uvicorn("rest_model_service.main:app"), CONSTANT_MODEL)


@dataclass
class Server:
    """A running contender.

    Attributes:
        seconds_to_ready: From the start of the process to its first 200 of the readiness probe.
    """

    process: subprocess.Popen[bytes]
    port: int
    seconds_to_ready: float = field(default=0.0)

    def status(self, path: str) -> int:
        """Return the status of one GET request; 0 if nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the process and its children have used so far."""
        return sum(_cpu_seconds(pid) for pid in self.pids())

    def proportional_megabytes(self) -> float:
        """Return its proportional set size (PSS)."""
        return sum(_pss(pid) for pid in self.pids()) / 1024

    def open_files(self) -> int:
        """Return the number of open files and sockets."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())

    def threads(self) -> int:
        """Return the number of threads."""
        return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in self.pids())

    def pids(self) -> list[int]:
        """Return the ids of the process and its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def stop(self) -> None:
        """Stop it as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _cpu_seconds(pid: int) -> float:
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / _TICKS


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _write_configuration(contender: Contender, folder: Path) -> Path:
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    if contender.plain:
        configuration = {key: configuration[key] for key in ("service_title", "version")}
    if contender.model is not None:
        configuration["models"] = [contender.model]
    if contender.logs_decisions:
        key = folder / "key"
        key.write_text("k" * 64)
        configuration["service"]["decisions"] = {"file": str(folder / "decisions.jsonl"), "key_file": str(key)}
    path = folder / "rest_configuration.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return path


@contextmanager
def serving(
    contender: Contender, folder: Path, cpus: set[int] | None = None, cgroup: Path | None = None
) -> Iterator[Server]:
    """Run a contender until the block ends.

    Args:
        contender: The server to run.
        folder: Folder for its configuration and output.
        cpus: Cores that it may use; None for all.
        cgroup: Control group to run it in; None for this process's own.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = _write_configuration(contender, folder)

    def confine() -> None:
        if cpus is not None:
            os.sched_setaffinity(0, cpus)
        if cgroup is not None:
            (cgroup / "cgroup.procs").write_text(str(os.getpid()))

    began = time.perf_counter()
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [
                str(ROOT / ".venv" / contender.environment / "bin" / "python"),
                *("-m", *contender.command, "--port", str(port)),
            ],
            cwd=ROOT,
            env={**os.environ, "REST_CONFIG": str(path)},
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=confine,  # noqa: PLW1509  # no other thread runs yet
        )
    server = Server(process, port)
    try:
        while server.status("/api/health/ready") != 200:
            if process.poll() is not None:
                sys.exit(f"{' '.join(contender.command)} ended:\n{(folder / 'output').read_text()}")
            time.sleep(0.01)
        server.seconds_to_ready = time.perf_counter() - began
        yield server
    finally:
        server.stop()
