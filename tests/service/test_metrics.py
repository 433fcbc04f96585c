import dataclasses
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import ROOT, SHIPPED
from processes import Service, find_tool, wait_until
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from credit_risk_model import archive
from credit_risk_model.drift.reference import Reference
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.schemas import (
    Caution,
    CreditRisk,
    CreditRiskBatchInput,
    CreditRiskBatchOutput,
    CreditRiskExplanationInput,
    CreditRiskModelInput,
    CreditRiskModelOutput,
)
from credit_risk_model.service import metrics
from credit_risk_model.service.drift import DriftCount
from credit_risk_model.service.metrics import AnswerCount, FastHistogram, expect_refused, gather


def values_of(text: str) -> dict[str, float]:
    """The values of a text in Prometheus' format, by sample."""
    return {
        f"{sample.name} {sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_values_are_counted_and_written_as_the_library_does() -> None:
    """The text holds what the library's own histogram would hold, also on the buckets' very edges."""
    values = [*np.random.default_rng(0).random(1000).tolist(), *(tenth / 10 for tenth in range(11)), 5e-324]
    tenths = [*(tenth / 10 for tenth in range(1, 10)), 1]
    registry = CollectorRegistry()
    library = Histogram("probability", "Probabilities.", ["model", "version"], buckets=tenths, registry=registry)
    ours = FastHistogram("probability", "Probabilities.", ["model", "version"], tenths)
    metrics._writers.remove(ours.write)
    for value in values:
        library.labels("a model", "1").observe(value)
    ours.of("a model", "1").add(*values[:1])
    ours.of("a model", "1").add(*values[1:])
    library.labels("a model", "2")
    ours.of("a model", "2")
    assert values_of(ours.write()) == pytest.approx(values_of(generate_latest(registry).decode()))


def test_prometheus_has_nothing_against_the_metrics(shipped: Service) -> None:
    """Prometheus' own check of names, types and units finds nothing in what a service answers."""
    text = httpx.get(f"{shipped.address}/metrics").content
    command = [find_tool("promtool"), "check", "metrics"]
    checked = subprocess.run(command, input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_each_loan_of_a_batch_is_counted() -> None:
    """A batch adds to decisions, cautions and probabilities what its loans would add one by one."""
    predictions = tuple(
        CreditRiskModelOutput(credit_risk=risk, risk_probability=probability, cautions=cautions)
        for risk, probability, cautions in [
            (CreditRisk.SAFE, 0.1, tuple(Caution)),
            (CreditRisk.SAFE, 0.25, ()),
            (CreditRisk.RISKY, 0.95, (Caution.INSTALMENTS_DUE_MISSING,)),
        ]
    )

    def count(model: str) -> list[float]:
        of = {"model": model, "model_version": "1"}
        names = [("credit_risk_predictions_total", of | {"credit_risk": risk.value}) for risk in CreditRisk]
        names += [("credit_risk_cautions_total", of | {"caution": caution.value}) for caution in Caution]
        names += [
            ("credit_risk_probability_bucket", of | {"le": bound}) for bound in ("0.1", "0.3", "0.9", "1.0", "+Inf")
        ]
        time.sleep(0.11)  # gathered at most every tenth of a second
        found = values_of(gather().decode())
        return [found.get(f"{name} {sorted(labels.items())}", 0) for name, labels in names]

    loan = CreditRiskModelInput.model_validate({**EXAMPLE_LOAN, "annual_income": 273_000})
    together = CreditRiskBatchInput(loans=(loan,) * 3), CreditRiskBatchOutput(predictions=predictions)
    for model, answers in (("alone", [(loan, one) for one in predictions]), ("together", [together])):
        counter, before = AnswerCount(model, "1", archive.read(SHIPPED)), count(model)
        for asked, answered in answers:
            counter.add(asked, answered)
        added = [after - earlier for earlier, after in zip(before, count(model), strict=True)]
        assert added == [2, 1, 2, 1, 1, 1, 2, 2, 3, 3]


def test_values_outside_the_training_are_counted_by_feature() -> None:
    """Which features lie outside is what an explanation tells; loans of a batch count alike, and their number too."""
    shipped = archive.read(SHIPPED)
    beyond = {"annual_income": 273_000, "delinquencies_in_last_2_years": 22}
    loan = CreditRiskExplanationInput.model_validate({**EXAMPLE_LOAN, **beyond})
    explained = CreditRiskExplanation(str(SHIPPED)).predict(loan)
    expected = [outside.feature for outside in explained.out_of_training_range]
    assert expected
    answer = CreditRiskModelOutput(credit_risk=CreditRisk.SAFE, risk_probability=0.1, cautions=explained.cautions)
    counter = AnswerCount("model", "outside", shipped)
    counter.add(loan, answer)
    batch = CreditRiskBatchInput(loans=(CreditRiskModelInput.model_validate({**EXAMPLE_LOAN, **beyond}),) * 2)
    counter.add(batch, CreditRiskBatchOutput(predictions=(answer, answer)))
    time.sleep(0.11)
    text = gather().decode()
    counted = re.findall(r'credit_risk_out_of_training_range_total{feature="(.*)",model_version="outside"} (.*)', text)
    assert {name: float(value) for name, value in counted if float(value)} == dict.fromkeys(expected, 3.0)
    assert len(counted) > len(expected), "the others begin with 0"
    assert 'credit_risk_batch_loans_bucket{model="model",le="10.0"} 1' in text


def test_each_answered_loan_is_counted_for_drift_once(start_service: Callable[..., Service]) -> None:
    """Predictions and a share of a batch's loans are counted by bin; an explanation's loan was predicted before."""
    modules = ("batch.CreditRiskBatch", "explanation.CreditRiskExplanation")
    service = start_service(
        settings={"drift_batch_share": 1.0},
        more_models=tuple(f"credit_risk_model.prediction.{module}" for module in modules),
        archive=str(SHIPPED),
    )
    service.wait_for("/api/health/ready")

    def count() -> dict[tuple[str, ...], float]:
        return {
            (sample.labels["age"], sample.labels["feature"], sample.labels["bin"]): sample.value
            for family in text_string_to_metric_families(httpx.get(f"{service.address}/metrics").text)
            for sample in family.samples
            if sample.name == "credit_risk_drift_loans_total"
        }

    before = count()
    assert set(before.values()) == {0}
    references: dict[str, Reference] = {one.age: one for one in archive.read(SHIPPED).metadata.reference}
    assert len(before) == sum(len(bins.names) for one in references.values() for bins in one.bins)
    ageless = {**EXAMPLE_LOAN, "instalments_due": None}
    for model, body in (
        ("credit_risk_model", EXAMPLE_LOAN),
        ("credit_risk_model", ageless),
        ("credit_risk_model", {}),
        ("credit_risk_explanation", EXAMPLE_LOAN),
        ("credit_risk_batch", {"loans": [EXAMPLE_LOAN] * 5}),
    ):
        httpx.post(f"{service.address}/api/models/{model}/prediction", json=body)
    wait_until(lambda: sum(value for (_, feature, _), value in count().items() if feature == "loan_amount") >= 7)
    for (age, feature, name), value in count().items():
        if feature == "loan_amount":
            bins = next(bins for bins in references[age].bins if bins.feature == feature)
            here = bins.names[bins.place(EXAMPLE_LOAN["loan_amount"])] == name.partition(" ")[2]
            assert value == here * {"known": 6, "unknown": 1}[age]


def test_a_share_of_a_batch_is_counted_for_drift(archive_path: Path) -> None:
    """Of a thousand loans the share that the setting names is counted, chosen at random."""
    found = archive.read(archive_path)
    loan, answer = (
        found.golden[0].loan,
        CreditRiskModelOutput(credit_risk=CreditRisk.SAFE, risk_probability=0.1, cautions=()),
    )
    asked = CreditRiskBatchInput.model_construct(loans=(loan,) * 1000)
    answered = CreditRiskBatchOutput.model_construct(predictions=(answer,) * 1000)
    counts = []
    for share in (0.0, 0.1, 1.0):
        count = DriftCount(found)
        count.add_some(asked, answered, share)
        counts.append(count.counted("known").loans)
    assert (counts[0], counts[2]) == (0, 1000)
    assert 40 < counts[1] < 160  # six standard deviations


def test_label_values_are_escaped(archive_path: Path) -> None:
    """A model version with quotes, a backslash or a line break leaves the metrics readable, and is itself."""
    found, version = archive.read(archive_path), 'a "b" \\ c\nd'
    metadata = found.metadata.model_copy(update={"model_version": version})
    text = "\n".join(DriftCount(dataclasses.replace(found, metadata=metadata)).lines())
    assert {
        sample.labels["model_version"] for family in text_string_to_metric_families(text) for sample in family.samples
    } == {version}


def test_reasons_of_refusals_are_documented() -> None:
    """Each reason that a refusal can have begins with 0 in the metrics, and stands in the docs; there are no others."""
    table = (ROOT / "docs" / "bounds.md").read_text().partition("## Why a request was refused")[2]
    documented = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    found = set()
    for path in (ROOT / "credit_risk_model" / "service").rglob("*.py"):
        found |= set(re.findall(r"RequestRefused\(\s*\d+,\s*\"(\w+)\"", path.read_text()))
    expect_refused("")
    time.sleep(0.11)
    counted = re.findall(r'credit_risk_refused_requests_total{model="",reason="(\w+)"', gather().decode())
    assert documented == found == set(counted)
