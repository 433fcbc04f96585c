"""Format of an archive: its files, its metadata and its golden loans, with a version number."""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from credit_risk_model import features
from credit_risk_model.contract import SHIPPED, Bounds, Contract, widen
from credit_risk_model.drift.reference import Reference
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.schemas import CreditRiskModelInput

MODEL = "model.txt"
MODEL_WITHOUT_AGE = "model_without_age.txt"
ESTIMATOR = "model.joblib"
METADATA = "metadata.json"
GOLDEN = "golden.json"
CARD = "model_card.md"
EXPLORATION_REPORT = "data_exploration_report.html"
INTEGRITY_REPORT = "deepchecks_data_integrity_results.html"
SPLIT_REPORT = "deepchecks_train_test_results.html"
MODEL_REPORT = "deepchecks_model_evaluation_results.html"

CONTENTS = (
    METADATA,
    MODEL,
    MODEL_WITHOUT_AGE,
    GOLDEN,
    CARD,
    ESTIMATOR,
    EXPLORATION_REPORT,
    INTEGRITY_REPORT,
    SPLIT_REPORT,
    MODEL_REPORT,
)
"""Every file of an archive, in the order of writing."""

MODELS = {features.AGE_KNOWN.name: MODEL, features.AGE_UNKNOWN.name: MODEL_WITHOUT_AGE}
"""The file of each feature set's model. The file of `AGE_KNOWN` is empty if the training loans had no age."""

MODEL_FILES = Path(__file__).parents[1] / "model_files"
FORMAT = 3
FORMATS = (2, FORMAT)
"""Readable formats; an archive of format 2 has no drift reference."""
_RENAMED = {
    "part_of_an_instalment": "partial_instalment",
    "part_of_an_instalment_after_term": "partial_instalment_after_term",
}
"""Features by their names in archives of releases up to 0.4.0, which are still read."""
GOLDEN_TOLERANCE = 1e-12
"""Maximum difference between a golden loan's probability and its replay: exp() may differ by a bit between machines."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


def current_name(feature: str) -> str:
    """Return a feature's name in this release, given its name in an archive."""
    return _RENAMED.get(feature, feature)


class FeatureRecord(_Record):
    """A feature as the model saw it in training."""

    name: Annotated[str, AfterValidator(current_name)]
    levels: tuple[str, ...] = Field(description="Category levels in the order of their codes; empty for a number.")
    minimum: float | None = Field(
        description="Smallest value in training; None for a category, or where none is known."
    )
    maximum: float | None = Field(description="Largest value in training; None for a category, or where none is known.")


class ModelRecord(_Record):
    """Record of one of the archive's two models."""

    features: tuple[FeatureRecord, ...]
    hyperparameters: dict[str, int | float | str | bool]


class CleaningRecord(_Record):
    """Number of rows after a cleaning step."""

    step: str
    rows: int = Field(ge=0)


class DataRecord(_Record):
    """Record of the training data."""

    kind: Literal["loans", "synthetic"]
    file: str = Field(description="Name of the file, without its folder.")
    sha256: str
    rows: int = Field(ge=1, description="Number of rows in the file.")
    age: str = Field(description="Source of the loans' age.")


class Metadata(_Record):
    """`metadata.json`: what a reader needs to know about the model and its files."""

    format: Literal[2, 3]
    model_version: str = Field(min_length=1)
    created_at: str = Field(description="ISO 8601, UTC.")
    libraries: dict[str, str] = Field(description="Versions of the packages that made the model.")
    seed: int
    cut_off: float = Field(gt=0, lt=1, description="Probability from which a loan is risky.")
    models: dict[str, ModelRecord] = Field(
        description="By feature set; without `age_known` if the training loans had no age."
    )
    metrics: dict[str, Any] = Field(description="Final metrics.")
    cleaning: tuple[CleaningRecord, ...]
    checks: dict[str, Any] = Field(description="Results of each deepchecks suite, by condition.")
    data: DataRecord
    bounds: dict[str, Bounds] = Field(
        default={}, description="Bounds that the training widened, by field; left out if there are none."
    )
    reference: tuple[Reference, ...] = Field(
        default=(), max_length=2, description="Distribution of the training loans, with and without their age."
    )
    files: dict[str, str] = Field(description="SHA-256 of every other file, by name.")

    @property
    def contract(self) -> Contract:
        """The contract that the archive's loans are checked against."""
        return widen(self.bounds)

    @field_validator("bounds")
    @classmethod
    def _check_bounds(cls, bounds: dict[str, Bounds]) -> dict[str, Bounds]:
        widen(bounds)
        return bounds

    @model_validator(mode="after")
    def _check_reference(self) -> Self:
        if len({reference.age for reference in self.reference}) < len(self.reference):
            raise ValueError("two references have the same age")
        return self


class GoldenLoan(_Record):
    """A made-up loan with the fitted model's probability."""

    loan: CreditRiskModelInput
    risk_probability: Annotated[float, Field(ge=0, le=1)]


_GoldenLoans = TypeAdapter[tuple[GoldenLoan, ...]]


@cache
def golden_loans(contract: Contract) -> _GoldenLoans:
    """Return the (de)serializer of golden loans that satisfy a contract."""
    within = create_model("GoldenLoan", __base__=GoldenLoan, loan=(contract.loan, ...))
    return TypeAdapter(Annotated[tuple[within, ...], Field(min_length=1)])


def newest() -> Path:
    """Return the package's own archive with the highest number.

    Raises:
        ModelArchiveError: There is no archive.
    """
    numbers = _find_numbers(MODEL_FILES)
    if not numbers:
        raise ModelArchiveError(f"No model archive (<number>.zip) in the folder {MODEL_FILES.name}. Run `make train`.")
    return MODEL_FILES / f"{max(numbers)}.zip"


def next_free(folder: Path = MODEL_FILES) -> Path:
    """Return the path for the next training's archive: one above the highest number in the folder."""
    return folder / f"{max(_find_numbers(folder), default=0) + 1}.zip"


def _find_numbers(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.zip") if re.fullmatch(r"[1-9]\d*", path.stem)]


def sha256(content: bytes) -> str:
    """Return the SHA-256 digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def golden_json(loans: list[CreditRiskModelInput], probabilities: list[float]) -> bytes:
    """Return `golden.json`: made-up loans with the fitted model's probabilities."""
    pairs = zip(loans, probabilities, strict=True)
    golden = tuple(GoldenLoan(loan=loan, risk_probability=probability) for loan, probability in pairs)
    return golden_loans(SHIPPED).dump_json(golden, indent=1)


def first_error(error: ValidationError) -> str:
    """Return location and message of the first error."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
