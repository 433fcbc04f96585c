import math
from pathlib import Path

import pytest

from credit_risk_model import archive
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.schemas import CreditRiskModelInput

BOUNDS: dict[str, tuple[float, float]] = {
    field.name: field.bounds for field in CONTRACT_FEATURES if field.bounds is not None
}


@pytest.fixture
def found(archive_path: Path) -> archive.Archive:
    """The small archive."""
    return archive.read(archive_path, archive.sha256(archive_path.read_bytes()))


def inside(model: archive.LoadedModel) -> list[float]:
    """A row within the training's range, at the upper ends where there are some."""
    return [0.0 if math.isinf(end) else end for end in model.maxima]


def test_ends_are_those_that_the_metadata_records(found: archive.Archive) -> None:
    """Each feature has the smallest and largest value of the training; a category has none."""
    for model in found.loaded:
        record = found.metadata.models[model.features.name]
        assert [feature.name for feature in record.features] == list(model.features.names)
        for feature, least, most in zip(record.features, model.minima, model.maxima, strict=True):
            assert least == (-math.inf if feature.minimum is None else feature.minimum)
            assert most == (math.inf if feature.maximum is None else feature.maximum)
        assert (
            sum(map(math.isinf, model.minima)) == sum(map(math.isinf, model.maxima)) == len(model.features.categories)
        )


def test_value_beyond_the_training_is_placed(found: archive.Archive) -> None:
    """The ends themselves lie within, the next number beyond either does not, and what is not known lies nowhere."""
    for model in found.loaded:
        row = inside(model)
        assert model.places_outside(row) == []
        assert not model.is_outside_training_range(row)
        assert model.places_outside([math.nan] * len(row)) == []
        assert not model.is_outside_training_range([math.nan] * len(row))
        for place, (name, least, most) in enumerate(zip(model.features.names, model.minima, model.maxima, strict=True)):
            if name in model.features.categories:
                continue
            least_row = [*row[:place], least, *row[place + 1 :]]
            assert model.places_outside(least_row) == []
            assert not model.is_outside_training_range(least_row)
            for value in (math.nextafter(least, -math.inf), math.nextafter(most, math.inf)):
                other = [*row[:place], value, *row[place + 1 :]]
                assert model.places_outside(other) == [place]
                smallest, largest = BOUNDS.get(name) or (-math.inf, math.inf)
                if smallest <= value <= largest and name in BOUNDS:
                    assert model.is_outside_training_range(other)


def test_all_values_beyond_the_training_are_placed(found: archive.Archive) -> None:
    """Several values may lie outside, on either side."""
    row = inside(found.without_age)
    row[0], row[3] = found.without_age.minima[0] - 1, found.without_age.maxima[3] + 1
    assert found.without_age.places_outside(row) == [0, 3]
    assert found.without_age.is_outside_training_range(row)


def test_features_that_may_lie_outside_are_those_of_wider_bounds(found: archive.Archive) -> None:
    """A field can lie outside where the training did not have the contract's smallest and largest value."""
    record = found.metadata.models["age_unknown"]
    expected = set()
    for feature in record.features:
        minimum, maximum = feature.minimum, feature.maximum
        if feature.name in BOUNDS and minimum is not None and maximum is not None:
            lowest, highest = BOUNDS[feature.name]
            if lowest < minimum or maximum < highest:
                expected.add(feature.name)
    assert expected
    assert {name for name in found.without_age.names_that_may_lie_outside if name in BOUNDS} == expected
    assert "payments_in_instalments" in found.without_age.names_that_may_lie_outside


def test_features_of_a_loan_beyond_the_training_are_named(found: archive.Archive) -> None:
    """A loan's features are compared with what the model that answers it saw in training."""
    loan = next(each.loan for each in found.golden if not found.features_outside(each.loan))
    for name in ("number_of_delinquent_accounts", "derogatory_public_record_count"):
        beyond = loan.model_copy(update={name: BOUNDS[name][1]})
        assert found.features_outside(beyond) == [name]
        assert found.model_for(beyond).is_outside_training_range(found.model_for(beyond).features.encode_loan(beyond))


def test_age_decides_which_model_answers(found: archive.Archive) -> None:
    """A loan of unknown age, and only that, is answered by the model that needs none."""
    loan = CreditRiskModelInput.model_validate(EXAMPLE_LOAN)
    assert found.model_for(loan) is found.with_age
    assert found.model_for(loan.model_copy(update={"instalments_due": 0})) is found.with_age
    assert found.model_for(loan.model_copy(update={"instalments_due": None})) is found.without_age
    assert found.loaded == (found.with_age, found.without_age)
