"""Measures the cost of training: reading against pandas, from file to figures, cost against rows, and each step.

Every measurement is a separate process, so that it has its own peak memory; contenders take turns. Synthetic loans in
the layout of Kaggle's `loan.csv` are written to a temporary folder. Linux only: peaks come from `/proc`.
"""

import argparse
import io
import itertools
import json
import logging
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.training_work import (
    SEED,
    WORKS,
    Row,
    read_with_package,
    read_with_pandas,
    run_all_steps,
    run_to_figures,
)

logger = logging.getLogger(__name__)

KAGGLES_ROWS = 887_379
ROWS = (10_000, 100_000, KAGGLES_ROWS, 3_000_000)
QUICK_ROWS = (10_000, 100_000)
ROUNDS = 5
QUICK_ROUNDS = 3
SEARCH_SECONDS = 60.0
DEFAULT_SEARCH_SECONDS = 1200  # that of `pipeline.Settings`, which is not imported, since that would load much

TARGETS = {"seconds": 1 / 3, "cpu_seconds": 1 / 3, "peak_mb": 1 / 4}
"""Maximum cost of reading, as a share of that of `pandas.read_csv(path, low_memory=False)`."""
MAX_SECONDS = 180.0
MAX_MEGABYTES = 2500.0
"""Maximum cost from Kaggle's file to a baseline's figures, on two cores."""

_NOTES = (
    "Every measurement is a fresh process; peak_mb is its resident memory at its highest, the interpreter and the "
    "libraries included (MB = 10^6 bytes). Contenders take turns; loans are synthetic, in Kaggle's layout. "
    "cpu_seconds are those of all threads, and hold what LightGBM's two threads spend waiting for each other.",
)


