"""Prometheus metrics; the framework's setting `metrics.enabled` decides whether they are served."""

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from platform import python_version
from threading import Lock
from time import monotonic

from prometheus_client import REGISTRY, Counter, Gauge, Info, disable_created_metrics, generate_latest
from pydantic import BaseModel

from credit_risk_model import __version__
from credit_risk_model.archive import Archive
from credit_risk_model.schemas import (
    Caution,
    CreditRisk,
    CreditRiskBatchInput,
    CreditRiskBatchOutput,
    CreditRiskModelInput,
    CreditRiskModelOutput,
)

_TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
_SECONDS = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
_REQUEST_SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
_MODEL_LABELS = ["model", "model_version"]
_STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx")
_MODEL_REASONS = {
    **dict.fromkeys(("invalid", "media_type", "too_large", "slow"), 400),
    "busy": 500,
    "decision_log": 500,
    "fault": 500,
}
"""Reasons for refusing a model's requests, with the class of the status."""
_ALL_REASONS = {
    **dict.fromkeys(("unauthorized", "http", "malformed", "long_url", "large_headers"), 400),
    **dict.fromkeys(("coding", "not_loaded"), 500),
    **_MODEL_REASONS,
}


def escape(value: str) -> str:
    """Escape a label value."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Distribution:
    """Buckets of a histogram for one combination of labels; thread-safe."""

    def __init__(self, name: str, labels: Mapping[str, str], bounds: Sequence[float]) -> None:
        """Create empty buckets.

        Args:
            name: Name of the histogram.
            labels: Label names and values.
            bounds: Upper bounds of the buckets, inclusive.
        """
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._lock = Lock()
        pairs = "".join(f'{label}="{escape(value)}",' for label, value in labels.items())
        self._lines = [f'{name}_bucket{{{pairs}le="{bound}"}} ' for bound in (*map(float, bounds), "+Inf")]
        of_all = f"{{{pairs[:-1]}}}" if pairs else ""
        self._last_lines = f"{name}_count{of_all} ", f"{name}_sum{of_all} "

    def add(self, *values: float) -> None:
        """Add observations."""
        with self._lock:
            for value in values:
                self._counts[bisect_left(self._bounds, value)] += 1
                self._total += value

    def write(self) -> Iterator[str]:
        """Yield the lines in Prometheus' text format."""
        with self._lock:
            within, total = list(accumulate(self._counts)), self._total
        for line, count in zip((*self._lines, self._last_lines[0]), (*within, within[-1]), strict=True):
            yield f"{line}{count}\n"
        yield f"{self._last_lines[1]}{total}\n"


_writers: list[Callable[[], str]] = []
"""Functions that write their own metrics, in order: prometheus_client takes ten microseconds a line."""


def write_also(write: Callable[[], str]) -> None:
    """Register a function that returns metrics in Prometheus' text format."""
    _writers.append(write)


class FastHistogram:
    """A fast histogram: prometheus_client takes two microseconds a value, and over ten for each line of output."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        """Create an empty histogram and register it."""
        self._name, self._documentation, self._labels, self._bounds = name, documentation, labels, bounds
        self._distributions: dict[tuple[str, ...], Distribution] = {}
        write_also(self.write)

    def of(self, *labels: str) -> Distribution:
        """Return the buckets of some labels; from then on they are served, with 0 if empty."""
        if labels not in self._distributions:
            named = dict(zip(self._labels, labels, strict=True))
            self._distributions[labels] = Distribution(self._name, named, self._bounds)
        return self._distributions[labels]

    def write(self) -> str:
        """Return the histogram in Prometheus' text format."""
        lines = [line for distribution in list(self._distributions.values()) for line in distribution.write()]
        return f"# HELP {self._name} {self._documentation}\n# TYPE {self._name} histogram\n{''.join(lines)}"


disable_created_metrics()  # type: ignore[no-untyped-call]  # a line more for each counter, which nobody uses

answers = Counter("credit_risk_predictions", "Loans predicted, by decision.", [*_MODEL_LABELS, "credit_risk"])
cautions = Counter("credit_risk_cautions", "Predictions with a caution, by caution.", [*_MODEL_LABELS, "caution"])
probability = FastHistogram(
    "credit_risk_probability",
    "Predicted risk probabilities. If they drift, the loans may no longer be like those of the training.",
    _MODEL_LABELS,
    _TENTHS,
)
duration = FastHistogram(
    "credit_risk_prediction_duration_seconds",
    "Time from receiving the complete body to the response: validation, model, JSON.",
    ["model"],
    _SECONDS,
)
requests = FastHistogram(
    "credit_risk_request_duration_seconds",
    "Time from a request's first byte to its response's last, by route and class of status.",
    ["route", "status"],
    _REQUEST_SECONDS,
)
refused = Counter("credit_risk_refused_requests", "Requests with an error response.", ["reason", "model", "status"])
clients_gone = Counter("credit_risk_clients_gone", "Clients that disconnected before their response.")
evicted = Counter(
    "credit_risk_evicted_connections",
    "Connections closed to make room for others, by what they waited for.",
    ["waiting"],
)
for _waiting in ("first_request", "next_request", "body"):
    evicted.labels(_waiting)
