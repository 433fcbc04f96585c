"""What the service uses of a model besides its predictions."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ml_base import MLModel

from credit_risk_model.archive import Archive


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits for requests to a model.

    Attributes:
        takes_long: Whether a prediction takes milliseconds, so that it needs a separate thread.
        max_body_bytes: Maximum size of a body; None for the service's own limit.
    """

    takes_long: bool = False
    max_body_bytes: int | None = None


@runtime_checkable
class Limited(Protocol):
    """A model with its own request limits."""

    limits: RequestLimits


@runtime_checkable
class FromArchive(Protocol):
    """A model loaded from an archive.

    Attributes:
        archive: The loaded archive.
        cut_off: A loan is risky from this probability on.
    """

    archive: Archive
    cut_off: float


def limits_of(model: MLModel) -> RequestLimits:
    """Return a model's limits, or the defaults if it has none."""
    return model.limits if isinstance(model, Limited) else RequestLimits()