def measure(work: Callable[..., Row], path: Path, *options: str) -> Row:
    """Do the work in a new process, and parse its result from its last line."""
    command = [sys.executable, "-m", "benchmarks.training", "--measure", work.__name__, str(path), *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def make_book(folder: Path, rows: int) -> Path:
    """Write a synthetic loan book."""
    logger.info("making up %s loans", f"{rows:,}")
    path = folder / f"loan_{rows}.csv"
    module = "credit_risk_model.training.synthetic"
    command = [sys.executable, "-m", module, "--rows", str(rows), "--seed", str(SEED), "--output", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def compare_reading(path: Path, rounds: int) -> tuple[list[Row], list[Row]]:
    """Read the same file with both readers in turns.

    Returns:
        Medians by contender, and medians of the rounds' ratios beside their targets.

    Raises:
        RuntimeError: The contenders read different loans.
    """
    contenders = {"pandas.read_csv(low_memory=False)": read_with_pandas, "read_loans": read_with_package}
    found: dict[str, list[Row]] = {name: [] for name in contenders}
    for number in range(rounds):
        logger.info("reading: round %d of %d", number + 1, rounds)
        results = {name: measure(work, path) for name, work in contenders.items()}
        _refuse_differences(list(results.values()))
        for name, result in results.items():
            found[name].append(result["steps"][0])
    table = [{"reader": name, **_medians(steps)} for name, steps in found.items()]
    usual, ours = found.values()
    ratios = [
        {
            "read_loans to pandas": key,
            "ratio": statistics.median(our[key] / other[key] for our, other in zip(ours, usual, strict=True)),
            "target": target,
        }
        for key, target in TARGETS.items()
    ]
    return table, ratios


def _refuse_differences(results: Sequence[Row]) -> None:
    """Refuse to measure readers that read different loans."""
    first = results[0]
    for result in results[1:]:
        if result["rows"] != first["rows"] or not math.isclose(result["payments"], first["payments"], rel_tol=1e-9):
            raise RuntimeError("The two readers read different loans, so nothing was measured.")


def _medians(steps: Sequence[Row]) -> Row:
    row: Row = {}
    for key in TARGETS:
        values = [step[key] for step in steps]
        row[key] = statistics.median(values)
        row[f"{key} from-to"] = f"{_short(min(values))}-{_short(max(values))}"
    return row


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def measure_cost(path: Path, rounds: int) -> tuple[Row, list[Row]]:
    """Measure the way from a file to figures several times.

    Returns:
        The rows and the sums over the steps; and each step's medians.
    """
    results = [measure(run_to_figures, path) for _ in range(rounds)]
    names = [step["step"] for step in results[0]["steps"]]
    by_step = [
        {"step": name, **_medians([result["steps"][index] for result in results])} for index, name in enumerate(names)
    ]
    total = {
        "rows": results[0]["rows"],
        "rows_cleaned": results[0]["rows_cleaned"],
        "seconds": statistics.median(sum(step["seconds"] for step in result["steps"]) for result in results),
        "cpu_seconds": statistics.median(sum(step["cpu_seconds"] for step in result["steps"]) for result in results),
        "peak_mb": statistics.median(max(step["peak_mb"] for step in result["steps"]) for result in results),
        "auc": results[0]["auc"],
    }
    return total, by_step


def _cost_row(total: Row, by_step: Sequence[Row]) -> Row:
    steps = {f"{step['step']}, CPU s": step["cpu_seconds"] for step in by_step}
    return {**total, "CPU microseconds a row": total["cpu_seconds"] / total["rows"] * 1e6, **steps}


def plot_cost(rows: Sequence[Row]) -> bytes:
    """Plot CPU seconds by step, and peak memory, against rows; returns an SVG."""
    from matplotlib import rc_context  # noqa: PLC0415  # the measured processes import this module, but plot nothing
    from matplotlib.figure import Figure  # noqa: PLC0415  # as above

    counts = [row["rows"] for row in rows]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    for name in (key for key in rows[0] if key.endswith(", CPU s")):
        seconds.loglog(counts, [row[name] for row in rows], marker="o", markersize=4, label=name.partition(",")[0])
    seconds.loglog(counts, [row["cpu_seconds"] for row in rows], marker="o", color="black", label="all")
    proportional = [rows[-1]["cpu_seconds"] * count / counts[-1] for count in counts]
    seconds.loglog(counts, proportional, linestyle=":", color="grey", label="proportional to rows")
    seconds.set(title="From a file to a baseline's figures", xlabel="Rows", ylabel="CPU seconds")
    seconds.legend(fontsize=8)
    memory.plot(counts, [row["peak_mb"] for row in rows], marker="o")
    memory.set(title="Peak memory", xlabel="Rows", ylabel="MB", ylim=(0, None))
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "training", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def run(folder: Path, *, quick: bool) -> Path:
    """Compare the readers, and measure the cost from a file to figures for each number of rows.

    The targets are for Kaggle's size. A smaller file can't meet the memory target, which the libraries alone exceed.

    Returns:
        The Markdown page.
    """
    counts, rounds = (QUICK_ROWS, QUICK_ROUNDS) if quick else (ROWS, ROUNDS)
    compared = counts[-1] if quick else KAGGLES_ROWS
    tables: dict[str, list[Row]] = {}
    costs = []
    for count in counts:
        path = make_book(folder, count)
        if count == compared:
            size = f"{count:,} x 74, {path.stat().st_size / 1e6:,.0f} MB"
            reading, ratios = compare_reading(path, rounds)
            tables |= {f"Reading ({size})": reading, "Reading: medians of the rounds' ratios": ratios}
        logger.info("from a file of %s loans to figures", f"{count:,}")
        total, by_step = measure_cost(path, QUICK_ROUNDS)
        costs.append(_cost_row(total, by_step))
        if count == compared:
            tables[f"From a file to a baseline's figures ({count:,} rows)"] = [*by_step, _against_targets(total)]
        path.unlink()
    tables["Cost against rows"] = costs
    name = "training_quick" if quick else "training"
    report.replace(report.RESULTS / f"{name}.svg", plot_cost(costs))
    command = f"python -m benchmarks.training{' --quick' * quick}"
    notes = [f"![Cost against rows]({name}.svg)", _growth(costs), *_NOTES]
    return report.write(name, "What training costs", command, tables, notes)[1]


def _growth(costs: Sequence[Row]) -> str:
    """Describe how cost grows with rows, as a power of their number; 1 is linear."""
    powers = [
        f"{math.log(more['cpu_seconds'] / less['cpu_seconds']) / math.log(more['rows'] / less['rows']):.2f} "
        f"from {less['rows']:,} to {more['rows']:,}"
        for less, more in itertools.pairwise(costs)
    ]
    return (
        f"CPU seconds grow as this power of the rows: {', '.join(powers)}. 1 is linear; below it, what a fit of 100 "
        "trees costs for any number of rows still counts."
    )


def run_whole_training(folder: Path) -> Path:
    """Measure each step of a training on a book of Kaggle's size, once; returns the page."""
    path = make_book(folder, KAGGLES_ROWS)
    found = measure(run_all_steps, path, "--search-seconds", str(SEARCH_SECONDS))
    return write_steps(found)


def write_steps(found: Row) -> Path:
    """Write the cost of a whole training; returns the page."""
    steps = found["steps"]
    total = {
        "step": "all",
        "seconds": sum(step["seconds"] for step in steps),
        "cpu_seconds": sum(step["cpu_seconds"] for step in steps),
        "peak_mb": max(step["peak_mb"] for step in steps),
    }
    notes = [
        f"A synthetic book of {KAGGLES_ROWS:,} rows, {found['rows_cleaned']:,} after cleaning; the search was given "
        f"{SEARCH_SECONDS:g} s instead of the default of {DEFAULT_SEARCH_SECONDS:,} s. One round.",
        *_NOTES,
    ]
    tables = {"Steps": [*steps, total]}
    command = "python -m benchmarks.training --steps"
    return report.write("training_steps", "A whole training, step by step", command, tables, notes)[1]


def _against_targets(total: Row) -> Row:
    return {
        "step": "all",
        "seconds": total["seconds"],
        "seconds from-to": f"target: {MAX_SECONDS:g}",
        "cpu_seconds": total["cpu_seconds"],
        "cpu_seconds from-to": "",
        "peak_mb": total["peak_mb"],
        "peak_mb from-to": f"target: {MAX_MEGABYTES:g}",
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, or do the work of a measured process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description="Measure what training costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds")
    parser.add_argument("--steps", action="store_true", help="measure each step of a whole training instead")
    parser.add_argument("--measure", nargs=2, metavar=("WORK", "PATH"), help=argparse.SUPPRESS)
    parser.add_argument("--search-seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.measure:
        work, path = options.measure
        extra = [] if options.search_seconds is None else [options.search_seconds]
        found = WORKS[work](Path(path), *extra)
        sys.stdout.write(f"\n{json.dumps(found)}\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        page = run_whole_training(Path(folder)) if options.steps else run(Path(folder), quick=options.quick)
    sys.stdout.write(page.read_text())


if __name__ == "__main__":
    main()
