import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import HYPERPARAMETERS, ROOT

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.features import AGE, AGE_KNOWN, AGE_UNKNOWN, FEATURE_SETS, FeatureSet, derive_columns
from credit_risk_model.training import fitting
from credit_risk_model.training.backdating import backdate

PROGRAM = """
import json, sys
from pathlib import Path
from credit_risk_model.training import cleaning, fitting, loans

book = cleaning.clean(loans.read_loans(Path(sys.argv[1])).loans).loans
fitted = fitting.fit(book, json.loads(sys.argv[2]), seed=1)
print(json.dumps([model.booster_.model_to_string() for model in (fitted.with_age, fitted.without_age)]))
"""


@pytest.fixture(scope="module")
def drawn(loans: pd.DataFrame) -> fitting.Split:
    """A split of the small book."""
    return fitting.split(loans, seed=1)


def test_split_is_a_stratified_fifth_by_seed(loans: pd.DataFrame, drawn: fitting.Split) -> None:
    """The test set holds a fifth of the loans with the same risky share; a different seed draws different loans."""
    assert len(drawn.test) == pytest.approx(len(loans) / 5, abs=1)
    shares = [fitting.label(part).mean() for part in (drawn.test, drawn.training)]
    assert shares[0] == pytest.approx(shares[1], abs=0.002)
    assert not set(drawn.test.index) & set(drawn.training.index)
    assert drawn.test.index.equals(fitting.split(loans, seed=1).test.index)
    assert not drawn.test.index.equals(fitting.split(loans, seed=2).test.index)


@pytest.mark.parametrize("wanted", FEATURE_SETS, ids=lambda wanted: wanted.name)
def test_frame_has_the_features_in_order(wanted: FeatureSet, loans: pd.DataFrame) -> None:
    """A model's columns are its features, categories as pandas categories."""
    frame = fitting.make_feature_frame(loans, wanted)
    assert frame.columns.tolist() == list(wanted.names)
    assert frame.select_dtypes("category").columns.tolist() == list(wanted.categories)


def test_label_is_1_for_risky(loans: pd.DataFrame) -> None:
    """Risky is the positive class."""
    assert fitting.label(loans).tolist() == [int(risk == "risky") for risk in loans["loan_risk"]]


def test_running_are_loans_of_which_payments_are_expected(loans: pd.DataFrame) -> None:
    """Current, issued, in grace and late loans are running; paid, charged off and defaulted ones have ended."""
    statuses = set(loans["loan_status"][fitting.is_running(loans)])
    assert {"Current", "Late (31-120 days)"} <= statuses
    assert statuses <= {"Current", "Issued", "In Grace Period", "Late (16-30 days)", "Late (31-120 days)"}


def test_too_few_loans_of_a_class_are_refused(loans: pd.DataFrame) -> None:
    """With fewer than ten loans of a class there is nothing to cross-validate."""
    few = pd.concat([loans[loans["loan_risk"] == "risky"].head(9), loans[loans["loan_risk"] == "safe"]])
    with pytest.raises(ConfigurationError, match=r"9 risky of .* at least 10 of each class"):
        fitting.split(few, seed=1)


def test_fit_is_deterministic(drawn: fitting.Split) -> None:
    """The same seed, data and hyper-parameters give the same trees; a different seed gives different ones."""
    models = [fitting.fit(drawn.training, HYPERPARAMETERS, seed) for seed in (1, 1, 2)]
    texts = [model.with_age.booster_.model_to_string() for model in models]  # type: ignore[union-attr]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_threads_change_no_tree(fitted: fitting.Fitted, book_path: Path) -> None:
    """A process that may use all its threads fits the trees that this one fits on a single thread."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_THREAD_LIMIT"}
    command = [sys.executable, "-c", PROGRAM, str(book_path), json.dumps(HYPERPARAMETERS)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    models = (fitted.with_age, fitted.without_age)
    assert json.loads(done.stdout) == [model.booster_.model_to_string() for model in models]  # type: ignore[union-attr]


def test_loans_are_answered_by_what_is_known_of_them(fitted: fitting.Fitted, loans: pd.DataFrame) -> None:
    """A loan of known age is answered by the one model, all others and those whose age is withheld by the other."""
    mixed = loans.head(40).copy()
    mixed.loc[mixed.index[::2], AGE] = np.nan
    known = mixed[AGE].notna().to_numpy()
    expected = {
        wanted: fitting.probabilities(model, fitting.make_feature_frame(mixed, wanted))
        for wanted, model in ((AGE_KNOWN, fitted.with_age), (AGE_UNKNOWN, fitted.without_age))
    }
    answers = fitted.predict(mixed)
    assert answers[known].tolist() == expected[AGE_KNOWN][known].tolist()
    assert answers[~known].tolist() == expected[AGE_UNKNOWN][~known].tolist()
    assert fitted.predict(mixed, withhold_age=True).tolist() == expected[AGE_UNKNOWN].tolist()


def test_answers_with_and_without_age_are_those_of_two_predictions(fitted: fitting.Fitted, loans: pd.DataFrame) -> None:
    """`answer` gives the same bits as two calls of `predict`, even if only some ages are known."""
    mixed = loans.head(40).copy()
    mixed.loc[mixed.index[::3], AGE] = np.nan
    for some in (mixed, loans.head(40), loans.head(40).assign(**{AGE: np.nan})):
        answers = fitted.answer(some)
        assert answers.known.tolist() == fitted.predict(some).tolist()
        assert answers.withheld.tolist() == fitted.predict(some, withhold_age=True).tolist()


def test_columns_are_derived_once_for_both_answers(
    fitted: fitting.Fitted, loans: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each model's columns of a table are derived once, for the answers with and without the age together."""
    derived: list[str] = []

    def count(table: pd.DataFrame, wanted: FeatureSet) -> dict[str, Any]:
        derived.append(wanted.name)
        return derive_columns(table, wanted)

    monkeypatch.setattr(fitting, "derive_columns", count)
    fitted.answer(loans)
    assert sorted(derived) == [AGE_KNOWN.name, AGE_UNKNOWN.name]


