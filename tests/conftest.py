"""Parts that many tests need, all real: a small synthetic book, a small fitted model, its archive."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Before what reads them is loaded. On the few thousand loans of the tests' books LightGBM's threads spend more time
# waiting for each other than fitting, and joblib's processes more on imports than on work.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

import hypothesis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from processes import Service

from credit_risk_model import archive, features
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.features import AGE, CONTRACT_FEATURES, TERM_MONTHS
from credit_risk_model.training import fitting, packaging
from credit_risk_model.training.cleaning import clean
from credit_risk_model.training.loans import read_loans
from credit_risk_model.training.reference import make_references
from credit_risk_model.training.synthetic import write_synthetic_loan_book

# How long an example takes hangs on what else runs.
hypothesis.settings.register_profile("without deadline", deadline=None)
hypothesis.settings.load_profile("without deadline")
# `make mutants` asks whether a test fails, not for the smallest example.
hypothesis.settings.register_profile(
    "first failure",
    deadline=None,
    derandomize=True,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "configuration" / "rest_configuration.yaml"
SHIPPED = ROOT / yaml.safe_load(CONFIGURATION.read_text())["models"][0]["configuration"]["archive"]
RELEASED = "76577c51f65cffd5f34528ebd7a812cd8355e9f8fb343df5a047b928e5779b03"
"""SHA-256 of the archive that this release ships: what is promised of it holds for no archive of a user's own."""

LONGEST = ("training/test_pipeline.py", "test_notebook.py")
"""Files that take longest: they begin first, so that no process is left with one of them at the end."""
BESIDE_OTHERS = (
    "api_keys",
    "browser",
    "clients",
    "cors",
    "decision_log",
    "docs_pages",
    "fuzzing",
    "launcher",
    "metrics",
    "openapi",
    "service",
    "settings",
)
"""Files of the service's tests that measure neither time nor memory nor load; beside its others nothing may run."""


ALL_MAXIMA: dict[str, Any] = {
    "annual_income": 273000,
    "collections_in_last_12_months": 20,
    "delinquencies_in_last_2_years": 39,
    "debt_to_income_ratio": 42.64,
    "employment_length": "< 1 year",
    "home_ownership": "MORTGAGE",
    "number_of_delinquent_accounts": 6,
    "interest_rate": 28.99,
    "last_payment_amount": 36475.59,
    "loan_amount": 35000,
    "derogatory_public_record_count": 86,
    "loan_purpose": "debt_consolidation",
    "revolving_line_utilization_rate": 892.3,
    "term": " 36 months",
    "total_payments_to_date": 57777.58,
    "verification_status": "Source Verified",
    "instalments_due": 36,
}
"""A loan with the largest value that the contract allows in each field."""


def is_alone(item: pytest.Item) -> bool:
    """Say whether nothing may run beside a test."""
    of_the_service = item.path.parent.name == "service"
    return of_the_service and item.path.stem.removeprefix("test_") not in BESIDE_OTHERS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and last the tests beside which nothing may run."""
    items.sort(key=lambda item: (is_alone(item), not item.path.as_posix().endswith(LONGEST)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Where tests run in several processes, hold a lock for each test: together with others, or alone."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if is_alone(item) else fcntl.LOCK_SH)
        return (yield)


def made_up_loans(rows: int, seed: int = 0) -> pa.Table:
    """Loans that keep the contract, drawn over the whole of it, some of unknown age or with nulls, with an id each."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"id": [f"L{number:06}" for number in range(rows)]}
    for feature in CONTRACT_FEATURES:
        if feature.bounds is None:
            columns[feature.name] = np.array(feature.levels)[rng.integers(len(feature.levels), size=rows)]
            continue
        smallest, largest = feature.bounds
        values = smallest + (largest - smallest) * rng.random(rows) ** 3
        columns[feature.name] = np.round(values) if feature.whole else np.clip(np.round(values, 2), smallest, largest)
    months = np.array([TERM_MONTHS[term] for term in columns["term"]])
    columns[AGE] = np.minimum(columns[AGE], months)
    for feature in CONTRACT_FEATURES:
        if feature.nullable:  # a fifth of them are not known
            columns[feature.name] = pa.array(columns[feature.name], mask=rng.random(rows) < 0.2)
    return pa.table(columns)


