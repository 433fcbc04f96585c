import math
from dataclasses import replace
from pathlib import Path

import pytest

from credit_risk_model import archive
from credit_risk_model.archive import LoadedModel
from credit_risk_model.contract import widen


@pytest.fixture
def models(archive_path: Path) -> tuple[LoadedModel, ...]:
    """The models of the small archive."""
    return archive.read(archive_path, archive.sha256(archive_path.read_bytes())).loaded


def allowed(model: LoadedModel) -> list[tuple[float, float]]:
    """The bounds of each feature: the contract's, those of a derived feature, or none."""
    bounds = model.contract.bounds
    return [bounds.get(each.name) or each.bounds or (-math.inf, math.inf) for each in model.features.features]


def with_range(model: LoadedModel, minima: list[float], maxima: list[float]) -> LoadedModel:
    """The model as if its training had had another range."""
    return replace(model, minima=tuple(minima), maxima=tuple(maxima))


def test_limits_are_those_that_a_valid_loan_can_pass(models: tuple[LoadedModel, ...]) -> None:
    """A limit is checked where the bounds allow a value beyond it, and only there."""
    for model in models:
        bounds = allowed(model)
        assert model.may_fall_below == tuple(
            (place, least) for place, least in enumerate(model.minima) if least > bounds[place][0]
        )
        assert model.may_exceed == tuple(
            (place, most) for place, most in enumerate(model.maxima) if most < bounds[place][1]
        )
        assert model.may_fall_below
        assert model.may_exceed


def test_training_over_all_of_the_bounds_leaves_no_limits(models: tuple[LoadedModel, ...]) -> None:
    """Where the training had the smallest and the largest value that is allowed, nothing lies outside its range."""
    for model in models:
        bounds = allowed(model)
        whole = with_range(model, [least for least, _ in bounds], [most for _, most in bounds])
        assert (whole.may_fall_below, whole.may_exceed, whole.names_that_may_lie_outside) == ((), (), set())


def test_each_side_of_the_range_is_a_limit_of_its_own(models: tuple[LoadedModel, ...]) -> None:
    """A feature may be limited on one side alone; the row that passes it is found, and no other."""
    for model in models:
        bounds = allowed(model)
        minima, maxima = [least for least, _ in bounds], [most for _, most in bounds]
        minima[0], maxima[-1] = 2000.0, 0.5
        found = with_range(model, minima, maxima)
        assert found.may_fall_below == ((0, 2000.0),)
        assert found.may_exceed == ((len(bounds) - 1, 0.5),)
        assert found.names_that_may_lie_outside == {model.features.names[0], model.features.names[-1]}
        row = [2000.0] + [0.0] * (len(bounds) - 2) + [0.5]
        assert not found.is_outside_training_range(row)
        assert found.is_outside_training_range([1999.0, *row[1:]])
        assert found.is_outside_training_range([*row[:-1], 0.75])


def test_wider_contract_allows_values_beyond_the_training(models: tuple[LoadedModel, ...]) -> None:
    """The limits follow from the contract of the archive, not from the shipped one."""
    wider = widen({"loan_amount": (500, 40_000)})
    for model in models:
        place = model.features.names.index("loan_amount")
        maxima = [*model.maxima[:place], 35_000.0, *model.maxima[place + 1 :]]
        assert place not in dict(replace(model, maxima=tuple(maxima)).may_exceed)
        assert dict(replace(model, maxima=tuple(maxima), contract=wider).may_exceed)[place] == 35_000.0


def test_archive_without_a_model_for_known_ages_has_one_model(archive_path: Path) -> None:
    """Every loan is then answered by the model that needs no age, also one whose age is known."""
    whole = archive.read(archive_path, archive.sha256(archive_path.read_bytes()))
    found = replace(whole, with_age=None)
    assert found.loaded == (whole.without_age,)
    for golden in found.golden:
        row = whole.without_age.features.encode_loan(golden.loan)
        assert found.model_for(golden.loan) is whole.without_age
        assert found.evaluate(golden.loan) == whole.without_age.booster.predict_row(row)
