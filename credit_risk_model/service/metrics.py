"""What Prometheus may scrape of the service's own; the framework's switch decides whether it can.

The framework's own metrics come from its middleware, which predictions do not pass: their durations stand in
`credit_risk_evaluation_seconds`.
"""

from prometheus_client import Counter, Gauge, Histogram, Info
from pydantic import BaseModel

from credit_risk_model.schemas import CreditRisk, CreditRiskBatchOutput, CreditRiskModelOutput

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)

answers = Counter("credit_risk_predictions", "Loans answered, by decision.", ["model", "credit_risk"])
probability = Histogram(
    "credit_risk_probability",
    "Risk probabilities answered: their drift tells that the book is no longer the one of the training.",
    buckets=[tenth / 10 for tenth in range(1, 10)] + [1.0],
)
evaluation = Histogram(
    "credit_risk_evaluation_seconds",
    "Time from a request's whole body to its answer: validation, model, JSON.",
    ["model"],
    buckets=_SECONDS,
)
refused = Counter("credit_risk_refused_requests", "Requests answered with an error, by reason.", ["reason"])
ready = Gauge("credit_risk_ready_seconds", "Time from the process's start until its models were loaded.")
loaded = Info("credit_risk_model", "The archive that a model answers from.", ["model"])


class AnswerCount:
    """Counts a model's answers; binds what every answer needs, since looking it up costs as much as counting."""

    def __init__(self, model: str) -> None:
        """Bind the counters of one model, by its qualified name."""
        self._answers = {risk: answers.labels(model, risk.value) for risk in CreditRisk}

    def add(self, answer: BaseModel) -> None:
        """Count an answer, or each of a batch's; answers of foreign models hold no decision to count."""
        if isinstance(answer, CreditRiskModelOutput):
            self._answers[answer.credit_risk].inc()
            probability.observe(answer.risk_probability)
        elif isinstance(answer, CreditRiskBatchOutput):
            for one in answer.predictions:
                self.add(one)
