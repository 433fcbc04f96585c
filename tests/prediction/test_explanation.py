import math
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from credit_risk_model import archive, features, reasons
from credit_risk_model.errors import ConfigurationError, ModelArchiveError
from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import (
    Caution,
    CreditRisk,
    CreditRiskExplanationInput,
    CreditRiskExplanationOutput,
    CreditRiskModelInput,
)
from credit_risk_model.training.fitting import Fitted

FACTS = {feature.name: feature.fact for wanted in features.FEATURE_SETS for feature in wanted.features}


@pytest.fixture(scope="module")
def model(archive_path: Path) -> CreditRiskExplanation:
    """The explanation on the small archive."""
    return CreditRiskExplanation(archive=str(archive_path))


@pytest.fixture(scope="module")
def golden(archive_path: Path) -> list[dict[str, Any]]:
    """Made-up loans of all kinds."""
    return [example.loan.model_dump(mode="json") for example in archive.read(archive_path).golden]


def explain(model: CreditRiskExplanation, loan: dict[str, Any], **wishes: int) -> CreditRiskExplanationOutput:
    """The answer to a request."""
    return model.predict(CreditRiskExplanationInput.model_validate(loan | wishes))


def logit(probability: float) -> float:
    """The log-odds of a probability."""
    return math.log(probability / (1 - probability))


def draw(feature: features.Feature) -> st.SearchStrategy[Any]:
    """Any value that the contract allows in a field."""
    if feature.bounds is None:
        values: st.SearchStrategy[Any] = st.sampled_from(feature.levels)
    elif feature.whole:
        values = st.integers(*map(int, feature.bounds))
    else:
        values = st.floats(*feature.bounds)
    return values | st.none() if feature.nullable else values


def loans() -> st.SearchStrategy[dict[str, Any]]:
    """Any valid loan, with its age and without, with nulls where they may be."""
    return st.fixed_dictionaries({feature.name: draw(feature) for feature in features.CONTRACT_FEATURES}).map(
        lambda loan: loan | {features.AGE: loan[features.AGE] and min(loan[features.AGE], 36)}
    )


@given(loans())
def test_contributions_add_up(model: CreditRiskExplanation, loan: dict[str, Any]) -> None:
    """For any valid loan, baseline and contributions together are the probability."""
    answer = explain(model, loan, max_reasons=99)
    score = logit(answer.baseline_probability) + math.fsum(reason.contribution for reason in answer.reasons)
    assert score == pytest.approx(logit(answer.risk_probability), abs=1e-9)


def test_contributions_are_lightgbms_own(
    model: CreditRiskExplanation, golden: list[dict[str, Any]], fitted: Fitted
) -> None:
    """Each reason's contribution is, bit for bit, the TreeSHAP value that LightGBM's own package gives."""
    for loan in golden:
        known = loan[features.AGE] is not None
        wanted, estimator = (
            (features.AGE_KNOWN, fitted.with_age) if known else (features.AGE_UNKNOWN, fitted.without_age)
        )
        assert estimator is not None
        row = np.array([wanted.encode_loan(CreditRiskModelInput.model_validate(loan))], dtype=float)
        (expected,) = estimator.booster_.predict(row, pred_contrib=True)
        found = {reason.feature: reason.contribution for reason in explain(model, loan, max_reasons=99).reasons}
        assert [found.get(name, 0.0) for name in wanted.names] == expected[:-1].tolist()


CORNERS = 100_000


@pytest.mark.parametrize("wanted", features.FEATURE_SETS, ids=lambda wanted: wanted.name)
def test_contributions_at_the_contracts_corners_are_finite_and_add_up(
    wanted: features.FeatureSet, archive_path: Path
) -> None:
    """For 100,000 loans at the ends of the contract's bounds, contributions are finite and lead to the score."""
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {}
    for feature in features.CONTRACT_FEATURES:
        ends = np.array(feature.levels or feature.bounds, dtype=object)
        columns[feature.name] = rng.choice(ends, CORNERS)
    months = np.array([features.TERM_MONTHS[term] for term in columns["term"]])
    columns[features.AGE] = rng.choice([0, 1, 35, 60], CORNERS).clip(max=months)
    numbers = {name: column for name, column in columns.items() if not isinstance(column[0], str)}
    table = {name: column.astype(float) for name, column in numbers.items()} | {"term": columns["term"]}
    for feature in features.CONTRACT_FEATURES:
        if feature.nullable and feature.name != features.AGE and not feature.levels:
            table[feature.name][rng.random(CORNERS) < 0.1] = np.nan
    derived = features.derive_columns(table, wanted)
    codes = {
        feature.name: np.array([feature.levels.index(level) for level in columns[feature.name]], dtype=float)
        for feature in wanted.contract
        if feature.levels
    }
    rows = np.column_stack([(table | codes | derived)[name] for name in wanted.names]).astype(float)
    own = archive.read(archive_path)
    packaged = own.with_age if wanted is features.AGE_KNOWN else own.without_age
    assert packaged is not None
    with zipfile.ZipFile(archive_path) as contents:
        text = contents.read(archive.MODELS[wanted.name]).decode()
    booster = lgb.Booster(model_str=text)
    found = np.asarray(booster.predict(rows, pred_contrib=True))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), booster.predict(rows, raw_score=True), atol=1e-9)
    for row in rows[:200].tolist():
        np.testing.assert_allclose(
            math.fsum(packaged.booster.contributions(row)), logit(packaged.booster.predict_row(row)), atol=1e-9
        )


