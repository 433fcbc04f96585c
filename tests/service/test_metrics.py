import subprocess
import time

import httpx
import numpy as np
import pytest
from conftest import Service, find_tool
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from credit_risk_model.schemas import Caution, CreditRisk, CreditRiskBatchOutput, CreditRiskModelOutput
from credit_risk_model.service.metrics import AnswerCount, FastHistogram, gather


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
    FastHistogram.written.remove(ours)
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
            (CreditRisk.safe, 0.1, tuple(Caution)),
            (CreditRisk.safe, 0.25, ()),
            (CreditRisk.risky, 0.95, (Caution.instalments_due_missing,)),
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

    for model, answers in (("alone", predictions), ("together", (CreditRiskBatchOutput(predictions=predictions),))):
        counter, before = AnswerCount(model, "1"), count(model)
        for answer in answers:
            counter.add(answer)
        added = [after - earlier for earlier, after in zip(before, count(model), strict=True)]
        assert added == [2, 1, 2, 1, 1, 1, 2, 2, 3, 3]
