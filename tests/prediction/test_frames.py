import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import made_up_loans, spoilt

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import AGE, CONTRACT_FEATURES
from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.prediction.loans import LoanModel
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import CreditRiskExplanationInput, CreditRiskModelInput

COLUMNS = ["risk_probability", "credit_risk", "cautions", "rejected"]
KINDS: dict[str, Callable[[pa.Table], Any]] = {
    "pandas": lambda table: table.to_pandas(),
    "pandas with Arrow's types": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "pandas with categories": lambda table: table.to_pandas(strings_to_categorical=True),
    "Polars": pl.DataFrame,
    "Polars with categories": lambda table: pl.DataFrame(table).with_columns(pl.col(pl.String).cast(pl.Categorical)),
    "Arrow": lambda table: table,
    "Arrow batch": lambda table: table.combine_chunks().to_batches()[0],
}


@pytest.fixture(scope="module")
def model(archive_path: Path) -> LoanModel:
    """The small archive's model."""
    return LoanModel(archive_path)


def rows_of(answers: Any) -> list[dict[str, Any]]:
    """A frame of answers as rows, whatever its kind; what is not there is None."""
    if isinstance(answers, pd.DataFrame):
        answers = pa.Table.from_pandas(answers, preserve_index=False)
    rows: list[dict[str, Any]] = pa.table(answers).to_pylist()
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_frame_is_answered_as_the_service_answers(kind: str, model: LoanModel, archive_path: Path) -> None:
    """Each loan of a frame of any kind gets the bits, the decision and the cautions of a single request."""
    loans = made_up_loans(300)
    answers = rows_of(model.score(KINDS[kind](loans)))
    service = CreditRiskModel(str(archive_path))
    for row, answer in zip(loans.drop_columns("id").to_pylist(), answers, strict=True):
        expected = service.predict(CreditRiskModelInput.model_validate(row))
        assert answer == {
            "risk_probability": expected.risk_probability,
            "credit_risk": expected.credit_risk.value,
            "cautions": ";".join(caution.value for caution in expected.cautions),
            "rejected": None,
        }


@pytest.mark.parametrize(
    ("make", "kind"), [(KINDS["pandas"], pd.DataFrame), (KINDS["Polars"], pl.DataFrame), (KINDS["Arrow"], pa.Table)]
)
def test_same_kind_comes_back(make: Callable[[pa.Table], Any], kind: type, model: LoanModel) -> None:
    """What comes back is of the kind that was given, with four columns, also where there is no row."""
    for rows in (3, 0):
        frame: Any = make(made_up_loans(rows))
        answers: Any = model.score(frame)
        assert len(answers) == rows
        assert isinstance(answers, kind)
        assert list(getattr(answers, "column_names", getattr(answers, "columns", ()))) == COLUMNS


def test_index_is_kept(model: LoanModel) -> None:
    """The answers of a pandas frame stand under its own index, whatever that is."""
    frame = made_up_loans(4).to_pandas()
    for index in (
        pd.Index(list("dcba"), name="loan"),
        pd.Index([7, 7, 7, 7]),
        pd.MultiIndex.from_product([[1, 2], [3, 4]]),
    ):
        answers = model.score(frame.set_axis(index))
        pd.testing.assert_index_equal(answers.index, index)


def test_answers_are_in_the_rows_order(model: LoanModel) -> None:
    """However many chunks and threads a frame takes, each answer stands in its loan's row."""
    loans = made_up_loans(40_000)
    backwards = loans.take(np.arange(39_999, -1, -1))
    assert (
        model.score(backwards)["risk_probability"].to_pylist()[::-1]
        == model.score(loans)["risk_probability"].to_pylist()
    )


def test_bad_rows_come_back_with_their_reasons(model: LoanModel) -> None:
    """A row that violates the contract has its reasons, without its values, and no answer; the others are answered."""
    frame = spoilt(spoilt(made_up_loans(3), "term", {1: "soon"}), "annual_income", {1: 1.0}).to_pandas()
    answers = model.score(frame)
    assert answers["rejected"].tolist() == [None, "annual_income: below 1896; term: unknown level", None]
    assert answers.loc[1, ["credit_risk", "cautions"]].tolist() == [None, None]
    assert np.isnan(answers.loc[1, "risk_probability"])
    assert answers.loc[[0, 2], "risk_probability"].notna().all()


def test_bad_rows_raise_where_that_is_wanted(model: LoanModel) -> None:
    """With errors='raise' the number of bad rows, the first of them and its reasons are the error."""
    loans = spoilt(made_up_loans(20_000), "term", {17_000: "soon", 19_000: None})
    assert model.score(made_up_loans(3), errors="raise")["rejected"].null_count == 3
    with pytest.raises(
        DataError,
        match=r"^2 of 20,000 rows violate the contract; the first one is row 17001: term: unknown level. Corr",
    ):
        model.score(loans, errors="raise")
    with pytest.raises(ConfigurationError, match="errors is 'coerce': choose 'return' or 'raise'"):
        model.score(loans, errors="coerce")  # type: ignore[arg-type]


def test_object_that_does_not_fit_spoils_only_itself(model: LoanModel, loan: dict[str, Any]) -> None:
    """In a column of objects, numbers are read beside texts, and what is no number is a reason for its own row."""
    incomes = [65000, "65000", 65000.0, " 65000 ", None, "65k", True, 2**70, [1]]
    frame = pd.DataFrame([loan | {"annual_income": income} for income in incomes])
    answers = model.score(frame)
    assert len(set(answers["risk_probability"][:4])) == 1
    assert answers["rejected"].tolist() == [
        *[None] * 4,
        "annual_income: missing",
        *["annual_income: not a finite number"] * 2,
        "annual_income: above 273000",
        "annual_income: not a finite number",
    ]


