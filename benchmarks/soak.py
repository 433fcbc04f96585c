"""Soaks the service in ten minutes of good and bad traffic, and checks its memory, files, threads and answers.

Run it with `make soak`, `make soak SECONDS=60` or `python -m benchmarks.soak [--seconds 60]`. It exits with 1 if a
check fails.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import report
from benchmarks.processes import ROOT, SERVICE, Server, serving
from benchmarks.traffic import KINDS, SHED

_WARM_UP = 15.0  # by then each kind of request has been sent
_MAX_PROBE = 1.0
# A leak of 64 bytes per turn would lose four times as much in ten minutes of a thousand turns per second. Allocators
# keep less than this of the largest requests. While those run they take 70 MB, so minimum is compared with minimum.
_MAX_GROWTH_MB = 10.0
# In less than five minutes the allocators may not have reached their maximum, so only a gross leak shows.
_MAX_GROWTH_MB_IF_SHORT = 80.0
_POD_MB = 256 * 1.048576
# Connections come and go: a few more may be open during the last samples.
_MAX_MORE_FILES = 10
_MAX_MORE_FILES_IF_SHORT = 40
# Time for connections to close after the traffic: longer than the service waits for any client.
_REST = 30.0
_MAX_SHED = 0.01
# The maximum of its pools. They grow on demand: only a long soak shows that they stop growing.
_MAX_THREADS = 24


@dataclass(frozen=True)
class Sample:
    """The server at one moment."""

    memory_mb: float
    files: int
    threads: int
    probe_seconds: float


@dataclass(frozen=True)
class Check:
    """A check of a soak.

    Attributes:
        what: What is checked.
        measured: The measured value.
        allowed: The allowed value.
        holds: Whether the check passed.
        timed: Whether it depends on the machine's speed and other load.
    """

    what: str
    measured: str
    allowed: str
    holds: bool
    timed: bool = False


@dataclass(frozen=True)
class Findings:
    """The results of a soak.

    Attributes:
        checks: The checks.
        outcomes: Number of outcomes by kind of client.
        seconds: Duration of the traffic.
        busy: Share of one core that the server used.
    """

    checks: list[Check]
    outcomes: dict[str, dict[str, int]]
    seconds: float
    busy: float


def sample(server: Server) -> Sample:
    """Measure the server, and send a liveness probe."""
    began = time.perf_counter()
    status = server.status("/api/health")
    seconds = time.perf_counter() - began
    if status != 200:
        sys.exit(f"The liveness probe got {status} after {seconds:.2f} s.")
    return Sample(server.proportional_megabytes(), server.open_files(), server.threads(), seconds)


def sample_at_rest(server: Server, files: int) -> Sample:
    """Measure the server once it has at most `files` open files, or after `_REST` seconds.

    The connection of the sample's own probe may still be closing while files are counted.
    """
    latest = time.monotonic() + _REST
    while (found := sample(server)).files > files and time.monotonic() < latest:
        time.sleep(0.25)
    return found


def soak(seconds: float, environment: str = "service") -> Findings:
    """Load the service for some seconds, and sample it continuously.

    Args:
        seconds: Duration, more than 20; the first tenth, but at least 15 seconds, is for warming up.
        environment: The virtual environment to run it in.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(replace(SERVICE, environment=environment), Path(folder)) as server,
    ):
        before = sample(server)
        began, used = time.monotonic(), server.cpu_seconds()
        traffic = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.traffic", str(server.port), str(seconds)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        samples = []
        while traffic.poll() is None:
            samples.append((time.monotonic() - began, sample(server)))
            if len(samples) % 20 == 0 and server.status("/metrics") != 200:
                sys.exit("The metrics can't be scraped.")
            time.sleep(0.25)
        lasted = time.monotonic() - began
        busy = (server.cpu_seconds() - used) / lasted
        outcomes = json.loads(traffic.communicate()[0])
        after = sample_at_rest(server, before.files)
        server.stop()
        faults = count_lines((Path(folder) / "output"), b'"severity":"ERROR"')
    warm = [found for at, found in samples if max(_WARM_UP, seconds / 10) < at < seconds]
    checks = [
        *judge(before, warm, after, short=seconds < 300),
        *judge_outcomes(outcomes),
    ]
    checks.append(Check("log lines of severity ERROR", str(faults), "0", faults == 0))
    return Findings(checks, outcomes, lasted, busy)


