"""Building blocks of the contract's fields: levels of a category, whole numbers, bounds that depend on other fields."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema


class Level(str, Enum):  # noqa: UP042  # StrEnum has no place for a code
    """A closed set of category levels, in the order in which the model numbers them.

    Attributes:
        code: Index of the level in its class, from 0; a float, as in the model's row.
    """

    code: float

    def __new__(cls, value: str) -> Self:
        """Create a member with its code."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.code = float(len(cls.__members__))
        return member


@dataclass(frozen=True, slots=True)
class Column:
    """A field's column in Kaggle's `loan.csv`; part of the field's metadata, but not of the JSON Schema."""

    name: str


class WholeNumber:
    """Accepts what JSON Schema calls an integer: 5 and 5.0, but neither "5" nor true nor 5.5.

    Pydantic's lax integers accept strings and booleans. Its strict integers refuse 5.0, which JSON encoders send for
    floats (pandas does). Both steps run in pydantic's compiled core.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate as a strict float, then as the bounded integer."""
        return core_schema.chain_schema([core_schema.float_schema(strict=True), handler(source)])

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of the integer, not of the float."""
        return handler(schema["steps"][-1])


class WithinTerm:
    """Limits the instalments due to the loan's term, which must be validated first."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate the number, then compare it with the term."""
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    @staticmethod
    def _check(due: int | None, info: core_schema.ValidationInfo) -> int | None:
        term = info.data.get("term")  # absent if it is invalid
        if due is not None and term is not None and due > term.months:
            raise PydanticKnownError("less_than_equal", {"le": term.months})
        return due


@dataclass(frozen=True, slots=True)
class Counted:
    """Bounds the number of items of a list whose items are all valid.

    Pydantic's own bounds count only valid items: a list with one invalid item would also be too short.
    """

    minimum: int
    maximum: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate the items, then count them."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the JSON Schema with the bounds."""
        return {**handler(schema), "minItems": self.minimum, "maxItems": self.maximum}

    def _check(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        details: dict[str, Any] = {"field_type": "List", "actual_length": len(items)}
        if len(items) < self.minimum:
            raise PydanticKnownError("too_short", {**details, "min_length": self.minimum})
        if len(items) > self.maximum:
            raise PydanticKnownError("too_long", {**details, "max_length": self.maximum})
        return items
