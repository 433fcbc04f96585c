import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import HYPERPARAMETERS

from credit_risk_model import archive
from credit_risk_model.errors import ConfigurationError, DataError, StepLeftOutError
from credit_risk_model.training import book, fitting, held_out, measuring
from credit_risk_model.training.kept import Kept
from credit_risk_model.training.pipeline import Settings, Training
from credit_risk_model.training.trained import Trained

ROOT = Path(__file__).parents[2]


def test_nothing_is_chosen_by_the_test_set(
    finished: tuple[Training, Path], trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds and fit get no loan of the test set, in any of the splits."""
    loans, drawn = finished[0].loans, trained.split
    seen: list[set[int]] = []

    def spy(name: str) -> None:
        real = getattr(fitting, name)

        def call(training: pd.DataFrame, *arguments: Any, **settings: Any) -> Any:
            seen.append(set(training.index))
            return real(training, *arguments, **settings)

        monkeypatch.setattr(fitting, name, call)

    for name in ("predict_out_of_fold", "fit"):
        spy(name)
    recipe = dataclasses.replace(trained.fit.recipe, hyperparameters=HYPERPARAMETERS)  # on which loans is what matters
    measuring.fit_and_measure(drawn, recipe)
    assert len(seen) >= 2
    assert all(index == set(drawn.training.index) for index in (seen[0], seen[-1]))
    assert not set.union(*seen) & set(drawn.test.index)
    seen.clear()
    held_out.repeat_splits(loans, recipe)
    for seed in held_out.SPLIT_SEEDS:
        assert set(fitting.split(loans, seed).training.index) in seen


STEPS = (
    ("read", "clean"),
    ("clean", "profile"),
    ("clean", "check_data"),
    ("clean", "draw_test_set"),
    ("draw_test_set", "check_split"),
    ("profile", "fit_baselines"),
    ("check_data", "fit_baselines"),
    ("check_split", "fit_baselines"),
    ("fit_baselines", "search"),
    ("search", "fit"),
    ("fit", "stability"),
    ("fit", "out_of_time"),
    ("fit", "source_left_out"),
    ("fit", "other_splits"),
    ("fit", "check_model"),
    ("fit", "curves"),
    ("fit", "decisions"),
    ("draw_test_set", "backdated"),
    ("package", "summary"),
    ("package", "next_steps"),
    *((step, "package") for step in ("stability", "out_of_time", "source_left_out", "other_splits", "check_model")),
)
"""Steps with one that needs them."""


class StandIn(Training):
    """A training that takes its results from a finished one, so that any step can be left out."""

    def __init__(self, done: Training, left_out: str) -> None:
        super().__init__(done.settings)
        for name, kept in vars(done).items():
            if isinstance(kept, Kept) and kept.step not in {left_out, "package"}:
                getattr(self, name).keep(kept.get())


@pytest.mark.parametrize(("left_out", "step"), STEPS)
def test_step_that_was_left_out_is_named_by_the_one_that_needs_it(
    left_out: str, step: str, finished: tuple[Training, Path]
) -> None:
    """What was not looked at does not pass; a report that is missing is found before the long work."""
    hasty = StandIn(finished[0], left_out)
    with pytest.raises(StepLeftOutError, match=rf"The step {left_out} was left out: call training\.{left_out}\(\)"):
        getattr(hasty, step)()


def test_suites_share_the_columns_that_were_derived_once(
    finished: tuple[Training, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suite on the split derives nothing: it takes the rows of the table that the first suite was run on."""
    again = StandIn(finished[0], "check_split")
    monkeypatch.delattr(fitting, "derive_columns")
    assert again.check_split().columns[-1] == "why that is acceptable"


def test_training_writes_nothing_when_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without data, the synthetic book is made when the loans are read, not before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOAN_DATA", raising=False)
    Training(Settings(synthetic_rows=500))
    assert list(tmp_path.iterdir()) == []


def test_end_of_a_training_says_what_to_do(finished: tuple[Training, Path], trained: Trained) -> None:
    """Path and digest stand in two lines of YAML, ready to paste, and the figures beside those of the arrears rule."""
    training, path = finished
    lines = training.next_steps().splitlines()
    assert f"      archive: {path}" in lines
    assert f"      sha256: {archive.sha256(path.read_bytes())}" in lines
    summary = training.summary()
    assert summary.columns.tolist()[:2] == ["1.zip", "arrears rule"]
    assert summary.loc["AUC, running loans", "1.zip"] == round(trained.fit.segments["running"].auc or 0, 4)


def test_cut_off_by_cost_is_lower_where_missing_is_dear(trained: Trained) -> None:
    """With a ratio of costs the cut-off is the cheapest one, and the table tells the cost of each."""
    dear = measuring.fit_and_measure(trained.split, dataclasses.replace(trained.fit.recipe, cost_ratio=20))
    assert dear.cut_off <= trained.fit.cut_off
    costs = {cost.cut_off: cost.expected_cost for cost in dear.costs}
    assert costs[dear.cut_off] == min(cost for cost in costs.values() if cost is not None)


@pytest.mark.parametrize(
    "wrong", [{"cost_ratio": 0}, {"cost_ratio": "5"}, {"as_of": "soon"}, {"max_iter": 0}, {"widen_bounds": "yes"}]
)
def test_impossible_setting_is_refused_before_the_work(wrong: dict[str, Any], book_path: Path) -> None:
    """A setting that can't be is refused when the training is made."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Training(Settings(data=book_path, **wrong))


def test_missing_data_is_an_error_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the setting or LOAN_DATA names must exist; nothing else is taken in its place."""
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        Training(Settings(data=tmp_path / "none.csv")).read()
    monkeypatch.setenv("LOAN_DATA", str(tmp_path / "other.csv"))
    with pytest.raises(DataError, match=r"other\.csv: no such file"):
        Training(Settings()).read()


def test_without_data_a_synthetic_book_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a data file, the training logs a warning and makes a synthetic book."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOAN_DATA", raising=False)
    training = Training(Settings(synthetic_rows=500))
    counted = training.read()
    assert "training on a SYNTHETIC loan book of 500 loans" in caplog.text
    assert training.synthetic
    assert counted["loans"].sum() == 500
    assert [path.name for path in tmp_path.rglob("*.csv")] == [book.SYNTHETIC_DATA.name]


def test_command_line_trains_and_reports_errors(tmp_path: Path) -> None:
    """The command's error is one line, and its exit code tells."""
    command = [sys.executable, "-m", "credit_risk_model.training.pipeline", "--data", str(tmp_path / "none.csv")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "python -m credit_risk_model.training.pipeline: none.csv: no such file. "
        "Run `make data`, or set LOAN_DATA to a loan.csv."
    )
