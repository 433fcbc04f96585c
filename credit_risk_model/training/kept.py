"""What a step of the notebook left for the steps after it."""

from typing import Generic, TypeVar

from credit_risk_model.errors import StepLeftOutError

_Value = TypeVar("_Value")


class Kept(Generic[_Value]):
    """The value of a step, once the step was taken.

    Attributes:
        step: The method that brings it.
    """

    def __init__(self, step: str) -> None:
        """Begin without a value."""
        self.step = step
        self._values: tuple[_Value, ...] = ()

    def keep(self, value: _Value) -> _Value:
        """Keep the step's value, instead of an earlier one; returns it."""
        self._values = (value,)
        return value

    def get(self) -> _Value:
        """Return the step's value.

        Raises:
            StepLeftOutError: The step was not taken.
        """
        if not self._values:
            raise StepLeftOutError(f"The step {self.step} was left out: call training.{self.step}() first.")
        return self._values[0]