def spoilt(loans: pa.Table, field: str, values: dict[int, Any]) -> pa.Table:
    """Loans with other values of a field at some places."""
    column = loans[field].to_pylist()
    for place, value in values.items():
        column[place] = value
    return loans.set_column(loans.schema.get_field_index(field), field, pa.array(column))


def rounded(answer: Any) -> Any:
    """An answer without the last bits of its numbers, which may differ between machines."""
    if isinstance(answer, float):
        return float(f"{answer:.10g}")
    if isinstance(answer, dict):
        return {name: rounded(value) for name, value in answer.items()}
    return [rounded(value) for value in answer] if isinstance(answer, list | tuple) else answer


@pytest.fixture
def loan() -> dict[str, Any]:
    """The contract's example, to be changed at will."""
    return dict(EXAMPLE_LOAN)


@pytest.fixture(scope="session")
def book_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic book of 4,000 loans."""
    path = tmp_path_factory.mktemp("book") / "loan.csv"
    write_synthetic_loan_book(path, rows=4000, seed=7)
    return path


@pytest.fixture(scope="session")
def loans(book_path: Path) -> pd.DataFrame:
    """The cleaned loans of the book."""
    return clean(read_loans(book_path).loans).loans


HYPERPARAMETERS = {wanted.name: {"n_estimators": 20, "num_leaves": 7} for wanted in features.FEATURE_SETS}


@pytest.fixture(scope="session")
def fitted(loans: pd.DataFrame) -> fitting.Fitted:
    """The two small models of the book."""
    return fitting.fit(loans, HYPERPARAMETERS, seed=1)


@pytest.fixture(scope="session")
def archive_contents(
    loans: pd.DataFrame, fitted: fitting.Fitted, book_path: Path
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What `archive.write` is given for the small models: metadata and files."""
    files = dict.fromkeys(archive.CONTENTS[1:], b"<p>nothing here</p>") | packaging.make_model_files(fitted, seed=3)
    records = packaging.make_model_records(fitted, HYPERPARAMETERS)
    references = make_references(loans, loans, fitted.answer(loans), cut_off=0.3)
    metadata = {
        "model_version": "test",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "libraries": {},
        "seed": 1,
        "cut_off": 0.3,
        "models": {name: record.model_dump() for name, record in records.items()},
        "metrics": {},
        "cleaning": [],
        "checks": {},
        "data": {"kind": "synthetic", "file": book_path.name, "sha256": "", "rows": 4000, "age": "made up"},
        "reference": [reference.model_dump() for reference in references],
    }
    return metadata, files


@pytest.fixture(scope="session")
def archive_path(
    archive_contents: tuple[dict[str, Any], dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A valid archive of the small model; tests that change it copy it first."""
    path = tmp_path_factory.mktemp("archive") / "1.zip"
    archive.write(path, *archive_contents)
    return path


_services: list[Service] = []


@pytest.fixture(autouse=True)
def _end_services() -> Iterator[None]:
    """End the services that a test has started; those of its module's fixtures go on."""
    before = len(_services)
    yield
    _end(before)


def _end(first: int) -> None:
    """End all services from one on, told at once, so that their drains don't add up."""
    ending = [service for service in _services[first:] if service.process.poll() is None]
    del _services[first:]
    for service in ending:
        service.process.terminate()
    for service in ending:
        try:
            service.process.wait(30)
        except subprocess.TimeoutExpired:
            service.process.kill()
            raise


@pytest.fixture(scope="module")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """Start services from the shipped configuration with other models; they end with the test or module that asks.

    The returned function takes options of the command, settings of its own, more models by class path, another command
    that serves, and the credit risk model's `configuration:` as keyword arguments.
    """

    def start(
        *options: str,
        settings: dict[str, Any] | None = None,
        more_models: tuple[str | dict[str, Any], ...] = (),
        command: tuple[str, ...] = ("credit_risk_model.service",),
        **model: Any,
    ) -> Service:
        folder = tmp_path_factory.mktemp("service")
        configuration = yaml.safe_load(CONFIGURATION.read_text())
        first = {**configuration["models"][0], "configuration": model}
        others = [
            {"create_endpoint": True} | ({"class_path": other} if isinstance(other, str) else other)
            for other in more_models
        ]
        configuration["models"] = [first, *others]
        configuration["service"] |= settings or {}
        path = folder / "rest_configuration.yaml"
        path.write_text(yaml.safe_dump(configuration))
        _services.append(Service(path, folder / "log", *options, command=command))
        return _services[-1]

    first = len(_services)
    yield start
    _end(first)
