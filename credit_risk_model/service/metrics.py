"""What Prometheus may scrape of the service's own; the framework's switch decides whether it can.

The framework's own metrics come from its middleware, which predictions do not pass: their durations stand in
`credit_risk_evaluation_seconds`.
"""

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from itertools import accumulate
from threading import Lock

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel

from credit_risk_model.schemas import Caution, CreditRisk, CreditRiskBatchOutput, CreditRiskModelOutput

_TENTHS = [tenth / 10 for tenth in range(1, 11)]
_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class ProbabilityHistogram(Collector):
    """The distribution of probabilities by tenths; a batch is counted in one step.

    The library's own histogram counts one by one, at a microsecond each, which is a tenth of all that a loan of a batch
    takes.
    """

    def __init__(self, name: str, documentation: str) -> None:
        """Begin with nothing counted."""
        self._name, self._documentation = name, documentation
        self._counts = [0] * (len(_TENTHS) + 1)
        self._sum = 0.0
        self._lock = Lock()

    def observe(self, probabilities: Sequence[float]) -> None:
        """Count some more; safe to call from any thread."""
        with self._lock:
            for value in probabilities:
                self._counts[bisect_left(_TENTHS, value)] += 1
            self._sum += sum(probabilities)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Tell what has been counted."""
        with self._lock:
            counts, total = list(accumulate(self._counts)), self._sum
        buckets = zip([*map(str, _TENTHS), "+Inf"], counts, strict=True)
        yield HistogramMetricFamily(self._name, self._documentation, buckets=list(buckets), sum_value=total)


answers = Counter("credit_risk_predictions", "Loans answered, by decision.", ["model", "credit_risk"])
cautions = Counter("credit_risk_cautions", "Answers with a caution, by caution.", ["model", "caution"])
probability = ProbabilityHistogram(
    "credit_risk_probability",
    "Risk probabilities answered: their drift tells that the book is no longer the one of the training.",
)
REGISTRY.register(probability)
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
        self._cautions = {caution: cautions.labels(model, caution.value) for caution in Caution}

    def add(self, answer: BaseModel) -> None:
        """Count an answer, or each of a batch's; answers of foreign models hold no decision to count."""
        if isinstance(answer, CreditRiskModelOutput):
            self._answers[answer.credit_risk].inc()
            probability.observe((answer.risk_probability,))
            for caution in answer.cautions:
                self._cautions[caution].inc()
        elif isinstance(answer, CreditRiskBatchOutput):
            decisions = [one.credit_risk for one in answer.predictions]
            for risk, counter in self._answers.items():
                counter.inc(decisions.count(risk))
            probability.observe([one.risk_probability for one in answer.predictions])
            for found, count in Tally(one.cautions for one in answer.predictions).items():
                for caution in found:
                    self._cautions[caution].inc(count)
