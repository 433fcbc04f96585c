"""Generate the reference pages from the code: `python docs/reference.py` (`make reference`). A test compares them."""

import inspect
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

from credit_risk_model import archive, errors
from credit_risk_model.decisions import DecisionLogError
from credit_risk_model.features import CONTRACT_FEATURES, FEATURE_SETS, Feature
from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.prediction.model import ArchiveModel
from credit_risk_model.schemas import (
    CreditRiskBatchInput,
    CreditRiskExplanationInput,
    CreditRiskExplanationOutput,
    CreditRiskModelInput,
    CreditRiskModelOutput,
    OutsideTraining,
    Reason,
)
from credit_risk_model.service import drift, metrics
from credit_risk_model.service.settings import RENAMED, ApiKeySettings, DecisionSettings, ServiceSettings

PAGES = Path(__file__).with_name("reference")
COMMANDS = {
    "credit_risk_model.service": "Serve",
    "credit_risk_model.scoring": "Score files",
    "credit_risk_model.scoring.convert": "Convert to Parquet",
    "credit_risk_model.scoring.join": "Join shards",
    "credit_risk_model.monitoring": "Monitor",
    "credit_risk_model.monitoring drift": "",
    "credit_risk_model.monitoring verify": "",
    "credit_risk_model.monitoring replay": "",
    "credit_risk_model.monitoring outcomes": "",
    "credit_risk_model.monitoring erase": "",
    "credit_risk_model.training.pipeline": "Train without the notebook",
    "credit_risk_model.training.notebook": "Run the notebook",
    "credit_risk_model.training.download": "Download Kaggle's file",
    "credit_risk_model.training.synthetic": "Create a synthetic loan book",
    "credit_risk_model.service.openapi": "Write the contract",
}
"""The commands by module and subcommand, in the page's order."""

_NOTE = "<!-- Generated from the code by docs/reference.py: change the code, then run `make reference`. -->"