def test_each_model_says_what_it_saw(fitted: fitting.Fitted, loans: pd.DataFrame) -> None:
    """A fit records the range of each feature of each model, as the loans have it."""
    assert set(fitted.seen) == {AGE_KNOWN.name, AGE_UNKNOWN.name}
    for wanted in FEATURE_SETS:
        records = {record.name: record for record in fitted.seen[wanted.name]}
        assert tuple(records) == wanted.names
        amounts = records["loan_amount"]
        assert (amounts.minimum, amounts.maximum) == (loans["loan_amount"].min(), loans["loan_amount"].max())
        assert records["term"].minimum is None


def test_columns_for_the_reports_are_of_the_loans_that_the_model_answers(loans: pd.DataFrame) -> None:
    """The reports' table has the model's columns and label; for the model of known ages, only loans with an age."""
    mixed = loans.head(40).copy()
    mixed.loc[mixed.index[::4], AGE] = np.nan
    with_age, without = (fitting.make_labelled_frame(mixed, wanted) for wanted in (AGE_KNOWN, AGE_UNKNOWN))
    assert (len(with_age), len(without)) == (30, 40)
    assert with_age.columns.tolist() == [*AGE_KNOWN.names, "loan_risk"]
    assert without["loan_risk"].tolist() == fitting.label(mixed).tolist()


def test_threads_are_the_cores_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit uses as many threads as the container's limit allows cores."""
    monkeypatch.setattr(fitting, "count_cores", lambda: 7)
    assert fitting.make_estimator(AGE_KNOWN, {}, seed=1).n_jobs == 7


def test_loans_without_any_age_train_the_one_model(loans: pd.DataFrame) -> None:
    """Without known ages, there is no model for them."""
    fitted = fitting.fit(loans.assign(**{AGE: np.nan}), HYPERPARAMETERS, seed=1)
    assert fitted.with_age is None
    assert len(fitted.predict(loans)) == len(loans)


def test_backdated_copies_of_a_loan_weigh_as_much_as_the_loan(loans: pd.DataFrame) -> None:
    """The loans of the file weigh 1 each, and so do all backdated copies of one loan together."""
    data = fitting.make_training_data(loans, AGE_KNOWN, seed=1, backdated=True)
    again = len(backdate(loans, seed=1))
    assert len(data.frame) == len(loans) + again
    assert data.weight.tolist() == [1.0] * len(loans) + [0.5] * again
    assert len(fitting.make_training_data(loans, AGE_KNOWN, seed=1, backdated=False).frame) == len(loans)
    assert len(fitting.make_training_data(loans, AGE_UNKNOWN, seed=1, backdated=True).frame) == len(loans)


def test_values_that_may_be_null_are_withheld_from_some_loans(loans: pd.DataFrame) -> None:
    """A few training loans lack each of the nullable values, so that a null has a meaning; no other value is lost."""
    complete = loans.dropna(subset=["employment_length", "revolving_line_utilization_rate", "debt_to_income_ratio"])
    frame = fitting.make_training_data(complete, AGE_UNKNOWN, seed=1, backdated=False).frame
    missing = frame.isna().mean()
    for field in ("employment_length", "revolving_line_utilization_rate", "debt_to_income_ratio"):
        assert 0.005 < missing.pop(field) < 0.05
    assert missing.sum() == 0


def test_out_of_fold_probabilities_are_honest(drawn: fitting.Split) -> None:
    """On labels that are pure noise a model remembers its training rows, but not the rows of other folds."""
    rng = np.random.default_rng(1)
    levels = drawn.training["loan_risk"].cat.categories
    noise = pd.Categorical.from_codes(rng.integers(0, 2, len(drawn.training)), categories=levels)
    noisy = drawn.training.assign(loan_risk=noise)
    hyperparameters = {wanted.name: {"n_estimators": 100, "num_leaves": 31} for wanted in FEATURE_SETS}
    risky = fitting.label(noisy).to_numpy()
    seen = fitting.fit(noisy, hyperparameters, 1, backdated=False).predict(noisy, withhold_age=True)
    unseen = fitting.predict_out_of_fold(noisy, hyperparameters, 1)
    assert ((seen >= 0.5) == risky).mean() > 0.9
    for probability in (unseen.known, unseen.withheld):
        assert 0.4 < ((probability >= 0.5) == risky).mean() < 0.6
