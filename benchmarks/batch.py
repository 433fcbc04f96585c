"""Compares batches of a thousand loans with single requests: `python -m benchmarks.batch [--quick]`.

One client sends single loans and batches in turns, over one connection to the same process: on all cores, as shipped,
and on one core. A batch uses all cores, a single loan can't. The loans are synthetic and all different, as in a real
book: repeated loans are faster, since the processor predicts their branches.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.processes import BATCH, SERVICE, parse_quick, serving
from benchmarks.scoring import synthetic_loans
from benchmarks.serving import SERVER_CPU, load
from credit_risk_model.schemas import LOANS_OF_A_BATCH, CreditRiskModelInput

BATCHES = 5


def main() -> None:
    """Measure, and write the figures."""
    quick = parse_quick("benchmarks.batch", __doc__)
    rounds, seconds = (1, 1) if quick else (7, 3)
    report.write(
        "batch_quick" if quick else "batch",
        "Loans in batches",
        "python -m benchmarks.batch" + " --quick" * quick,
        {
            "One client, one connection, all cores": measure(rounds, seconds, None),
            "The same with one core for the service": measure(rounds, seconds, SERVER_CPU),
        },
        [
            f"Medians of {rounds} rounds in turns, with their range; batches of {LOANS_OF_A_BATCH:,} loans; "
            "ratios are taken round by round. Where others use the machine, single loans wait for them at every turn "
            "of the connection, so that the CPU's ratio is the steadier one.",
        ],
    )


def measure(rounds: int, seconds: float, cpus: set[int] | None) -> list[dict[str, str]]:
    """Load one process with single loans and batches in turns; `cpus` are its cores, None means all."""
    pinned = cpus is not None
    singles: list[dict[str, float]] = []
    batches: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        single_bodies, batch_bodies = write_bodies(folder)
        with serving(SERVICE, folder, cpus) as server:
            load(server, single_bodies, 1, 1, pinned=pinned)  # warm
            for _ in range(rounds):
                singles.append(load(server, single_bodies, 1, seconds, pinned=pinned))
                batches.append(load(server, batch_bodies, 1, seconds, pinned=pinned, path=BATCH))
    ways = {"one by one": (singles, 1), f"{LOANS_OF_A_BATCH:,} a request": (batches, LOANS_OF_A_BATCH)}
    rounds_of_both = list(zip(singles, batches, strict=True))
    ratios = [many["rate"] * LOANS_OF_A_BATCH / one["rate"] for one, many in rounds_of_both]
    cpu_ratios = [one["cpu_ms"] * LOANS_OF_A_BATCH / many["cpu_ms"] for one, many in rounds_of_both]
    return [
        {
            "loans": way,
            "loans/s": format_spread([found["rate"] * loans for found in measured]),
            "us a loan": format_spread([1e6 / found["rate"] / loans for found in measured]),
            "CPU us a loan": format_spread([found["cpu_ms"] * 1000 / loans for found in measured]),
            "times as many (to reach: >= 20)": format_spread(ratios) if loans > 1 else "",
            "for the same CPU": format_spread(cpu_ratios) if loans > 1 else "",
        }
        for way, (measured, loans) in ways.items()
    ]


def write_bodies(folder: Path) -> tuple[Path, Path]:
    """Write some thousand loans as bodies of single requests and of batches, one per line."""
    table = synthetic_loans(folder).slice(0, LOANS_OF_A_BATCH * BATCHES).drop_columns("id")
    loans = [_loan(row) for row in table.to_pylist()]
    singles, batches = folder / "singles", folder / "batches"
    singles.write_text("".join(f"{_compact(loan)}\n" for loan in loans))
    starts = range(0, len(loans), LOANS_OF_A_BATCH)
    batches.write_text("".join(f"{_compact({'loans': loans[start : start + LOANS_OF_A_BATCH]})}\n" for start in starts))
    return singles, batches


def format_spread(values: list[float]) -> str:
    """Format median and range."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def _loan(row: dict[str, Any]) -> dict[str, Any]:
    fields = {name: row[name] for name in CreditRiskModelInput.model_fields}
    return CreditRiskModelInput.model_validate(fields).model_dump(mode="json")


def _compact(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


if __name__ == "__main__":
    main()
