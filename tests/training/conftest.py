"""A small training, and what it found."""

from pathlib import Path

import pytest

from credit_risk_model.training.pipeline import Settings, Training, run
from credit_risk_model.training.trained import Trained


@pytest.fixture(scope="session")
def finished(book_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, Path]:
    """A whole training of the small book, and its archive."""
    folder = tmp_path_factory.mktemp("trained")
    settings = Settings(
        data=book_path,
        output=folder / "1.zip",
        search_log=folder / "search.log",
        max_iter=2,
        max_trees=40,
        max_leaves=31,
    )
    training = Training(settings)
    return training, run(training)


@pytest.fixture(scope="session")
def trained(finished: tuple[Training, Path]) -> Trained:
    """The results of the training."""
    return finished[0].trained()