loop_lag = FastHistogram(
    "credit_risk_event_loop_lag_seconds",
    "Lateness of the event loop, measured twice a second: an additional delay of every request.",
    [],
    _REQUEST_SECONDS,
).of()
in_flight = Gauge("credit_risk_requests_in_flight", "Requests in progress.")
open_connections = Gauge("credit_risk_open_connections", "Open client connections.")
cut_off = Gauge("credit_risk_cut_off", "Probability from which a loan is risky.", ["model"])
archive_created = Gauge(
    "credit_risk_archive_created_timestamp_seconds", "Time when the model's archive was created.", ["model"]
)
out_of_range = Counter(
    "credit_risk_out_of_training_range",
    "Values outside the range of the training data, by feature.",
    ["model_version", "feature"],
)
batch_loans = FastHistogram("credit_risk_batch_loans", "Loans per batch.", ["model"], (1, 10, 50, 100, 200, 500, 1000))
decisions_logged = Counter("credit_risk_decisions_logged", "Decisions written to the decision log.")
decisions_lost = Counter("credit_risk_decisions_lost", "Decisions returned but not written to the decision log.")
decision_log_failing = Gauge("credit_risk_decision_log_failing", "1 if the decision log can't be written, else 0.")
decision_log_lines = Gauge("credit_risk_decision_log_lines", "Number of the decision log's last line.")
decision_log_head = Gauge(
    "credit_risk_decision_log_head", "First 52 bits of the last line's mac; a log without it was cut or changed."
)
started = Gauge("credit_risk_startup_duration_seconds", "Time from the process's start until its models are loaded.")
loaded = Info("credit_risk_model", "The model's archive.", ["model"])
Info("credit_risk_build", "The running release.").info({"version": __version__, "python": python_version()})

_MAX_AGE_SECONDS = 0.1
_gathered = (-_MAX_AGE_SECONDS, b"")


def gather() -> bytes:
    """Return all metrics as text, at most a tenth of a second old: collecting them takes milliseconds."""
    global _gathered  # noqa: PLW0603  # one for the process, like the registry
    if monotonic() - _gathered[0] >= _MAX_AGE_SECONDS:
        ours = "".join(write() for write in _writers)
        _gathered = (monotonic(), generate_latest(REGISTRY) + ours.encode())
    return _gathered[1]


def count_refused(reason: str, model: str, status: int, number: int = 1) -> None:
    """Count refused requests; `model` is empty for those that did not reach a model."""
    refused.labels(reason, model, f"{status // 100}xx").inc(number)


def expect_refused(model: str) -> None:
    """Create the series of refused requests with 0, for a model or, if its name is empty, for no model."""
    for reason, status in (_MODEL_REASONS if model else _ALL_REASONS).items():
        count_refused(reason, model, status, 0)


class RequestCount:
    """Counts requests by route, status class and duration."""

    def __init__(self, routes: Iterable[str]) -> None:
        """Create a histogram for each route and status class.

        Args:
            routes: Templates of the routes.
        """
        expect_refused("")
        self._distributions = {
            (route, status): requests.of(route, status) for route in routes for status in _STATUS_CLASSES
        }

    def add(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._distributions[route, _STATUS_CLASSES[status // 100 - 2]].add(seconds)


class AnswerCount:
    """Counts a model's predictions. The label lookups are done once, since each costs as much as counting."""

    def __init__(self, model: str, version: str, archive: Archive | None = None) -> None:
        """Look up the counters of a model (qualified name) and its archive (version)."""
        self._archive = archive
        self._answers = {risk: answers.labels(model, version, risk.value) for risk in CreditRisk}
        self._cautions = {caution: cautions.labels(model, version, caution.value) for caution in Caution}
        self._probabilities = probability.of(model, version)
        self._find_batch_loans = partial(batch_loans.of, model)
        self._outside = {
            name: out_of_range.labels(version, name)
            for loaded in (archive.loaded if archive is not None else ())
            for name in loaded.names_that_may_lie_outside
        }
        expect_refused(model)

    def add(self, asked: BaseModel, answered: BaseModel) -> None:
        """Count a prediction, or each of a batch; other models' responses contain no decision to count."""
        if isinstance(answered, CreditRiskModelOutput):
            self._answers[answered.credit_risk].inc()
            self._probabilities.add(answered.risk_probability)
            for caution in answered.cautions:
                self._cautions[caution].inc()
            self._count_outside([asked], [answered])
        elif isinstance(asked, CreditRiskBatchInput) and isinstance(answered, CreditRiskBatchOutput):
            decisions = [one.credit_risk for one in answered.predictions]
            for risk, counter in self._answers.items():
                counter.inc(decisions.count(risk))
            self._probabilities.add(*[one.risk_probability for one in answered.predictions])
            for found, count in Tally(one.cautions for one in answered.predictions).items():
                for caution in found:
                    self._cautions[caution].inc(count)
            self._count_outside(asked.loans, answered.predictions)
            self._find_batch_loans().add(len(asked.loans))

    def _count_outside(self, loans: Sequence[BaseModel], answers_given: Sequence[CreditRiskModelOutput]) -> None:
        """Count the out-of-range features of the loans with that caution, which are few."""
        for loan, answer in zip(loans, answers_given, strict=True):
            if Caution.OUTSIDE_TRAINING_RANGE in answer.cautions and isinstance(loan, CreditRiskModelInput):
                assert self._archive is not None
                for name in self._archive.features_outside(loan):
                    self._outside[name].inc()
