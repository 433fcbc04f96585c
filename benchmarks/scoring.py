"""Measures speed and memory of scoring files: `python -m benchmarks.scoring [--quick]`.

`python -m credit_risk_model.scoring` scores files of synthetic loans as a separate process, in turns with
`Booster.predict` of LightGBM's own package on a matrix in memory, with as many threads. Both run on the same machine at
the same time, so their ratio is what counts.

The command runs with its image's packages (`make .venv/scoring/.installed`), since Arrow imports pandas if it is there.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks import report
from benchmarks.processes import ROOT
from credit_risk_model import archive
from credit_risk_model.cores import count_cores
from credit_risk_model.features import AGE_KNOWN, CONTRACT_FEATURES
from credit_risk_model.tables.checking import check
from credit_risk_model.training.cleaning import clean
from credit_risk_model.training.loans import read_loans
from credit_risk_model.training.synthetic import write_synthetic_loan_book

SIZES = (100_000, 1_000_000, 10_000_000)
QUICK_SIZES = (100_000, 300_000)
BOOK_ROWS = 50_000
MATRIX_ROWS = 300_000
ROW_GROUP = 250_000
MAX_ROWS_OF_LENDINGCLUB = 1_000_000
PYTHON = ROOT / ".venv" / "scoring" / "bin" / "python"


@dataclass(frozen=True)
class Run:
    """The cost of a run of the command."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description="Measure the scoring of files.")
    parser.add_argument("--quick", action="store_true", help="two small sizes")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each size (default: %(default)s)")
    options = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("The packages for scoring files are not installed. Run: make .venv/scoring/.installed")
    sizes = QUICK_SIZES if options.quick else SIZES
    with tempfile.TemporaryDirectory() as folder:
        rows = add_further_rows(measure(Path(folder), sizes, options.rounds))
    paths = report.write(
        "scoring_quick" if options.quick else "scoring",
        "Scoring files",
        "python -m benchmarks.scoring" + " --quick" * options.quick,
        {"From file to file, against LightGBM alone": rows},
        [
            f"Medians of {options.rounds} rounds in turns (one of ten million rows), memory the largest of them; "
            f"{count_cores()} threads each; pyarrow {pa.__version__}.",
            "`ratio`: rows a second of the whole run, start of the process included, to those of `Booster.predict` on "
            f"{MATRIX_ROWS:,} ready rows, round by round. `us a further row`: what each row took that the next smaller "
            "file of the kind has not; so what a row costs without the start of the process.",
        ],
    )
    sys.stdout.write(paths[1].read_text())


