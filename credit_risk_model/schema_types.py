"""What the contract's fields are made of: levels of a category, whole numbers, bounds that hang on other fields."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema


class Level(str, Enum):  # noqa: UP042  # StrEnum has no place for a code
    """A closed set of category levels, in the order in which the model numbers them.

    Attributes:
        code: Place of the level in its class, from 0; a float, since that is what the model's row holds.
    """

    code: float

    def __new__(cls, value: str) -> Self:
        """Create a member that knows its place."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.code = float(len(cls.__members__))
        return member


@dataclass(frozen=True, slots=True)
class Column:
    """The field's column in Kaggle's `loan.csv`; travels in the field's metadata and stays out of the JSON Schema."""

    name: str


class WholeNumber:
    """Accepts what JSON Schema calls an integer: 5 and 5.0, but neither "5" nor true nor 5.5.

    Pydantic's lax integers take strings and booleans, its strict ones refuse 5.0, which JSON encoders that hold the
    number as a float (pandas among them) send. Both steps run in pydantic's compiled core.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate as a strict float, then as the bounded integer."""
        return core_schema.chain_schema([core_schema.float_schema(strict=True), handler(source)])

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the integer, not the float before it."""
        return handler(schema["steps"][-1])


class WithinTerm:
    """Accepts no more instalments than the loan's term has, which must be validated before."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate the number, then compare it with the term."""
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    @staticmethod
    def _check(due: int | None, info: core_schema.ValidationInfo) -> int | None:
        term = info.data.get("term")  # absent where it is not valid itself
        if due is not None and term is not None and due > term.months:
            raise PydanticKnownError("less_than_equal", {"le": term.months})
        return due


@dataclass(frozen=True, slots=True)
class Counted:
    """Bounds how many items a list has, once all of them are valid.

    Pydantic's own bounds count the valid ones of those that are not: a list of one wrong item would also be too short.
    """

    minimum: int
    maximum: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate the items, then their number."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the bounds as JSON Schema does."""
        return {**handler(schema), "minItems": self.minimum, "maxItems": self.maximum}

    def _check(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        details: dict[str, Any] = {"field_type": "List", "actual_length": len(items)}
        if len(items) < self.minimum:
            raise PydanticKnownError("too_short", {**details, "min_length": self.minimum})
        if len(items) > self.maximum:
            raise PydanticKnownError("too_long", {**details, "max_length": self.maximum})
        return items
