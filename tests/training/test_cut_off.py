import numpy as np
import pandas as pd
import pytest

from credit_risk_model.training import cut_off

RISKY = np.array([0, 0, 0, 1, 0, 1, 1, 0, 1, 1])
PROBABILITY = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.6, 0.7, 0.8, 0.9])


def test_cut_off_gives_the_best_f1() -> None:
    """Of all thresholds, the chosen one has the best F1 of the risky class."""
    rng = np.random.default_rng(2)
    risky = pd.Series(rng.integers(0, 2, 500))
    probability = np.clip(risky * 0.2 + rng.random(500) * 0.8, 0, 1).round(3).to_numpy()

    def f1(threshold: float) -> float:
        called = probability >= threshold
        return 2 * float((called & (risky == 1)).sum()) / float(called.sum() + risky.sum())

    assert f1(cut_off.choose_cut_off(risky, probability)) == max(f1(threshold) for threshold in probability)


def test_cut_off_of_a_perfect_model_is_allowed() -> None:
    """Probabilities of exactly 0 and 1 still give a cut-off that a model may have."""
    assert cut_off.choose_cut_off(pd.Series([0, 0, 1, 1]), np.array([0.0, 0.0, 1.0, 1.0])) == 0.9999


def test_cut_off_by_cost_is_the_cheapest() -> None:
    """The dearer a missed risky loan is, the lower lies the cut-off; for a calibrated model at 1 / (1 + ratio)."""
    rng = np.random.default_rng(3)
    probability = rng.random(50_000)
    risky = (rng.random(50_000) < probability).astype(int)
    for ratio in (1, 4, 9):
        assert cut_off.choose_cut_off_by_cost(risky, probability, ratio) == pytest.approx(1 / (1 + ratio), abs=0.05)


def test_costs_are_counted_at_each_cut_off() -> None:
    """Precision, recall, loans called risky and cost of a cut-off are what counting by hand gives."""
    table = cut_off.tabulate_costs(cut_off.measure_costs(RISKY, PROBABILITY, cost_ratio=5))
    # At 0.5 four of the five risky loans are found, and one of the safe ones is called risky.
    assert table.loc[0.5].to_dict() == {"precision": 0.8, "recall": 0.8, "called_risky": 5, "expected_cost": 0.6}
    assert "expected_cost" not in cut_off.tabulate_costs(cut_off.measure_costs(RISKY, PROBABILITY, cost_ratio=None))


def test_plot_of_costs_is_titled_and_labelled() -> None:
    """The plot shows a line for each figure and one for the cut-off, and names both axes."""
    (axes,) = cut_off.plot_costs(cut_off.measure_costs(RISKY, PROBABILITY, 5), 0.5).axes
    assert [line.get_label() for line in axes.lines] == [
        "precision",
        "recall",
        "expected cost, of the largest",
        "cut-off",
    ]
    assert all((axes.get_title(), axes.get_xlabel(), axes.get_ylabel()))
