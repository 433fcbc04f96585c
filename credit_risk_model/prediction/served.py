"""What a service may ask of a model besides its predictions."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ml_base import MLModel

from credit_risk_model.archive import Archive


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How a model is to be asked.

    Attributes:
        takes_long: Whether a prediction takes milliseconds, so that it is made on a thread of its own.
        max_body_bytes: Bytes that a request may have; None for whatever the service allows.
    """

    takes_long: bool = False
    max_body_bytes: int | None = None


@runtime_checkable
class Limited(Protocol):
    """A model that says how it is to be asked."""

    limits: RequestLimits


@runtime_checkable
class FromArchive(Protocol):
    """A model that answers from an archive.

    Attributes:
        archive: What it answers from.
        cut_off: A loan is risky from this probability on.
    """

    archive: Archive
    cut_off: float


def limits_of(model: MLModel) -> RequestLimits:
    """Return a model's limits, or the defaults where it has none."""
    return model.limits if isinstance(model, Limited) else RequestLimits()