def _table(heads: list[str], rows: list[list[object]]) -> str:
    lines: list[list[Any]] = [heads, ["---"] * len(heads), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", _NOTE, *(part.strip("\n") for part in parts)]) + "\n"


def _code(words: object) -> str:
    """Return words as code. Quotes show a leading or trailing space, which Markdown drops."""
    text = str(words)
    return f'`"{text}"`' if text != text.strip() else f"`{text}`"


def _values(feature: Feature) -> str:
    if feature.levels:
        return ", ".join(map(_code, feature.levels))
    assert feature.bounds is not None
    low, high = (f"{bound:.10g}" for bound in feature.bounds)
    return f"{'whole number' if feature.whole else 'number'}, {low} to {high}"


def _model_table(model: type[BaseModel], without: type[BaseModel] | None = None) -> str:
    own = {
        name: field for name, field in model.model_fields.items() if without is None or name not in without.model_fields
    }
    return _table(["field", "what it is"], [[_code(name), field.description or ""] for name, field in own.items()])


def write_fields() -> str:
    """Return the page of the contract's fields."""
    rows: list[list[object]] = []
    for feature in CONTRACT_FEATURES:
        required = CreditRiskModelInput.model_fields[feature.name].is_required()
        needed = "yes, may be null" if required and feature.nullable else "yes" if required else "no"
        column = _code(feature.column) if feature.column else ""
        rows.append([_code(feature.name), needed, _values(feature), column, feature.description])
    derived = {
        feature.name: feature
        for wanted in FEATURE_SETS
        for feature in wanted.features
        if feature.fields != (feature.name,)
    }
    computed: list[list[object]] = [
        [_code(feature.name), feature.description, ", ".join(map(_code, feature.fields))]
        for feature in derived.values()
    ]
    return _page(
        "Fields",
        "In requests a field has the name in the first column. Files and frames may have Kaggle's column instead.",
        "## A loan",
        _table(["field", "required", "values", "Kaggle's column", "what it is"], rows),
        "An explanation's request may also have:\n\n" + _model_table(CreditRiskExplanationInput, CreditRiskModelInput),
        f"A batch has such loans in a list: {', '.join(map(_code, CreditRiskBatchInput.model_fields))}.",
        "## A response",
        _model_table(CreditRiskModelOutput),
        "## An explanation's response",
        "It also has:\n\n" + _model_table(CreditRiskExplanationOutput, CreditRiskModelOutput),
        f"A reason:\n\n{_model_table(Reason)}",
        f"A value outside the training range:\n\n{_model_table(OutsideTraining)}",
        "## Derived features",
        "The models also use these. Reasons name them.",
        _table(["feature", "what it is", "from"], computed),
    )


def _default(field: Any) -> str:
    if field.is_required():
        return "none, required"
    default = field.default
    if default is None:
        return "left out"
    if isinstance(default, bool):
        return _code(str(default).lower())
    return _code(default.value if isinstance(default, Enum) else default).replace("'", "")


def _settings_table(model: type[BaseModel]) -> str:
    rows: list[list[object]] = [
        [_code(name), _default(field), field.description] for name, field in model.model_fields.items()
    ]
    return _table(["setting", "default", "what it does"], rows)


def _arguments(function: object) -> dict[str, str]:
    """Return the descriptions in a docstring's `Args:`, by argument."""
    text = inspect.cleandoc(function.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in found}


def write_settings() -> str:
    """Return the page of the settings."""
    of_models = _arguments(ArchiveModel.__init__)
    of_models["max_reasons"] = f"For the explanation only. {_arguments(CreditRiskExplanation.__init__)['max_reasons']}"
    return _page(
        "Settings",
        "All settings are in one YAML file: `configuration/rest_configuration.yaml`, or the one that `--config` or "
        "`REST_CONFIG` names. An unknown key under `service:`, or among the framework's own, stops the start. An "
        "unknown setting of a model leaves the service unready, and the log says why.",
        "## `service:`",
        _settings_table(ServiceSettings),
        "## `service.api_keys:`",
        _settings_table(ApiKeySettings),
        "## `service.decisions:`",
        _settings_table(DecisionSettings),
        "## `configuration:` of a model",
        _table(["setting", "what it does"], [[_code(name), words] for name, words in of_models.items()]),
        "## Settings of 0.4.0 that were renamed",
        _table(["old name", "name"], [[_code(former), _code(name)] for former, name in RENAMED.items()]),
    )


def _library_metrics() -> Iterator[list[object]]:
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            kind = str(metric._type)
            name = metric._name + {"counter": "_total", "info": "_info"}.get(kind, "")
            yield [_code(name), kind, ", ".join(map(_code, metric._labelnames)), metric._documentation]


def _own_metrics() -> Iterator[list[object]]:
    """Yield the histograms of this package, which have their own output method."""
    for write in metrics._writers:
        histogram = getattr(write, "__self__", None)
        if isinstance(histogram, metrics.FastHistogram):
            labels = ", ".join(map(_code, histogram._labels))
            yield [_code(histogram._name), "histogram", labels, histogram._documentation]


def write_metrics() -> str:
    """Return the page of the metrics."""
    build: list[object] = ["`credit_risk_build_info`", "info", "`version`, `python`", "The running release."]
    of_drift: list[list[object]] = [[_code(name), kind, "", words] for name, (kind, words) in drift._FAMILIES.items()]
    rows = sorted([*_library_metrics(), *_own_metrics(), *of_drift, build], key=lambda row: str(row[0]))
    return _page(
        "Metrics",
        "`/metrics` serves them in Prometheus' text format. Each series starts at 0. `process_*` and `python_*` are "
        "those of the Prometheus library. [Drift](../drift.md) has the labels of `credit_risk_drift_*`.",
        _table(["metric", "kind", "labels", "what it is"], rows),
    )


def write_errors() -> str:
    """Return the page of the errors."""
    raised = [each for each in vars(errors).values() if inspect.isclass(each) and each.__module__ == errors.__name__]
    rows: list[list[object]] = [
        [_code(each.__name__), _code(each.__mro__[1].__name__), inspect.getdoc(each)]
        for each in (*raised, DecisionLogError)
    ]
    reasons: list[list[object]] = [
        [_code(reason), "4xx" if status == 400 else "5xx", "yes" if reason in metrics._MODEL_REASONS else ""]
        for reason, status in metrics._ALL_REASONS.items()
    ]
    return _page(
        "Errors",
        "A message says what was wrong and what to do. It never contains a borrower's value.",
        "## Reasons for refusing a request",
        "`credit_risk_refused_requests_total` and the log use these reasons. "
        "[Bounds](../bounds.md#why-a-request-was-refused) explains each reason, and [HTTP](http.md#errors) the "
        "statuses.",
        _table(["reason", "class of status", "also counted by model"], reasons),
        "## Exceptions of the package",
        _table(["exception", "base class", "meaning"], rows),
    )


_FILES = {
    archive.METADATA: "what a reader needs to know; see below",
    archive.MODEL: "LightGBM's text of the model for loans whose age is known; empty if no loan had an age",
    archive.MODEL_WITHOUT_AGE: "LightGBM's text of the model for all other loans",
    archive.GOLDEN: "made-up loans with the fitted model's own probabilities",
    archive.CARD: "the model card",
    archive.ESTIMATOR: "the fitted estimators, for notebooks; nothing on the served path reads it",
    archive.EXPLORATION_REPORT: "the data profile",
    archive.INTEGRITY_REPORT: "data checks",
    archive.SPLIT_REPORT: "checks of the training set against the test set",
    archive.MODEL_REPORT: "model checks",
}


_RECORDS = {
    "format": "number of the format",
    "model_version": "the version in responses",
    "seed": "random seed of the training",
    "cleaning": "each cleaning step, with the number of rows after it",
    "data": "the training file: kind, name, SHA-256, rows, source of the loans' age",
}
"""Descriptions of fields that have none in the code."""


def write_archive() -> str:
    """Return the page of the archive's format."""
    records: list[list[object]] = [
        [_code(name), field.description or _RECORDS[name]] for name, field in archive.Metadata.model_fields.items()
    ]
    readable = " and ".join(map(str, archive.FORMATS))
    return _page(
        "Archive format",
        f"An archive is a zip file. It is written in format {archive.FORMAT}. Formats {readable} can be read. It is "
        "written completely or not at all, and the same content gives the same bytes. It has aggregates, never a "
        "borrower's row.",
        "## Files",
        _table(["file", "content"], [[_code(name), _FILES[name]] for name in archive.CONTENTS]),
        f"## `{archive.METADATA}`",
        _table(["field", "what it is"], records),
        "## Verification",
        "Every file is compared with its SHA-256 in the metadata; of a pinned archive, only those that predictions "
        f"use. Each golden loan's probability must be reproduced to {archive.GOLDEN_TOLERANCE:g}. "
        "[Why ready means ready](../explanation/ready.md) lists the steps.",
    )


def _help(command: str) -> str:
    """Return the output of `--help`, in lines of 100 characters, without what differs between machines."""
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(PAGES.parents[1])}
    environment.pop("REST_CONFIG", None)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603  # this project's own commands
            [sys.executable, "-m", *command.split(), "--help"],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
    return re.sub(r"(the cores), \d+", r"\1", done.stdout).strip()


def write_commands() -> str:
    """Return the page of the command lines."""
    parts = []
    for command, title in COMMANDS.items():
        if title:
            parts.append(f"## {title}")
        parts.append(f"```text\n{_help(command)}\n```")
    return _page(
        "Command lines",
        "`make` lists the Makefile's targets. The modules' own options:",
        *parts,
    )


WRITERS = {
    "fields.md": write_fields,
    "settings.md": write_settings,
    "metrics.md": write_metrics,
    "errors.md": write_errors,
    "archive.md": write_archive,
    "commands.md": write_commands,
}
"""The generated pages of docs/reference/."""


if __name__ == "__main__":
    for name, write in WRITERS.items():
        (PAGES / name).write_text(write(), encoding="utf-8")
