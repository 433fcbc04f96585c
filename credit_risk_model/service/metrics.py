"""What Prometheus may scrape; the framework's switch `metrics.enabled` decides whether it can."""

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from platform import python_version
from threading import Lock
from time import monotonic
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel

from credit_risk_model import __version__
from credit_risk_model.schemas import Caution, CreditRisk, CreditRiskBatchOutput, CreditRiskModelOutput

_TENTHS = [tenth / 10 for tenth in range(1, 11)]
_SECONDS = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
_OF_A_MODEL = ["model", "model_version"]


class ProbabilityHistogram(Collector):
    """The distribution of probabilities by tenths, for each model and version; a batch is counted in one step.

    The library's own histogram counts one by one, at a microsecond each, which is a tenth of all that a loan of a batch
    takes.
    """

    def __init__(self, name: str, documentation: str) -> None:
        """Begin with nothing counted."""
        self._name, self._documentation = name, documentation
        self._counts: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
        self._lock = Lock()

    def bind(self, model: str, version: str) -> Callable[[Sequence[float]], None]:
        """Give the function that counts probabilities of a model; it is safe to call from any thread."""
        counts, total = self._counts.setdefault((model, version), ([0] * (len(_TENTHS) + 1), [0.0]))

        def observe(probabilities: Sequence[float]) -> None:
            with self._lock:
                for value in probabilities:
                    counts[bisect_left(_TENTHS, value)] += 1
                total[0] += sum(probabilities)

        return observe

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Tell what has been counted."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=_OF_A_MODEL)
        with self._lock:
            for labels, (counts, total) in self._counts.items():
                buckets = list(zip([*map(str, _TENTHS), "+Inf"], accumulate(counts), strict=True))
                family.add_metric(labels, buckets, total[0])
        yield family


answers = Counter("credit_risk_predictions", "Loans answered, by decision.", [*_OF_A_MODEL, "credit_risk"])
cautions = Counter("credit_risk_cautions", "Answers with a caution, by caution.", [*_OF_A_MODEL, "caution"])
probability = ProbabilityHistogram(
    "credit_risk_probability",
    "Risk probabilities answered: their drift tells that the book is no longer the one of the training.",
)
REGISTRY.register(probability)
duration = Histogram(
    "credit_risk_prediction_duration_seconds",
    "Time from a request's whole body to its answer: validation, model, JSON.",
    ["model"],
    buckets=_SECONDS,
)
requests = Counter("credit_risk_requests", "Requests answered, by route and class of status.", ["route", "status"])
refused = Counter("credit_risk_refused_requests", "Requests answered with an error, by reason.", ["reason"])
in_flight = Gauge("credit_risk_requests_in_flight", "Requests at work.")
open_connections = Gauge("credit_risk_open_connections", "Connections of clients.")
started = Gauge("credit_risk_startup_duration_seconds", "Time from the process's start until its models were loaded.")
loaded = Info("credit_risk_model", "The archive that a model answers from.", ["model"])
Info("credit_risk_build", "The release that serves.").info({"version": __version__, "python": python_version()})

_EVERY_SECONDS = 0.1
_gathered = (-_EVERY_SECONDS, b"")


def gather() -> bytes:
    """Give all metrics in Prometheus' text format, no older than a tenth of a second: gathering takes milliseconds."""
    global _gathered  # noqa: PLW0603  # as the registry, one for the process
    if monotonic() - _gathered[0] >= _EVERY_SECONDS:
        _gathered = (monotonic(), generate_latest(REGISTRY))
    return _gathered[1]


class RequestCount:
    """Counts a route's answers; binds what every answer needs, since looking it up costs as much as counting."""

    def __init__(self) -> None:
        """Begin with nothing bound."""
        self._bound: dict[tuple[str, int], Any] = {}

    def add(self, route: str, status: int) -> None:
        """Count an answer."""
        bound = self._bound.get((route, status))
        if bound is None:
            bound = self._bound[route, status] = requests.labels(route, f"{status // 100}xx")
        bound.inc()


class AnswerCount:
    """Counts a model's answers; binds what every answer needs, since looking it up costs as much as counting."""

    def __init__(self, model: str, version: str) -> None:
        """Bind the counters of one model, by its qualified name, and of its archive's version."""
        self._answers = {risk: answers.labels(model, version, risk.value) for risk in CreditRisk}
        self._cautions = {caution: cautions.labels(model, version, caution.value) for caution in Caution}
        self._observe = probability.bind(model, version)

    def add(self, answer: BaseModel) -> None:
        """Count an answer, or each of a batch's; answers of foreign models hold no decision to count."""
        if isinstance(answer, CreditRiskModelOutput):
            self._answers[answer.credit_risk].inc()
            self._observe((answer.risk_probability,))
            for caution in answer.cautions:
                self._cautions[caution].inc()
        elif isinstance(answer, CreditRiskBatchOutput):
            decisions = [one.credit_risk for one in answer.predictions]
            for risk, counter in self._answers.items():
                counter.inc(decisions.count(risk))
            self._observe([one.risk_probability for one in answer.predictions])
            for found, count in Tally(one.cautions for one in answer.predictions).items():
                for caution in found:
                    self._cautions[caution].inc(count)