def count_lines(path: Path, words: bytes) -> int:
    """Count the lines that contain some words."""
    with path.open("rb") as file:
        return sum(words in line for line in file)


def judge(before: Sample, warm: list[Sample], after: Sample, *, short: bool) -> list[Check]:
    """Judge the server's resources, from the first to the last tenth after the warm-up."""
    growth = _MAX_GROWTH_MB_IF_SHORT if short else _MAX_GROWTH_MB
    more_files = _MAX_MORE_FILES_IF_SHORT if short else _MAX_MORE_FILES
    tenth = max(1, len(warm) // 10)
    memory = [min(found.memory_mb for found in part) for part in (warm[:tenth], warm[-tenth:])]
    maximum = max(found.memory_mb for found in warm)
    half = len(warm) // 2
    threads = [max(found.threads for found in part) for part in (warm[:half], warm[half:])]
    files = [max(found.files for found in part) for part in (warm[:half], warm[half:])]
    slowest = max(found.probe_seconds for found in warm)
    return [
        Check(
            "memory (PSS), minimum in the first and in the last tenth",
            f"{memory[0]:.1f} and {memory[1]:.1f} MB",
            f"{growth:g} MB more",
            memory[1] - memory[0] <= growth,
        ),
        Check("memory (PSS), maximum", f"{maximum:.1f} MB", f"{_POD_MB:.0f} MB, the pod's limit", maximum < _POD_MB),
        Check(
            "threads, maximum in each half",
            f"{threads[0]} and {threads[1]}",
            f"{_MAX_THREADS}" if short else "no more",
            threads[1] <= (_MAX_THREADS if short else threads[0]),
        ),
        Check(
            "open files, maximum in each half",
            f"{files[0]} and {files[1]}",
            f"{more_files} more",
            files[1] <= files[0] + more_files,
        ),
        Check(
            "open files before and after, at rest",
            f"{before.files} and {after.files}",
            "no more",
            after.files <= before.files,
        ),
        Check(
            "slowest liveness probe",
            f"{slowest:.3f} s of {len(warm)}",
            f"{_MAX_PROBE:g} s",
            slowest < _MAX_PROBE,
            timed=True,
        ),
    ]


def judge_outcomes(outcomes: dict[str, dict[str, int]]) -> list[Check]:
    """Judge the answers: each kind of client has had outcomes, and only allowed ones."""
    checks = []
    for kind in KINDS:
        found = outcomes[kind.client.__name__]
        improper = {outcome: number for outcome, number in found.items() if outcome not in kind.proper}
        measured = ", ".join(f"{number:,} x {outcome}" for outcome, number in sorted(found.items())) or "nothing"
        had = any(found.get(outcome) for outcome in kind.proper if outcome != SHED)
        checks.append(
            Check(f"outcomes: {kind.client.__name__}", measured, " or ".join(kind.proper), had and not improper)
        )
    asked = outcomes["predictions"]
    shed = asked.get(SHED, 0) / max(sum(asked.values()), 1)
    checks.append(Check("valid predictions shed", f"{shed:.2%}", "1 %", shed <= _MAX_SHED))
    return checks


def main() -> None:
    """Soak the service, write the report, and exit with the failed checks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="duration of the traffic (default: 600)")
    seconds = parser.parse_args().seconds
    findings = soak(seconds)
    requests = sum(sum(found.values()) for found in findings.outcomes.values())
    report.write(
        "soak",
        "Soak",
        "make soak" if seconds == 600 else f"make soak SECONDS={seconds:g}",
        {
            "What must hold": [
                {
                    "what": check.what,
                    "measured": check.measured,
                    "allowed": check.allowed,
                    "holds": "yes" if check.holds else "NO",
                }
                for check in findings.checks
            ]
        },
        [
            f"{requests:,} turns of {sum(kind.number for kind in KINDS)} clients in {findings.seconds:.0f} s, on the "
            f"server's own machine; it used {findings.busy:.2f} of a core. Answers are compared with the booster's own "
            "probabilities of the golden loans. The first tenth of the time, at least 15 s, is for warming up.",
        ],
    )
    failed = [
        f"{check.what}: {check.measured}; allowed: {check.allowed}" for check in findings.checks if not check.holds
    ]
    if failed:
        sys.exit("Failed checks:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
