"""How much JSON a request can need, by its schema: whatever has more is refused before it is validated.

Each unknown field, each loan without its fields is an error or several, and each error holds a copy of what it is of:
a batch of 300,000 empty loans would take half a minute and 4.8 GB of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from credit_risk_model.service.errors import RequestRefused

_SLACK = {"objects": 1, "arrays": 1, "names": 2, "commas": 2}
_MORE = 16
"""Times what the schema allows, and so many more: a list a little too long, a field too many are told as such."""
_SIGNS = {b"{": "objects", b"[": "arrays", b":": "names", b",": "commas"}


@dataclass(frozen=True, slots=True)
class _Needs:
    """The most of each that a value of a schema needs."""

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
    """Counts the signs of a body's JSON, which takes microseconds."""

    def __init__(self, schema: type[BaseModel]) -> None:
        """Read the bounds off a schema; what it does not bound is not bounded here."""
        document = schema.model_json_schema()
        needs = _needs_of(document, document.get("$defs", {}), 0)
        most = (needs.objects, needs.arrays, needs.names, needs.values)
        self._most = [
            (sign, int(_SLACK[what] * number) + _MORE, what)
            for (sign, what), number in zip(_SIGNS.items(), most, strict=True)
            if number != float("inf")
        ]

    def check(self, body: bytearray) -> None:
        """Refuse a body that has more than its schema can need.

        Raises:
            RequestRefused: It has.
        """
        for sign, most, what in self._most:
            if (found := body.count(sign)) > most:
                message = f"The body has {found} JSON {what}, of which {most} are taken at most."
                raise RequestRefused(400, "invalid", "ValidationError", [message])


_ANY = _Needs(*(float("inf"),) * 4)
_DEEPEST = 16


def _needs_of(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> _Needs:
    if depth > _DEEPEST:  # a schema that contains itself
        return _ANY
    if "$ref" in schema:
        return _needs_of(definitions[schema["$ref"].rpartition("/")[2]], definitions, depth + 1)
    if choices := [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        needs = _Needs()
        for choice in choices:
            needs = needs.or_else(_needs_of(choice, definitions, depth + 1))
        return needs
    if schema.get("type") == "array":
        items = _needs_of(schema.get("items", {}), definitions, depth + 1)
        return _Needs(arrays=1) + items.times(schema.get("maxItems", float("inf")))
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        needs = _Needs(objects=1, names=len(fields))
        for field in fields.values():
            needs += _needs_of(field, definitions, depth + 1)
        return needs if fields or schema.get("additionalProperties") is False else _ANY
    return _Needs() if "type" in schema or "enum" in schema or "const" in schema else _ANY
