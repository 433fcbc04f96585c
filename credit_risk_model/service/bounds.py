"""Bounds on the JSON of a body, derived from its schema: a body beyond them is refused before it is validated.

Each unknown field and each empty loan causes one or more errors, and each error holds a copy of its input. A batch of
300,000 empty loans would take half a minute and 4.8 GB.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from credit_risk_model.service.errors import RequestRefused

_SLACK = {"objects": 1, "arrays": 1, "names": 2, "commas": 2}
_ALLOWANCE = 16
"""Factor and constant above what the schema allows, so slightly too many items or fields get precise errors."""
_CHARACTERS = {b"{": "objects", b"[": "arrays", b":": "names", b",": "commas"}


@dataclass(frozen=True, slots=True)
class _Needs:
    """The most of each kind of token that a value of a schema needs."""

    objects: float = 0
    arrays: float = 0
    names: float = 0
    values: float = 1

    def __add__(self, other: "_Needs") -> "_Needs":
        return _Needs(*(getattr(self, each) + getattr(other, each) for each in self.__slots__))

    def times(self, number: float) -> "_Needs":
        return _Needs(*(getattr(self, each) * number if getattr(self, each) else 0 for each in self.__slots__))

    def or_else(self, other: "_Needs") -> "_Needs":
        return _Needs(*(max(getattr(self, each), getattr(other, each)) for each in self.__slots__))


class JsonBounds:
    """Counts the structural characters of a JSON body, which takes microseconds."""

    def __init__(self, schema: type[BaseModel]) -> None:
        """Derive the bounds from a schema; unbounded parts of it get no bound."""
        document = schema.model_json_schema()
        needs = _compute_needs(document, document.get("$defs", {}), 0)
        most = (needs.objects, needs.arrays, needs.names, needs.values)
        self._most = [
            (sign, int(_SLACK[what] * number) + _ALLOWANCE, what)
            for (sign, what), number in zip(_CHARACTERS.items(), most, strict=True)
            if number != float("inf")
        ]

    def check(self, body: bytearray) -> None:
        """Refuse a body with more JSON than its schema can need.

        Raises:
            RequestRefused: The body exceeds a bound.
        """
        for sign, most, what in self._most:
            if (found := body.count(sign)) > most:
                message = f"The body has {found} JSON {what}; the maximum is {most}."
                raise RequestRefused(400, "invalid", "ValidationError", [message])


_ANY = _Needs(*(float("inf"),) * 4)
_MAX_DEPTH = 16


def _compute_needs(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> _Needs:
    if depth > _MAX_DEPTH:  # a recursive schema
        return _ANY
    if "$ref" in schema:
        return _compute_needs(definitions[schema["$ref"].rpartition("/")[2]], definitions, depth + 1)
    if choices := [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        needs = _Needs()
        for choice in choices:
            needs = needs.or_else(_compute_needs(choice, definitions, depth + 1))
        return needs
    if schema.get("type") == "array":
        items = _compute_needs(schema.get("items", {}), definitions, depth + 1)
        return _Needs(arrays=1) + items.times(schema.get("maxItems", float("inf")))
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        needs = _Needs(objects=1, names=len(fields))
        for field in fields.values():
            needs += _compute_needs(field, definitions, depth + 1)
        return needs if fields or schema.get("additionalProperties") is False else _ANY
    return _Needs() if "type" in schema or "enum" in schema or "const" in schema else _ANY