def measure(folder: Path, sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Measure files of every size: Parquet, CSV, and CSV as LendingClub writes it."""
    loans = synthetic_loans(folder)
    booster = lgb.Booster(model_str=_model_text())
    drawn = np.random.default_rng(0).integers(len(loans), size=MATRIX_ROWS)
    every = np.ones(MATRIX_ROWS, dtype=bool)
    matrix = np.column_stack(check(loans.take(drawn)).model_columns(AGE_KNOWN, every))
    rows = []
    for size in sizes:
        for suffix, write in KINDS.items():
            if write is write_as_lendingclub and size > MAX_ROWS_OF_LENDINGCLUB:
                continue
            source = folder / f"loans{suffix}"
            write(source, loans, size)
            # Ten million loans take minutes per round, and vary little.
            figures = compare(source, size, booster, matrix, rounds if size < 10_000_000 else 1)
            rows.append({"rows": size, "from": suffix, "MB": round(source.stat().st_size / 1e6), **figures})
            source.unlink()
    return rows


def add_further_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the cost per row beyond the next smaller file, which excludes the cost of the start."""
    smaller: dict[str, dict[str, Any]] = {}
    for row in rows:
        before = smaller.get(row["from"])
        further = (row["s"] - before["s"]) / (row["rows"] - before["rows"]) * 1e6 if before else None
        row["us a further row"] = "" if further is None else f"{further:.2f}"
        smaller[row["from"]] = row
    return rows


def synthetic_loans(folder: Path) -> pa.Table:
    """Make loans that meet the contract, with an id."""
    book = folder / "book.csv"
    write_synthetic_loan_book(book, BOOK_ROWS, seed=1)
    loans = pa.Table.from_pandas(clean(read_loans(book).loans).loans, preserve_index=False)
    kept = loans.filter(pa.array(check(loans).good))
    return kept.append_column("id", pa.array(np.arange(len(kept))))


def write_loans(target: Path | IO[bytes], loans: pa.Table, rows: int) -> None:
    """Write a file with a number of loans, drawn from the given ones."""
    rng = np.random.default_rng(rows)
    in_parquet = isinstance(target, Path) and target.suffix == ".parquet"
    with (pq.ParquetWriter if in_parquet else pyarrow.csv.CSVWriter)(target, loans.schema) as writer:
        for start in range(0, rows, ROW_GROUP):
            writer.write_table(loans.take(rng.integers(len(loans), size=min(ROW_GROUP, rows - start))))


def write_as_lendingclub(path: Path, loans: pa.Table, rows: int) -> None:
    """Write such a file as LendingClub's own download has it: all as text, a note above, two lines below."""
    columns = {}
    for feature in (*CONTRACT_FEATURES, None):
        name = "id" if feature is None else feature.name
        texts = loans[name].cast(pa.string())
        if name in ("interest_rate", "revolving_line_utilization_rate"):
            texts = pc.binary_join_element_wise(texts, "%", "")
        columns[name if feature is None else feature.column or name] = texts.fill_null("n/a")
    with path.open("wb") as file:
        file.write(b"Notes offered by Prospectus (https://www.lendingclub.com/info/prospectus.action)\n")
        write_loans(file, pa.table(columns), rows)
        file.write(b"\n\nTotal amount funded in policy code 1: 1\nTotal amount funded in policy code 2: 0\n")


KINDS: dict[str, Callable[[Path, pa.Table, int], None]] = {
    ".parquet": write_loans,
    ".csv": write_loans,
    ".lendingclub.csv": write_as_lendingclub,
}


def compare(
    source: Path, rows: int, booster: lgb.Booster, matrix: npt.NDArray[np.float64], rounds: int
) -> dict[str, float]:
    """Score a file in turns with LightGBM's own prediction."""
    runs, alone, alone_cpu = [], [], []
    for _ in range(rounds):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        booster.predict(matrix, num_threads=count_cores())
        alone.append(len(matrix) / (time.perf_counter() - begin))
        alone_cpu.append((time.process_time() - begin_cpu) / len(matrix))
        runs.append(score(source))
    return {
        "s": statistics.median(run.seconds for run in runs),
        "rows/s": statistics.median(rows / run.seconds for run in runs),
        "CPU us a row": statistics.median(run.cpu_seconds for run in runs) / rows * 1e6,
        "peak MB": max(run.peak_megabytes for run in runs),
        "LightGBM alone, rows/s": statistics.median(alone),
        "CPU us": statistics.median(alone_cpu) * 1e6,
        "ratio": statistics.median(rows / run.seconds / speed for run, speed in zip(runs, alone, strict=True)),
    }


def score(source: Path) -> Run:
    """Run the command on a file, and measure its cost."""
    output = source.with_name("scores.parquet")
    command = [str(PYTHON), "-m", "credit_risk_model.scoring", str(source), "--output", str(output), "--id", "id"]
    begin = time.perf_counter()
    process = os.posix_spawn(PYTHON, command, os.environ)
    ended, peak = 0, 0
    while not ended:
        # Not the kernel's ru_maxrss, which starts from the parent process's memory.
        peak = max(peak, _peak_kilobytes(process))
        time.sleep(0.01)
        ended, status, usage = os.wait4(process, os.WNOHANG)
    seconds = time.perf_counter() - begin
    if status != 0:
        raise SystemExit(f"Scoring {source.name} exited with {os.waitstatus_to_exitcode(status)}.")
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak / 1024)


def _peak_kilobytes(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _model_text() -> str:
    with ZipFile(archive.newest()) as shipped:
        return shipped.read(archive.MODEL).decode()


if __name__ == "__main__":
    main()
