"""The work of a measured process. Each function imports only what it measures, since an import takes memory, too."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Row = dict[str, Any]

SEED = 42


class Steps:
    """Measures the steps of this process, one after the other.

    Attributes:
        rows: `step`, `seconds`, `cpu_seconds` of all threads, and `peak_mb`, the peak resident memory.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the block."""
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.rows.append(
            {
                "step": name,
                "seconds": time.perf_counter() - wall,
                "cpu_seconds": time.process_time() - cpu,
                "peak_mb": _peak_megabytes(),
            }
        )


def _peak_megabytes() -> float:
    # Not getrusage: that peak is inherited from the process that started this one.
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024 / 1e6


def read_with_pandas(path: Path) -> Row:
    """Read all columns, as is usual."""
    import pandas as pd  # noqa: PLC0415  # see the module

    steps = Steps()
    with steps.step("read"):
        loans = pd.read_csv(path, low_memory=False)
    return {"steps": steps.rows, "rows": len(loans), "payments": float(loans["total_pymnt_inv"].sum())}


def read_with_package(path: Path) -> Row:
    """Read as training does."""
    from credit_risk_model.training.loans import read_loans  # noqa: PLC0415  # see the module

    steps = Steps()
    with steps.step("read"):
        loans = read_loans(path).loans
    return {"steps": steps.rows, "rows": len(loans), "payments": float(loans["total_payments_to_date"].sum())}


def run_to_figures(path: Path) -> Row:
    """Read, clean, encode and split, fit LightGBM's defaults, predict and evaluate the test set."""
    from credit_risk_model.features import FEATURE_SETS  # noqa: PLC0415  # see the module
    from credit_risk_model.training import cleaning, evaluation, fitting, loans  # noqa: PLC0415  # see the module

    steps = Steps()
    with steps.step("read"):
        table = loans.read_loans(path).loans
    rows = len(table)
    with steps.step("clean"):
        table = cleaning.clean(table).loans
    with steps.step("encode and split"):
        drawn = fitting.split(table, SEED)
    with steps.step("fit"):
        defaults: dict[str, fitting.Hyperparameters] = {wanted.name: {} for wanted in FEATURE_SETS}
        fitted = fitting.fit(drawn.training, defaults, SEED)
    with steps.step("predict and evaluate"):
        probability = fitted.predict(drawn.test)
        figures = evaluation.evaluate(fitting.label(drawn.test), probability, 0.5)
    return {"steps": steps.rows, "rows": rows, "rows_cleaned": len(table), "auc": figures.auc}


def run_all_steps(path: Path, search_seconds: float) -> Row:
    """Run each of the notebook's steps, and discard the archive."""
    from credit_risk_model.training.pipeline import Settings, Training, list_steps  # noqa: PLC0415  # see the module

    folder = path.parent
    settings = Settings(
        data=path, output=folder / "1.zip", time_budget=search_seconds, seed=SEED, search_log=folder / "search.log"
    )
    training = Training(settings)
    steps = Steps()
    for call in (*list_steps(training), training.package):
        name = getattr(call, "__name__", "").replace("_", " ")
        logger.info("%s", name)
        with steps.step(name):
            call()
    return {"steps": steps.rows, "rows_cleaned": len(training.loans), "auc": training.trained().measure().test.auc}


WORKS: dict[str, Callable[..., Row]] = {
    work.__name__: work for work in (read_with_pandas, read_with_package, run_to_figures, run_all_steps)
}
