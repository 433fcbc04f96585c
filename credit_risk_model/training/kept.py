"""Keeps the value of a notebook's step for later steps."""

from typing import Generic, TypeVar

from credit_risk_model.errors import StepLeftOutError

_Value = TypeVar("_Value")


class Kept(Generic[_Value]):
    """The value of a step, available once the step has run.

    Attributes:
        step: The method that sets it.
    """

    def __init__(self, step: str) -> None:
        """Create it without a value."""
        self.step = step
        self._values: tuple[_Value, ...] = ()

    def keep(self, value: _Value) -> _Value:
        """Set the step's value, replacing an earlier one; returns it."""
        self._values = (value,)
        return value

    def get(self) -> _Value:
        """Return the step's value.

        Raises:
            StepLeftOutError: The step has not run.
        """
        if not self._values:
            raise StepLeftOutError(f"The step {self.step} was left out: call training.{self.step}() first.")
        return self._values[0]
