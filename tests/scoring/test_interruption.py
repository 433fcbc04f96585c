import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from processes import unmeasured_environment

from credit_risk_model.scoring.joining import join

ROOT = Path(__file__).parents[2]
RunScoring = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def on_a_terminal(line: list[str]) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run a command on a terminal; give the process and what reads the terminal."""
    reader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    process = subprocess.Popen(line, cwd=ROOT, env=unmeasured_environment(), stderr=terminal, stdout=terminal)
    os.close(terminal)
    try:
        yield process, reader
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def read_all(reader: int) -> str:
    """What is written to a terminal until its process ends."""
    parts = []
    try:
        while part := os.read(reader, 65_536):
            parts.append(part)
    except OSError:  # how Linux tells that the other side is closed
        pass
    return b"".join(parts).decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_nothing(
    number: signal.Signals, book: Path, scoring_command: list[str], tmp_path: Path
) -> None:
    """SIGINT or SIGTERM ends a run without a file, with a hint how to go on and its own exit code."""
    line = [*scoring_command, str(book / "loans.csv"), "--output", str(tmp_path / "scores.csv")]
    with on_a_terminal(line) as (process, reader):
        os.read(reader, 1)  # the bar is drawn: the run has begun
        process.send_signal(number)
        text = read_all(reader)
        assert process.wait() == 128 + number
    assert re.search(r"Interrupted after [\d,]+ rows: nothing was written.*Run the same command again", text)
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_conversion_leaves_nothing(number: signal.Signals, book: Path, tmp_path: Path) -> None:
    """A conversion that is interrupted ends as a scoring does."""
    module = "credit_risk_model.scoring.convert"
    line = [sys.executable, "-m", module, str(book / "loans.csv"), str(tmp_path / "loans.parquet")]
    with on_a_terminal(line) as (process, reader):
        os.read(reader, 1)
        process.send_signal(number)
        text = read_all(reader)
        assert process.wait() == 128 + number
    assert re.search(r"Interrupted after [\d,]+ rows: nothing was written, and no temporary file is left\.", text)
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["csv", "parquet"])
def test_killed_shard_runs_again(
    source: str, book: Path, scoring_command: list[str], run_scoring: RunScoring, tmp_path: Path
) -> None:
    """A killed shard has left no file of the output's name; run again, it gives with the others what one run gives."""
    loans, whole = book / f"loans.{source}", tmp_path / "whole.csv"
    parts = {number: tmp_path / f"part-{number}.parquet" for number in (1, 2, 3)}
    with on_a_terminal([*scoring_command, str(loans), "--output", str(parts[2]), "--shard", "2/3"]) as (
        process,
        reader,
    ):
        os.read(reader, 1)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert not parts[2].exists()
    assert run_scoring(loans, "--output", whole).returncode == 3
    for number, part in parts.items():
        assert run_scoring(loans, "--output", part, "--shard", f"{number}/3").returncode == 3
    join(list(parts.values()), tmp_path / "joined.csv")
    assert (tmp_path / "joined.csv").read_bytes() == whole.read_bytes()
    assert pq.read_metadata(parts[2]).num_rows > 20_000


def test_progress_is_shown_on_a_terminal(book: Path, scoring_command: list[str], tmp_path: Path) -> None:
    """On a terminal a bar shows how far it is, the rows a second and the time that is left."""
    line = [*scoring_command, str(book / "loans.parquet"), "--output", str(tmp_path / "scores.csv"), "--threads", "1"]
    with on_a_terminal(line) as (process, reader):
        text = read_all(reader)
        assert process.wait() == 3
    assert re.search(r"\d+%\|.*rows/s\]", text)
    assert "100,000 rows in" in text