@given(loans())
def test_reasons_are_distinct_facts(model: CreditRiskExplanation, loan: dict[str, Any]) -> None:
    """Of the principal reasons no two rest on the same fields, and no two restate the same payment."""
    reasons_given = explain(model, loan).reasons
    fields = [reason.fields for reason in reasons_given]
    assert len(set(fields)) == len(fields)
    facts = [FACTS[reason.feature] for reason in reasons_given]
    assert len(set(facts)) == len(facts)


def test_probability_and_decision_are_the_models(
    model: CreditRiskExplanation, golden: list[dict[str, Any]], archive_path: Path
) -> None:
    """The explanation never differs from the prediction, not by a bit."""
    plain = CreditRiskModel(archive=str(archive_path))
    for loan in golden:
        expected = plain.predict(CreditRiskModelInput.model_validate(loan))
        answer = explain(model, loan)
        assert (answer.credit_risk, answer.risk_probability) == (expected.credit_risk, expected.risk_probability)


def test_at_most_four_reasons_all_for_the_decision(model: CreditRiskExplanation, golden: list[dict[str, Any]]) -> None:
    """Without a wish, an answer names up to four reasons, all of them for the decision."""
    answers = [explain(model, loan) for loan in golden]
    assert {answer.credit_risk for answer in answers} == set(CreditRisk)
    for answer in answers:
        assert 1 <= len(answer.reasons) <= 4
        assert {reason.direction for reason in answer.reasons} == {answer.credit_risk}


def test_reasons_are_the_strongest_first(model: CreditRiskExplanation, golden: list[dict[str, Any]]) -> None:
    """What is named moved the score at least as much as what is left out, the strongest first."""
    for loan in golden:
        account = explain(model, loan, max_reasons=99).reasons
        strengths = [abs(reason.contribution) for reason in account]
        assert strengths == sorted(strengths, reverse=True)
        assert explain(model, loan, max_reasons=6).reasons == account[:6]
        answer = explain(model, loan, max_reasons=2)
        for_decision = [reason for reason in account if reason.direction is answer.credit_risk]
        assert answer.reasons[0] == for_decision[0]
        assert set(answer.reasons) <= set(for_decision)


def test_no_reason_is_invented(model: CreditRiskExplanation, golden: list[dict[str, Any]]) -> None:
    """A feature that did not move the score is no reason, however many are asked for."""
    for loan in golden:
        account = explain(model, loan, max_reasons=99).reasons
        assert all(reason.contribution != 0 for reason in account)
        assert len(account) <= len(features.AGE_KNOWN.features)


def test_reasons_say_what_they_come_from(model: CreditRiskExplanation, loan: dict[str, Any]) -> None:
    """Each reason has the loan's own value, its fields, the direction of its sign and the table's sentence."""
    request = CreditRiskModelInput.model_validate(loan)
    row = features.AGE_KNOWN.encode_loan(request)
    values: dict[str, Any] = dict(zip(features.AGE_KNOWN.names, row, strict=True))
    values = {name: None if math.isnan(value) else value for name, value in values.items()} | loan
    fields = {feature.name: feature.fields for feature in features.AGE_KNOWN.features}
    for reason in explain(model, loan, max_reasons=99).reasons:
        assert reason.value == values[reason.feature]
        assert reason.fields == fields[reason.feature]
        assert reason.direction is (CreditRisk.RISKY if reason.contribution > 0 else CreditRisk.SAFE)
        assert reason.text == reasons.text(reason.feature, reason.direction, values)


def test_setting_raises_the_number_of_reasons(archive_path: Path, loan: dict[str, Any]) -> None:
    """The setting holds where a request has no wish; the request's wish wins."""
    model = CreditRiskExplanation(archive=str(archive_path), max_reasons=99)
    account = explain(model, loan).reasons
    assert {reason.direction for reason in account} == set(CreditRisk)
    assert len(explain(model, loan, max_reasons=1).reasons) == 1


