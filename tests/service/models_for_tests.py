"""Models that a service is given to see what it does with them."""

import time
from pathlib import Path
from typing import cast

from ml_base import MLModel, MLModelDecorator
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel

from credit_risk_model.prediction.served import RequestLimits


class Wish(BaseModel):
    """What a model is asked to do."""

    seconds: float = 0
    until: str | None = None


class Done(BaseModel):
    """That it did."""

    done: bool = True


class SlowModel(MLModel):
    """Takes as long as it is asked to."""

    display_name = qualified_name = "slow"
    description = "Sleeps for some seconds, and until a file is there."
    version = "1"
    input_schema = Wish
    output_schema = Done
    limits = RequestLimits(takes_long=True)

    def __init__(self) -> None:
        """Load nothing."""

    def predict(self, data: Wish) -> Done:
        """Sleep."""
        time.sleep(data.seconds)
        while data.until is not None and not Path(data.until).exists():
            time.sleep(0.01)
        return Done()


class SlowToLoadModel(SlowModel):
    """Takes its time to load."""

    display_name = qualified_name = "slow_to_load"

    def __init__(self) -> None:
        """Load for a second."""
        time.sleep(1)


class BrokenModel(SlowModel):
    """Fails with an error that quotes something secret."""

    display_name = qualified_name = "broken"
    limits = RequestLimits()

    def predict(self, data: Wish) -> Done:
        """Fail."""
        raise RuntimeError("secret of a borrower")


class ChoosyModel(SlowModel):
    """Refuses a loan that its schema lets pass, in ml_base's own way."""

    display_name = qualified_name = "choosy"
    limits = RequestLimits()

    def predict(self, data: Wish) -> Done:
        """Refuse."""
        raise MLModelSchemaValidationException("not today")


class OddModel(SlowModel):
    """Answers what JSON can't hold."""

    display_name = qualified_name = "odd"
    limits = RequestLimits()

    def predict(self, data: Wish) -> Done:
        """Answer oddly."""
        return Done.model_construct(done=cast("bool", object()))


class LateModel(SlowModel):
    """Needs long to load."""

    display_name = qualified_name = "late"

    def __init__(self) -> None:
        """Load slowly."""
        time.sleep(4)


class FormalModel(MLModel):
    """Tells its names and schemas by properties, as ml_base's guide has it, and can't be loaded."""

    def __init__(self) -> None:
        """Fail."""
        raise RuntimeError("not to be loaded")

    @property
    def display_name(self) -> str:
        """Name to read."""
        return "Formal"

    @property
    def qualified_name(self) -> str:
        """Name in paths."""
        return "formal"

    @property
    def description(self) -> str:
        """What it does."""
        return "Does nothing."

    @property
    def version(self) -> str:
        """Its version."""
        return "1"

    @property
    def input_schema(self) -> type[BaseModel]:
        """What it takes."""
        return Wish

    @property
    def output_schema(self) -> type[BaseModel]:
        """What it answers."""
        return Done

    def predict(self, data: Wish) -> Done:
        """Do it."""
        return Done()


class Doubling(MLModelDecorator):
    """Answers twice."""

    class Twice(BaseModel):
        """Two answers."""

        first: Done
        second: Done

    @property
    def output_schema(self) -> type[BaseModel]:
        """Two answers."""
        return self.Twice
