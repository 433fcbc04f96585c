"""The contract that an archive is served with: the shipped one, or one with wider bounds.

`schemas` has the shipped bounds, which fit Kaggle's loans of 2007 to 2015. A training on later loans may widen them.
The archive records the wider bounds. Requests, files and frames are then checked against these.
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
_WIDEST_DEFAULT: Bounds = (0.0, 1e9)


@dataclass(frozen=True, slots=True, eq=False)
class Contract:
    """The fields of a loan with their bounds, and the classes that validate a request.

    Attributes:
        fields: The 17 fields, in the contract's order.
        widened: The bounds that are wider than the shipped ones, by field.
        loan, explanation, batch: The request classes, named as the shipped ones.
    """

    fields: tuple[Feature, ...]
    widened: Mapping[str, Bounds]
    loan: type[CreditRiskModelInput]
    explanation: type[CreditRiskExplanationInput]
    batch: type[CreditRiskBatchInput]

    @property
    def bounds(self) -> dict[str, Bounds]:
        """The bounds of each numeric field."""
        return {field.name: field.bounds for field in self.fields if field.bounds is not None}

    def request_for(self, shipped: type[BaseModel]) -> type[BaseModel]:
        """Return this contract's version of a shipped request class, or the class itself if there is none."""
        own: dict[type[BaseModel], type[BaseModel]] = {
            CreditRiskModelInput: self.loan,
            CreditRiskExplanationInput: self.explanation,
            CreditRiskBatchInput: self.batch,
        }
        return own.get(shipped, shipped)


SHIPPED = Contract(CONTRACT_FEATURES, {}, CreditRiskModelInput, CreditRiskExplanationInput, CreditRiskBatchInput)
"""The contract in `schemas`."""


def widest_bounds(name: str) -> Bounds:
    """Return the widest bounds that a field may get.

    Nothing may be below 0. Amount and rate must be above 0, since the instalment divides by them. Values above 10**9
    would overflow the arithmetic.
    """
    return _WIDEST.get(name, _WIDEST_DEFAULT)


def may_be_widened(field: Feature) -> bool:
    """Return whether training may widen a field's bounds. The term itself bounds the instalments due."""
    return field.bounds is not None and field.name != AGE


def widen(bounds: Mapping[str, Bounds]) -> Contract:
    """Return the contract with wider bounds; equal bounds give the same object.

    Args:
        bounds: Bounds by field, each within `widest_bounds` and around the shipped bounds.

    Raises:
        ValueError: A field's bounds can't be widened, or the new ones are invalid; the message names the first field.
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
        wider[name] = _check_bounds(shipped[name], low, high)
    fields = tuple(replace(field, bounds=wider.get(field.name, field.bounds)) for field in CONTRACT_FEATURES)
    loan = _rebuild_request(CreditRiskModelInput, wider)
    explanation = _rebuild_request(CreditRiskExplanationInput, wider)
    of_loans = CreditRiskBatchInput.model_fields["loans"].metadata
    loans = tuple[loan, ...]  # type: ignore[valid-type]  # mypy knows only classes that are defined in the code
    batch = _derive_request(CreditRiskBatchInput, {"loans": (Annotated[loans, *of_loans], ...)})
    return Contract(fields, wider, loan, explanation, batch)


def _check_bounds(field: Feature, low: float, high: float) -> Bounds:
    """Validate a field's wider bounds and return them in the field's own type."""
    assert field.bounds is not None
    (least, most), (lowest, highest) = field.bounds, widest_bounds(field.name)
    if not (low <= least and most <= high):
        raise ValueError(f"{field.name}: {low:.10g} to {high:.10g} is narrower than the contract's {least} to {most}")
    if not (lowest <= low and high <= highest):
        raise ValueError(f"{field.name}: {low:.10g} to {high:.10g} is beyond {lowest:.10g} to {highest:.10g}")
    if field.whole and (low % 1 or high % 1):
        raise ValueError(f"{field.name}: {low:.10g} to {high:.10g} are not whole numbers")
    # Keep the shipped bound itself if it is as wide, so 0 is not written as 0.0.
    low, high = min(least, low), max(most, high)
    return (int(low), int(high)) if field.whole else (low, high)


def _rebuild_request(shipped: type[Any], bounds: Mapping[str, Bounds]) -> type[Any]:
    changed: dict[str, Any] = {}
    for name, ends in bounds.items():
        field = shipped.model_fields[name]
        changed[name] = _replace_bounds(field.annotation, field.metadata, ends), Field(description=field.description)
    return _derive_request(shipped, changed)


def _derive_request(shipped: type[Any], changed: Mapping[str, Any]) -> type[Any]:
    """Create a request class with some fields changed, under the name and description of the shipped class.

    If one OpenAPI document has both, their modules tell them apart.
    """
    return create_model(shipped.__name__, __base__=shipped, __doc__=shipped.__doc__, __module__=__name__, **changed)


def _replace_bounds(annotation: Any, metadata: Iterable[Any], bounds: Bounds) -> Any:
    """Rebuild a field's type with other bounds, also inside a union."""
    parts = [each for part in metadata for each in (part.metadata if isinstance(part, FieldInfo) else [part])]
    ends = {Ge: Ge(bounds[0]), Le: Le(bounds[1])}
    if get_origin(annotation) is Annotated:
        annotation = _replace_bounds(annotation.__origin__, annotation.__metadata__, bounds)
    elif choices := get_args(annotation):
        annotation = reduce(or_, (_replace_bounds(choice, (), bounds) for choice in choices))
    replaced = [ends.get(type(part), part) for part in parts]
    return Annotated[annotation, *replaced] if replaced else annotation
