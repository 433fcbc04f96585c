"""Packages a fitted model as an archive, if the gate accepts it."""

import importlib.metadata
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import joblib
import lightgbm as lgb
import pandas as pd

from credit_risk_model import archive
from credit_risk_model.archive import Metadata, ModelRecord
from credit_risk_model.contract import SHIPPED, Contract
from credit_risk_model.features import AGE_KNOWN, AGE_UNKNOWN, CONTRACT_FEATURES
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training.evaluation import tabulate_importance
from credit_risk_model.training.fitting import FIELDS, Fitted, Hyperparameters, Probabilities
from credit_risk_model.training.former import Former
from credit_risk_model.training.gate import Verdict
from credit_risk_model.training.golden import make_golden_loans
from credit_risk_model.training.model_card import People, write_model_card
from credit_risk_model.training.trained import Trained

_LIBRARIES = ("lightgbm", "scikit-learn", "flaml", "pandas", "numpy", "joblib", "pydantic", "deepchecks")
_RECORDED_THREADS = 2
"""The number of threads in a model's text. The real number changes no tree, and must change no byte."""


def make_model_files(fitted: Fitted, seed: int, contract: Contract = SHIPPED) -> dict[str, bytes]:
    """Make the files of the models and of golden loans with the models' probabilities, by file name in the archive."""
    golden = make_golden_loans(seed, contract)
    buffer = io.BytesIO()
    joblib.dump({AGE_KNOWN.name: fitted.with_age, AGE_UNKNOWN.name: fitted.without_age}, buffer)
    return {
        archive.MODEL: _to_text(fitted.with_age),
        archive.MODEL_WITHOUT_AGE: _to_text(fitted.without_age),
        archive.ESTIMATOR: buffer.getvalue(),
        archive.GOLDEN: archive.golden_json(golden, predict_requests(fitted, golden).tolist()),
    }


def _to_text(estimator: lgb.LGBMClassifier | None) -> bytes:
    if estimator is None:
        return b""
    text: str = estimator.booster_.model_to_string()
    return re.sub(r"(?<=\n\[num_threads: )\d+(?=\])", str(_RECORDED_THREADS), text).encode()


def predict_requests(fitted: Fitted, loans: list[CreditRiskModelInput]) -> Probabilities:
    """Predict requests with the fitted models, by pandas and scikit-learn; shape (loans,)."""
    return fitted.predict(to_frame(loans))


def to_requests(loans: pd.DataFrame, contract: Contract) -> list[CreditRiskModelInput]:
    """Convert cleaned loans to requests, without those outside the contract's bounds."""
    fields = loans[FIELDS]
    allowed = pd.Series(True, index=fields.index)
    for name, bounds in contract.bounds.items():
        allowed &= fields[name].isna() | fields[name].between(*bounds)
    kept = fields[allowed].astype(object)
    return [contract.loan.model_validate(loan) for loan in kept.where(kept.notna(), None).to_dict("records")]


def to_frame(loans: list[CreditRiskModelInput]) -> pd.DataFrame:
    """Convert requests to a frame like that of cleaned loans."""
    frame = pd.DataFrame([loan.model_dump(mode="json") for loan in loans])
    for feature in CONTRACT_FEATURES:
        if feature.levels:
            frame[feature.name] = pd.Categorical(frame[feature.name], categories=feature.levels)
        elif feature.nullable:
            frame[feature.name] = frame[feature.name].astype(float)
    return frame


def make_model_records(fitted: Fitted, hyperparameters: Mapping[str, Hyperparameters]) -> dict[str, ModelRecord]:
    """Record each model's hyper-parameters, and its features with their levels and ranges in training."""
    return {
        name: ModelRecord(features=features, hyperparameters=hyperparameters[name])
        for name, features in fitted.seen.items()
    }


@dataclass(frozen=True)
class Packaged:
    """A written archive.

    Attributes:
        former: The archive that it follows.
    """

    path: Path
    former: Former | None


def package(output: Path, trained: Trained, verdict: Verdict, *, people: People, former: Former | None) -> Packaged:
    """Write the archive, unless the gate refuses the model.

    Args:
        output: The archive's path.
        trained: The model and its figures.
        verdict: The gate's verdict.
        people: Who is responsible for it, for the card.
        former: The archive that it follows, for the card.

    Raises:
        ModelRefusedError: The model falls short; nothing is written.
        ModelArchiveError: What was written doesn't reproduce the fitted models; nothing is left.
    """
    verdict.require_pass()
    fit, reports = trained.fit, trained.reports
    metrics = trained.measure()
    metadata = Metadata(
        format=archive.FORMAT,
        model_version=output.stem,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        libraries={name: importlib.metadata.version(name) for name in _LIBRARIES},
        seed=fit.recipe.seed,
        cut_off=fit.cut_off,
        models=make_model_records(fit.fitted, fit.recipe.hyperparameters),
        metrics=metrics.store(),
        cleaning=trained.cleaning,
        checks=reports.store(),
        data=trained.data,
        bounds=dict(trained.contract.widened),
        reference=trained.references,
        files={},  # their digests are filled in when they are written
    )
    card = write_model_card(
        metadata,
        metrics=metrics,
        checks=reports.suites,
        importance=tabulate_importance(fit.fitted.main),
        people=people,
        former=former,
    )
    models = make_model_files(fit.fitted, fit.recipe.seed, trained.contract)
    files = {**reports.files, **models, archive.CARD: card.encode()}
    archive.write(output, metadata.model_dump(exclude={"format", "files"}), files)
    return Packaged(output, former)
