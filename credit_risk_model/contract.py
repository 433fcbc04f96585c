"""The contract that an archive is served by: the shipped one, or the same with wider bounds.

`schemas` states the shipped bounds, which fit Kaggle's loans of 2007 to 2015. A training on later loans may widen them.
Its archive records the wider bounds, and requests, files and frames are then checked by those.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, Field, create_model
from pydantic.fields import FieldInfo

from credit_risk_model.features import AGE, CONTRACT_FEATURES, Feature
from credit_risk_model.schemas import CreditRiskBatchInput, CreditRiskExplanationInput, CreditRiskModelInput

Bounds = tuple[float, float]
"""The smallest and the largest value."""

_WIDEST: dict[str, Bounds] = {"interest_rate": (0.01, 1000.0), "loan_amount": (1.0, 1e9)}
_WIDEST_OF_OTHERS: Bounds = (0.0, 1e9)


@dataclass(frozen=True, slots=True, eq=False)
class Contract:
    """A loan's fields with the bounds that hold for them, and what a request is validated by.

    Attributes:
        fields: The 17 fields, in the contract's order.
        widened: The bounds that are wider than the shipped ones, by field.
        loan, explanation, batch: The requests, by the shipped classes' names.
    """

    fields: tuple[Feature, ...]
    widened: Mapping[str, Bounds]
    loan: type[CreditRiskModelInput]
    explanation: type[CreditRiskExplanationInput]
    batch: type[CreditRiskBatchInput]

    @property
    def bounds(self) -> dict[str, Bounds]:
        """The bounds of each field that is a number."""
        return {field.name: field.bounds for field in self.fields if field.bounds is not None}

    def request_for(self, shipped: type[BaseModel]) -> type[BaseModel]:
        """Return what stands for a shipped request; itself where this contract has no other."""
        own: dict[type[BaseModel], type[BaseModel]] = {
            CreditRiskModelInput: self.loan,
            CreditRiskExplanationInput: self.explanation,
            CreditRiskBatchInput: self.batch,
        }
        return own.get(shipped, shipped)


SHIPPED = Contract(CONTRACT_FEATURES, {}, CreditRiskModelInput, CreditRiskExplanationInput, CreditRiskBatchInput)
"""The contract of `schemas`."""


def widest_bounds(name: str) -> Bounds:
    """Return how far a field's bounds may be widened.

    Nothing is below 0. Instalments are divided by, so amount and rate are above 0; what is beyond 10**9 would overflow
    their arithmetic.
    """
    return _WIDEST.get(name, _WIDEST_OF_OTHERS)


def may_be_widened(field: Feature) -> bool:
    """Return whether a field's bounds are what some loans had. The instalments due are bounded by the term itself."""
    return field.bounds is not None and field.name != AGE


def widen(bounds: Mapping[str, Bounds]) -> Contract:
    """Return the contract with wider bounds; the same one for the same bounds.

    Args:
        bounds: By field, each within `widest_bounds` and around the shipped ones.

    Raises:
        ValueError: A field has no bounds that may be widened, or its bounds can't be; the first is named.
    """
    if not bounds:
        return SHIPPED
    return _widen(tuple(sorted((name, (low, high)) for name, (low, high) in bounds.items())))


@cache
def _widen(bounds: tuple[tuple[str, Bounds], ...]) -> Contract:
    shipped = {field.name: field for field in CONTRACT_FEATURES}
    wider: dict[str, Bounds] = {}
    for name, (low, high) in bounds:
        if name not in shipped or not may_be_widened(shipped[name]):
            raise ValueError(f"{name[:40]} has no bounds that may be widened")
        wider[name] = _check(shipped[name], low, high)
    fields = tuple(replace(field, bounds=wider.get(field.name, field.bounds)) for field in CONTRACT_FEATURES)
    loan = _rebuild(CreditRiskModelInput, wider)
    explanation = _rebuild(CreditRiskExplanationInput, wider)
    of_loans = CreditRiskBatchInput.model_fields["loans"].metadata
    loans = tuple[loan, ...]  # type: ignore[valid-type]  # mypy knows classes only that stand in the code
    batch = _derive(CreditRiskBatchInput, {"loans": (Annotated[loans, *of_loans], ...)})
    return Contract(fields, wider, loan, explanation, batch)


def _check(field: Feature, low: float, high: float) -> Bounds:
    """Return a field's bounds in its own type, if they may be its."""
    assert field.bounds is not None
    (least, most), (lowest, highest) = field.bounds, widest_bounds(field.name)
    if not (low <= least and most <= high):
        raise ValueError(f"{field.name}: {low:.10g} to {high:.10g} is narrower than the contract's {least} to {most}")
    if not (lowest <= low and high <= highest):
        raise ValueError(f"{field.name}: {low:.10g} to {high:.10g} is beyond {lowest:.10g} to {highest:.10g}")
    if field.whole and (low % 1 or high % 1):
        raise ValueError(f"{field.name}: {low:.10g} to {high:.10g} are no whole numbers")
    # The shipped bound itself, where it is as wide: 0 is not written as 0.0.
    low, high = min(least, low), max(most, high)
    return (int(low), int(high)) if field.whole else (low, high)


def _rebuild(shipped: type[Any], bounds: Mapping[str, Bounds]) -> type[Any]:
    changed: dict[str, Any] = {}
    for name, ends in bounds.items():
        field = shipped.model_fields[name]
        changed[name] = _bounded(field.annotation, field.metadata, ends), Field(description=field.description)
    return _derive(shipped, changed)


def _derive(shipped: type[Any], changed: Mapping[str, Any]) -> type[Any]:
    """Make a request with some fields changed, which its JSON Schema calls and describes as the shipped one.

    Where both are in one document, their modules tell them apart there.
    """
    return create_model(shipped.__name__, __base__=shipped, __doc__=shipped.__doc__, __module__=__name__, **changed)


def _bounded(annotation: Any, metadata: Iterable[Any], bounds: Bounds) -> Any:
    """Make a field's type anew, with other bounds wherever it has some."""
    parts = [each for part in metadata for each in (part.metadata if isinstance(part, FieldInfo) else [part])]
    ends = {Ge: Ge(bounds[0]), Le: Le(bounds[1])}
    if get_origin(annotation) is Annotated:
        annotation = _bounded(annotation.__origin__, annotation.__metadata__, bounds)
    elif choices := get_args(annotation):
        annotation = reduce(or_, (_bounded(choice, (), bounds) for choice in choices))
    replaced = [ends.get(type(part), part) for part in parts]
    return Annotated[annotation, *replaced] if replaced else annotation
