"""Ten minutes of good and bad traffic at saturation, watched: what must stay flat, stays flat, and no answer is wrong.

`make soak` runs it (`make soak SECONDS=60`: shorter), or `python -m benchmarks.soak [--seconds 60]`; it exits with 1
where something does not hold.
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

_WARM_UP = 15.0  # by then each kind of request has had its turn
_MAX_PROBE = 1.0
# A leak of 64 bytes a turn would leave four times as much in ten minutes of a thousand turns a second. What allocators
# keep of the largest requests lies below; while those are at work they take 70 MB, so least is compared with least.
_GROWTH_MB = 10.0
# In a soak of less than five minutes they may not yet keep what they will: there only a gross leak shows.
_GROWTH_OF_A_SHORT_ONE_MB = 80.0
_POD_MB = 256 * 1.048576
# Connections come and go: one more may be open when the last samples are taken, but not one more for each that was.
_MORE_FILES = 10
_MORE_FILES_OF_A_SHORT_ONE = 40
# For connections to close once the traffic has ended: longer than the service waits for any client.
_REST = 30.0
_MAX_SHED = 0.01
# All that its pools may have. They fill as they are needed: that they no longer grow shows only in a long soak.
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
    """Something that must hold.

    Attributes:
        what: What it is.
        measured: What was found.
        allowed: What may be.
        holds: Whether it is so.
        timed: Whether it depends on how fast the machine is, and on what else runs on it.
    """

    what: str
    measured: str
    allowed: str
    holds: bool
    timed: bool = False


@dataclass(frozen=True)
class Findings:
    """What a soak found.

    Attributes:
        checks: What had to hold.
        outcomes: How often each kind of client had which outcome.
        seconds: How long the traffic lasted.
        busy: Share of one core that the server used.
    """

    checks: list[Check]
    outcomes: dict[str, dict[str, int]]
    seconds: float
    busy: float


def sample(server: Server) -> Sample:
    """Look at the server, and ask it whether it lives."""
    began = time.perf_counter()
    status = server.status("/api/health")
    seconds = time.perf_counter() - began
    if status != 200:
        sys.exit(f"The probe was answered with {status} after {seconds:.2f} s.")
    return Sample(server.proportional_megabytes(), server.open_files(), server.threads(), seconds)


def sample_at_rest(server: Server, files: int) -> Sample:
    """Look at the server once it has no more files open than some, or else after `_REST` seconds.

    The connection of the sample's own probe may still be closing while files are counted.
    """
    latest = time.monotonic() + _REST
    while (found := sample(server)).files > files and time.monotonic() < latest:
        time.sleep(0.25)
    return found


def soak(seconds: float, environment: str = "service") -> Findings:
    """Load the service for some seconds, and look at it all the time.

    Args:
        seconds: How long, more than 20; the first tenth is for warming up, and no less than 15 seconds.
        environment: The virtual environment that it is run in.
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
    checks.append(Check("lines of the log that tell of a fault", str(faults), "0", faults == 0))
    return Findings(checks, outcomes, lasted, busy)


def count_lines(path: Path, words: bytes) -> int:
    """Count the lines that hold some words."""
    with path.open("rb") as file:
        return sum(words in line for line in file)


def judge(before: Sample, warm: list[Sample], after: Sample, *, short: bool) -> list[Check]:
    """Judge what the server used, from its first to its last tenth once it was warm."""
    growth, more_files = (_GROWTH_OF_A_SHORT_ONE_MB, _MORE_FILES_OF_A_SHORT_ONE) if short else (_GROWTH_MB, _MORE_FILES)
    tenth = max(1, len(warm) // 10)
    first, last = warm[:tenth], warm[-tenth:]
    memory = [min(found.memory_mb for found in part) for part in (first, last)]
    most = max(found.memory_mb for found in warm)
    half = len(warm) // 2
    threads = [max(found.threads for found in part) for part in (warm[:half], warm[half:])]
    files = [max(found.files for found in part) for part in (warm[:half], warm[half:])]
    slowest = max(found.probe_seconds for found in warm)
    return [
        Check(
            "memory (PSS), least in the first and in the last tenth",
            f"{memory[0]:.1f} and {memory[1]:.1f} MB",
            f"{growth:g} MB more",
            memory[1] - memory[0] <= growth,
        ),
        Check("memory (PSS), most", f"{most:.1f} MB", f"{_POD_MB:.0f} MB, the pod's limit", most < _POD_MB),
        Check(
            "threads, most in each half",
            f"{threads[0]} and {threads[1]}",
            f"{_MAX_THREADS}" if short else "no more",
            threads[1] <= (_MAX_THREADS if short else threads[0]),
        ),
        Check(
            "open files, most in each half",
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
            "slowest answer of the liveness probe",
            f"{slowest:.3f} s of {len(warm)}",
            f"{_MAX_PROBE:g} s",
            slowest < _MAX_PROBE,
            timed=True,
        ),
    ]


def judge_outcomes(outcomes: dict[str, dict[str, int]]) -> list[Check]:
    """Judge the answers: each kind of client has had an outcome, and none that it should not have."""
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
    checks.append(Check("good predictions sent away", f"{shed:.2%}", "1 %", shed <= _MAX_SHED))
    return checks


def main() -> None:
    """Soak the service, write the report, and say what does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long the traffic lasts (600)")
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
            f"{requests:,} turns in {findings.seconds:.0f} s of {sum(kind.number for kind in KINDS)} clients on the "
            f"server's own machine; it used {findings.busy:.2f} of a core. Answers are compared with the booster's own "
            "probabilities of the golden loans. The first tenth of the time, at least 15 s, is for warming up.",
        ],
    )
    failed = [
        f"{check.what}: {check.measured}; allowed: {check.allowed}" for check in findings.checks if not check.holds
    ]
    if failed:
        sys.exit("The service does not hold:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