def test_numbers_may_be_text(model: LoanModel) -> None:
    """A column of numbers as text is read as the service reads the number with these digits."""
    loans = made_up_loans(200)
    numbers = {feature.name for feature in CONTRACT_FEATURES if not feature.levels}
    texts = loans
    for place, name in enumerate(loans.column_names):
        if name in numbers:
            texts = texts.set_column(place, name, loans[name].cast(pa.string()))
    assert model.score(texts).equals(model.score(loans))


def test_names_of_kaggle_will_do(model: LoanModel) -> None:
    """The columns may have Kaggle's names, and others may stand between them."""
    loans = made_up_loans(50)
    names = {feature.name: feature.column or feature.name for feature in CONTRACT_FEATURES}
    kaggle = pl.DataFrame(loans).rename(names).with_columns(note=pl.lit("x"))
    assert rows_of(model.score(kaggle)) == rows_of(model.score(loans))


def test_age_comes_from_months_where_it_is_not_given(model: LoanModel, loan: dict[str, Any]) -> None:
    """Without a column of ages, the months from issue to record count, as in files."""
    loan |= {AGE: 15}
    dated = {name: value for name, value in loan.items() if name != AGE} | {"issue_d": datetime.datetime(2014, 10, 1)}
    expected = model.score(pd.DataFrame([loan]))
    pd.testing.assert_frame_equal(model.score(pd.DataFrame([dated]), as_of="2016-01"), expected)
    recorded = pd.DataFrame([dated | {"snapshot_d": "Jan-2016"}])
    pd.testing.assert_frame_equal(model.score(recorded), expected)
    assert model.score(pd.DataFrame([dated]))["cautions"].tolist() == ["instalments_due_missing"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([{"annual_income": 1}], "list is not a frame: pass one of pandas, Polars or Arrow."),
        (pd.DataFrame({"term": [" 36 months"]}), r"The frame: no column annual_income \(annual_inc\), "),
        (
            made_up_loans(2).set_column(1, "annual_income", [[True, False]]).set_column(6, "home_ownership", [[1, 2]]),
            r"The frame: wrong type of column annual_income \(bool instead of numbers\), home_ownership \(int64 "
            r"instead of text\). Convert them.$",
        ),
        (
            made_up_loans(2).drop_columns(AGE).append_column("issue_d", [[1, 2]]).append_column("snapshot_d", [[1, 2]]),
            "The frame: column snapshot_d is of type int64, not months",
        ),
    ],
)
def test_frame_that_can_not_be_read_is_refused(frame: Any, message: str, model: LoanModel) -> None:
    """What is no frame of loans is refused in one line that names all that is wrong."""
    with pytest.raises(DataError, match=f"^{message}"):
        model.score(frame)


def test_reasons_are_those_of_the_service(model: LoanModel, archive_path: Path) -> None:
    """Each loan's explanation has its score and the service's principal reasons, and a bad row has its own."""
    loans = spoilt(made_up_loans(150), "term", {3: "soon"})
    explained = model.explain(loans)
    assert explained.select(COLUMNS).equals(model.score(loans))
    service = CreditRiskExplanation(str(archive_path))
    for place, (row, answer) in enumerate(
        zip(loans.drop_columns("id").to_pylist(), explained.to_pylist(), strict=True)
    ):
        found = [answer[f"reason_{number}"] for number in (1, 2, 3, 4)]
        if place == 3:
            assert found == [None] * 4
            continue
        expected = [reason.text for reason in service.predict(CreditRiskExplanationInput.model_validate(row)).reasons]
        assert found == expected + [None] * (4 - len(expected))


def test_frame_without_rows_is_explained(model: LoanModel) -> None:
    """No loan gives no reason, in the usual columns."""
    assert model.explain(made_up_loans(0)).column_names == [*COLUMNS, "reason_1", "reason_2", "reason_3", "reason_4"]


def test_column_in_another_unit_is_refused(model: LoanModel) -> None:
    """Fractions for percents are told, whatever is done with bad rows, and scored where that is wanted."""
    loans = made_up_loans(100)
    place = loans.schema.get_field_index("debt_to_income_ratio")
    fractions = loans.set_column(place, "debt_to_income_ratio", pc.divide(loans["debt_to_income_ratio"], 100))
    message = (
        r"^The frame: nearly all values are too small in debt_to_income_ratio \(by about 100\): .* with "
        r"accept_scale=\['debt_to_income_ratio'\]\.$"
    )
    for ask in (model.score, model.explain):
        with pytest.raises(DataError, match=message):
            ask(fractions)
    assert model.score(fractions, accept_scale=["debt_to_income_ratio"])["rejected"].null_count == 100


def test_values_written_otherwise_are_converted_and_counted(
    model: LoanModel, loan: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Other spellings, cents and percent signs give the contract's own score, and a log line counts them."""
    written = loan | {"term": 36, "home_ownership": "rent", "annual_income": 65000.4, "interest_rate": "13.5%"}
    frame = pd.DataFrame([written] * 2)
    with caplog.at_level("INFO", logger="credit_risk_model"):
        answers = model.score(frame)
    pd.testing.assert_frame_equal(answers, model.score(pd.DataFrame([loan] * 2)))
    assert [record.getMessage() for record in caplog.records] == [
        "Converted: annual_income: cents rounded (2), home_ownership: another spelling (2), "
        "interest_rate: percent sign (2), term: another spelling (2)."
    ]