@pytest.mark.parametrize("max_reasons", [0, -1, 2.5, "4", True, None])
def test_impossible_number_of_reasons_is_refused(max_reasons: Any, archive_path: Path) -> None:
    """The setting is a whole number above 0."""
    with pytest.raises(ConfigurationError, match=r"max_reasons is .*: set a whole number above 0"):
        CreditRiskExplanation(archive=str(archive_path), max_reasons=max_reasons)


@pytest.mark.parametrize("max_reasons", [0, 1.5, "4", True])
def test_impossible_wish_is_refused(max_reasons: Any, loan: dict[str, Any]) -> None:
    """A request's number of reasons is a whole number above 0, and the error names the field."""
    with pytest.raises(ValidationError, match="max_reasons"):
        CreditRiskExplanationInput.model_validate(loan | {"max_reasons": max_reasons})


def test_values_outside_training_are_named(
    model: CreditRiskExplanation, loan: dict[str, Any], archive_path: Path
) -> None:
    """A value beyond what the model saw comes with the range that it saw; one at its end does not."""
    records = {record.name: record for record in archive.read(archive_path).metadata.models["age_known"].features}
    seen = records["interest_rate"]
    assert seen.maximum is not None
    assert seen.maximum < 28.99
    inside = explain(model, loan | {"interest_rate": seen.maximum}).out_of_training_range
    assert "interest_rate" not in {outside.feature for outside in inside}
    (outside,) = [
        outside
        for outside in explain(model, loan | {"interest_rate": 28.99}).out_of_training_range
        if outside.feature == "interest_rate"
    ]
    assert outside.model_dump() == {
        "feature": "interest_rate",
        "value": 28.99,
        "minimum": seen.minimum,
        "maximum": seen.maximum,
    }


def test_derived_values_outside_training_are_named(model: CreditRiskExplanation, loan: dict[str, Any]) -> None:
    """Fields that are each usual may make a loan that is not: its arithmetic is compared as well."""
    odd = loan | {"loan_amount": 1000, "total_payments_to_date": 30000.0}
    answer = explain(model, odd)
    assert "rounded_share_of_amount_repaid" in {outside.feature for outside in answer.out_of_training_range}
    assert answer.cautions == (Caution.OUTSIDE_TRAINING_RANGE,)


def test_cautions_are_those_of_the_plain_answer(
    model: CreditRiskExplanation, golden: list[dict[str, Any]], archive_path: Path
) -> None:
    """An explanation warns of what the prediction warns of: an age that is missing, then values out of range."""
    plain = CreditRiskModel(archive=str(archive_path))
    seen = set()
    for loan in golden:
        cautions = explain(model, loan).cautions
        assert cautions == plain.predict(CreditRiskModelInput.model_validate(loan)).cautions
        assert (Caution.INSTALMENTS_DUE_MISSING in cautions) == (loan[features.AGE] is None)
        seen.add(cautions)
    assert (Caution.INSTALMENTS_DUE_MISSING, Caution.OUTSIDE_TRAINING_RANGE) in seen
    assert (Caution.OUTSIDE_TRAINING_RANGE,) in seen


def test_cut_off_is_the_one_that_decided(archive_path: Path, loan: dict[str, Any]) -> None:
    """The answer names the cut-off in force, and its reasons are for the decision that it makes."""
    for cut_off, decision in ((1e-9, "risky"), (1 - 1e-9, "safe")):
        answer = explain(CreditRiskExplanation(archive=str(archive_path), cut_off=cut_off), loan)
        assert (answer.cut_off, answer.credit_risk.value) == (cut_off, decision)
        assert {reason.direction.value for reason in answer.reasons} == {decision}


def test_many_threads_get_the_same_answers(model: CreditRiskExplanation, golden: list[dict[str, Any]]) -> None:
    """Requests on many threads at once are answered as one after the other."""
    requests = [CreditRiskExplanationInput.model_validate(loan) for loan in golden] * 20
    alone = [model.predict(request) for request in requests]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(model.predict, requests)) == alone


def test_archive_is_loaded_once(archive_path: Path, tmp_path: Path) -> None:
    """Models of the same archive share what is loaded, under whatever name, until the file is replaced."""
    copy = tmp_path / "1.zip"
    copy.write_bytes(archive_path.read_bytes())
    first = CreditRiskModel(archive=str(archive_path))
    assert CreditRiskExplanation(archive=str(copy)).archive is first.archive
    copy.write_bytes(archive_path.read_bytes()[:-1])
    with pytest.raises(ModelArchiveError, match="damaged"):
        CreditRiskExplanation(archive=str(copy))
