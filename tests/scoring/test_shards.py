import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.scoring.joining import join
from credit_risk_model.scoring.run import Settings, score
from credit_risk_model.tables.source import Shard

ROOT = Path(__file__).parents[2]


WriteLoans = Callable[..., Path]


RunScoring = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("source", ["csv", "parquet"])
def test_shards_give_the_bytes_of_one_run(
    source: str, book: Path, scoring_command: list[str], run_scoring: RunScoring, tmp_path: Path
) -> None:
    """Three shards, scored by processes at the same time, give together what one run gives, byte for byte."""
    loans = book / f"loans.{source}"
    parts = [tmp_path / f"part-{number}.parquet" for number in (1, 2, 3)]
    processes = [
        subprocess.Popen(
            [*scoring_command, str(loans), "--output", str(part), "--shard", f"{number}/3"],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        for number, part in enumerate(parts, start=1)
    ]
    assert [process.wait() for process in processes] == [3, 3, 3]
    for output in ("parquet", "csv"):
        assert run_scoring(loans, "--output", tmp_path / f"whole.{output}").returncode == 3
        join(parts, tmp_path / f"joined.{output}")
        assert (tmp_path / f"joined.{output}").read_bytes() == (tmp_path / f"whole.{output}").read_bytes()
    join([part.with_suffix(".rejects.csv") for part in parts], tmp_path / "joined.rejects.csv")
    assert (tmp_path / "joined.rejects.csv").read_bytes() == (tmp_path / "whole.rejects.csv").read_bytes()


def test_the_docs_shards_are_joined(book: Path, archive_path: Path, tmp_path: Path) -> None:
    """The docs' commands, as they are written there, score eight shards and join them, each row once."""
    page = (ROOT / "docs" / "how-to" / "score-files.md").read_text()
    lines = re.findall(r"^\$ python -m (credit_risk_model\.scoring.*part.*)$", page, re.MULTILINE)
    (tmp_path / "loans.parquet").symlink_to(book / "loans.parquet")
    program = "\n".join(f"{shlex.quote(sys.executable)} -m {line}" for line in lines)
    assert "--shard 1/8" in program
    scored, joined = program.split("\n", 1)
    shards = "\n".join(
        scored.replace("1/8", f"{number}/8").replace("part-1", f"part-{number}").partition("#")[0].strip()
        + f" --archive {archive_path} || test $? = 3"
        for number in range(1, 9)
    )
    done = subprocess.run(
        ["/bin/sh", "-ec", f"{shards}\n{joined}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids = pq.read_table(tmp_path / "scores.parquet")["id"].to_pylist()
    assert len(ids) == 100_000 - len(range(17, 100_000, 997))
    assert ids == sorted(ids)
    assert (tmp_path / "scores.rejects.csv").read_text().count("unknown level") == len(range(17, 100_000, 997))


def test_more_shards_than_pieces_get_a_warning(
    write_loans: WriteLoans, run_scoring: RunScoring, tmp_path: Path
) -> None:
    """A run warns at its start, with the cure, if some shards have nothing to do."""
    source = write_loans("loans.parquet", 100)
    done = run_scoring(source, "--output", tmp_path / "part.parquet", "--shard", "1/8")
    assert done.stderr.splitlines()[1] == (
        "loans.parquet has only 1 pieces for 8 shards: the others have nothing to do. Use fewer shards, or make pieces "
        "of 32,768 rows with: credit-risk convert loans.parquet OUTPUT.parquet"
    )
    assert "pieces" not in run_scoring(source, "--output", tmp_path / "part.parquet").stderr


def test_shards_of_csv_get_a_warning(book: Path, run_scoring: RunScoring, tmp_path: Path) -> None:
    """A shard of CSV warns at its start, with the cure, that it reads everything before it; Parquet does not."""
    warning = (
        "loans.csv is CSV, so each shard also reads everything before its own part. Convert it to Parquet to avoid "
        "that: credit-risk convert loans.csv OUTPUT.parquet"
    )
    for suffix in ("csv", "parquet"):
        done = run_scoring(book / f"loans.{suffix}", "--output", tmp_path / "part.parquet", "--shard", "2/2")
        assert (done.stderr.splitlines()[1] == warning) is (suffix == "csv")


def test_impossible_shard_is_refused(tmp_path: Path) -> None:
    """Shards are counted from 1."""
    with pytest.raises(ConfigurationError, match="shard 0/3"):
        score(Settings(tmp_path / "a.csv", tmp_path / "b.csv", shard=Shard(0, 3)))
