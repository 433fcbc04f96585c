import numpy as np
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Histogram

from credit_risk_model.schemas import Caution, CreditRisk, CreditRiskBatchOutput, CreditRiskModelOutput
from credit_risk_model.service.metrics import AnswerCount, ProbabilityHistogram


def samples(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    """What is scraped of a registry, by the sample's kind and bucket."""
    return {
        (sample.name.rpartition("_")[2], sample.labels.get("le", "")): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_probabilities_are_counted_as_the_library_counts() -> None:
    """Buckets, sum and count are those of the library's own histogram, also on the buckets' very edges."""
    values = [*np.random.default_rng(0).random(1000).tolist(), *(tenth / 10 for tenth in range(11)), 5e-324]
    tenths = [tenth / 10 for tenth in range(1, 11)]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    own = ProbabilityHistogram("ours", "Probabilities.")
    ours.register(own)
    library = Histogram("theirs", "Probabilities.", buckets=tenths, registry=theirs)
    for value in values:
        library.observe(value)
    observe = own.bind("a model", "1")
    observe(values[:1])
    observe(values[1:])
    expected = samples(theirs)
    del expected["created", ""]
    assert expected.pop(("sum", "")) == pytest.approx(samples(ours)["sum", ""])
    assert samples(ours).items() >= expected.items()


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
        return [REGISTRY.get_sample_value(*name) or 0 for name in names]

    for model, answers in (("alone", predictions), ("together", (CreditRiskBatchOutput(predictions=predictions),))):
        counter, before = AnswerCount(model, "1"), count(model)
        for answer in answers:
            counter.add(answer)
        added = [after - earlier for earlier, after in zip(before, count(model), strict=True)]
        assert added == [2, 1, 2, 1, 1, 1, 2, 2, 3, 3]
