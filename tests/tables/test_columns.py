import datetime
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from conftest import made_up_loans

from credit_risk_model.errors import DataError
from credit_risk_model.features import AGE, CONTRACT_FEATURES
from credit_risk_model.loan_age import AgeSource
from credit_risk_model.tables.columns import (
    Layout,
    Wanted,
    check_months,
    find_columns,
    find_layout,
    normalize_names,
)

LOANS = made_up_loans(3).drop_columns(["id"])
NAMES = [feature.name for feature in CONTRACT_FEATURES]
KAGGLE = {feature.name: feature.column or feature.name for feature in CONTRACT_FEATURES}
RENAMED = [feature for feature in CONTRACT_FEATURES if feature.column not in (None, feature.name)]
JANUARY_2015 = 2015 * 12


def refuse(words: str, header: list[str], wanted: Wanted | None = None, **kinds: pa.DataType) -> None:
    """Expect columns to be refused in these words; a column without another type has that of its field."""
    types = {name: LOANS[name].type for name in NAMES} | {KAGGLE[name]: LOANS[name].type for name in NAMES} | kinds
    with pytest.raises(DataError, match=f"^{re.escape(f'loans: {words}')}$"):
        find_columns("loans", header, wanted or Wanted(), types.__getitem__ if kinds else None)


def allow(column: str, kind: pa.DataType, wanted: Wanted | None = None) -> None:
    """Expect a column to be allowed to have a type."""
    types = {name: LOANS[name].type for name in NAMES} | {column: kind}
    header = list(dict.fromkeys([*NAMES, column]))
    assert find_columns("loans", header, wanted or Wanted(), types.__getitem__)[column] == column


def to_loans(wanted: Wanted | None = None, age: AgeSource | None = None, **others: Any) -> tuple[pa.Table, Any]:
    """The loans with other columns, as a layout converts them."""
    columns: Mapping[str, pa.Array] = {name: LOANS[name].combine_chunks() for name in NAMES} | others
    layout = Layout({name: name for name in columns}, wanted or Wanted(), age or AgeSource("column"), ())
    return layout.to_loans(columns)


def test_columns_have_the_contracts_names_or_kaggles() -> None:
    """Each field is found under either name; the age may be missing, and other columns are ignored."""
    assert find_columns("loans", [*NAMES, "x", "x"], Wanted()) == {name: name for name in NAMES}
    assert find_columns("loans", [*KAGGLE.values()], Wanted()) == KAGGLE
    without_age = [name for name in NAMES if name != AGE]
    assert find_columns("loans", without_age, Wanted()) == {name: name for name in without_age}


def test_names_are_stripped_and_known_ones_lower_case() -> None:
    """Names of columns that are read are known in any case; others keep theirs."""
    names = [" TERM", "Annual_Inc ", "ISSUE_D", "Snapshot_D", "LAST_PYMNT_D", "Last_Credit_Pull_D", "Loan_Status"]
    assert normalize_names([*names, "INSTALLMENT", "Instalments_Due", " Note ", ""]) == [
        "term",
        "annual_inc",
        "issue_d",
        "snapshot_d",
        "last_pymnt_d",
        "last_credit_pull_d",
        "loan_status",
        "installment",
        "instalments_due",
        "Note",
        "",
    ]


def test_missing_columns_are_named_by_both_names() -> None:
    """A missing field is named as in the contract and as Kaggle names it; wanted columns follow."""
    header = [name for name in NAMES if name not in ("annual_income", "term")]
    wanted = Wanted(ids=("id",), numbers=("installment",), texts=("status", "note"), needed=("installment", "status"))
    refuse(
        "no column annual_income (annual_inc), term, installment, status, id. Add each under one of its names.",
        header,
        wanted,
    )


@pytest.mark.parametrize(
    ("field", "names", "written"),
    [
        ("annual_income", "annual_income (annual_inc)", "annualincome"),
        ("annual_income", "annual_income (annual_inc)", "Annual Income"),
        ("annual_income", "annual_income (annual_inc)", "annual_incom"),
        ("interest_rate", "interest_rate (int_rate)", "INT. RATE (%)"),
        ("home_ownership", "home_ownership", "Home-Ownership"),
    ],
)
def test_similar_column_is_offered(field: str, names: str, written: str) -> None:
    """A column that may be meant is offered as it is written."""
    header = [written if name == field else name for name in NAMES]
    refuse(f"no column {names} [is it {written}?]. Add each under one of its names.", header)


@pytest.mark.parametrize("written", ["income", "loan_amnt_", "year", "annual_inc_joint_of_all"])
def test_column_that_is_less_similar_is_not_offered(written: str) -> None:
    """No column is offered that more likely means something else."""
    header = [written if name == "annual_income" else name for name in NAMES]
    refuse("no column annual_income (annual_inc). Add each under one of its names.", header)


def test_known_column_is_not_offered_for_another() -> None:
    """A column that is another field's is not offered, however similar its name."""
    header = [name for name in NAMES if name != "loan_amount"]
    refuse("no column loan_amount (loan_amnt). Add each under one of its names.", [*header, "installment"])


@pytest.mark.parametrize("extra", ["annual_income", "annual_inc"])
def test_field_with_two_columns_is_refused(extra: str) -> None:
    """A field may have one column, under one of its names."""
    refuse("more than one column for annual_income. Keep one of each.", [*NAMES, extra])


def test_repeated_columns_that_are_wanted_are_refused() -> None:
    """Wanted columns, and months without an age, may come once; each repeated one is named once."""
    wanted = Wanted(ids=("id",), numbers=("installment",), texts=("issue_d",))
    twice = ["id", "installment", "issue_d", "snapshot_d", "last_pymnt_d", "last_credit_pull_d", "note"] * 2
    header = [name for name in NAMES if name != AGE]
    refuse(
        "more than one column for installment, issue_d, id, snapshot_d, last_credit_pull_d, last_pymnt_d. "
        "Keep one of each.",
        [*header, *twice],
        wanted,
    )
    refuse("more than one column for installment, issue_d, id. Keep one of each.", [*NAMES, *twice], wanted)


def test_all_problems_are_in_one_message() -> None:
    """Missing, repeated and wrong columns are told together, each in a sentence."""
    header = [*(name for name in NAMES if name != "term"), "loan_purpose"]
    refuse(
        "no column term. Add each under one of its names. More than one column for loan_purpose. Keep one of each. "
        "Wrong type of column annual_income (bool instead of numbers). Convert them.",
        header,
        annual_income=pa.bool_(),
    )


@pytest.mark.parametrize(
    ("column", "kind", "words"),
    [
        ("annual_income", pa.bool_(), "annual_income (bool instead of numbers)"),
        ("annual_income", pa.date32(), "annual_income (date32[day] instead of numbers)"),
        ("home_ownership", pa.int64(), "home_ownership (int64 instead of text)"),
        ("home_ownership", pa.bool_(), "home_ownership (bool instead of text)"),
        ("term", pa.bool_(), "term (bool instead of text)"),
        ("employment_length", pa.list_(pa.int64()), "employment_length (list<item: int64> instead of text)"),
    ],
)
def test_column_of_a_wrong_type_is_named_with_it(column: str, kind: pa.DataType, words: str) -> None:
    """A type that can't hold the field is named beside what is wanted."""
    refuse(f"wrong type of column {words}. Convert them.", NAMES, **{column: kind})


def test_column_is_named_as_the_table_names_it() -> None:
    """A wrong column is named as it is in the table."""
    words = "wrong type of column annual_inc (bool instead of numbers). Convert them."
    refuse(words, list(KAGGLE.values()), annual_inc=pa.bool_())


def test_wanted_columns_have_types_of_their_own() -> None:
    """A needed text must be text and a number a number; ids and other texts may be of any type."""
    wanted = Wanted(numbers=("installment",), texts=("note", "loan_status"), needed=("installment", "loan_status"))
    header = [*NAMES, "installment", "loan_status", "note", "id"]
    refuse(
        "wrong type of column installment (bool instead of numbers), loan_status (int64 instead of text). "
        "Convert them.",
        header,
        Wanted(("id",), wanted.numbers, wanted.texts, wanted.needed),
        installment=pa.bool_(),
        loan_status=pa.int64(),
        note=pa.bool_(),
        id=pa.list_(pa.int64()),
    )
    allow("installment", pa.string(), Wanted(numbers=("installment",)))
    allow("installment", pa.int64(), Wanted(numbers=("installment",), needed=("installment",)))
    allow("loan_status", pa.string(), Wanted(texts=("loan_status",), needed=("loan_status",)))


@pytest.mark.parametrize("kind", [pa.int8(), pa.float32(), pa.decimal128(5, 2), pa.string(), pa.null()])
def test_numbers_may_have_any_type_of_number_or_text(kind: pa.DataType) -> None:
    """Numbers, text and a column without a type can hold numbers; a term may be a number of months."""
    allow("annual_income", kind)
    allow("term", kind)
    allow("employment_length", kind)


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.null(), pa.dictionary(pa.int8(), pa.string())])
def test_levels_may_have_any_type_of_text(kind: pa.DataType) -> None:
    """Text and a column without a type can hold levels."""
    allow("home_ownership", kind)


def test_layout_adds_the_months_that_the_age_needs() -> None:
    """Months are read only where the age is computed from them, and each loan's own only where they count."""
    found = {"term": "term"}

    def find(header: list[str], latest: int | None, as_of: int | None = None) -> Layout:
        return find_layout(found, header, Wanted(ids=("id",)), lambda _: latest, as_of)

    assert find([AGE, "issue_d", "snapshot_d"], 1).months == ()
    assert find(["issue_d"], None).months == ()
    layout = find(["issue_d", "snapshot_d"], 1)
    assert (layout.months, layout.age.snapshot) == (("issue_d", "snapshot_d"), None)
    assert layout.columns == {"term": "term", "issue_d": "issue_d", "snapshot_d": "snapshot_d"}
    layout = find(["issue_d", "last_pymnt_d"], JANUARY_2015)
    assert (layout.months, layout.age.snapshot) == (("issue_d",), JANUARY_2015)
    assert layout.columns == {"term": "term", "issue_d": "issue_d"}
    assert layout.wanted == Wanted(ids=("id",))
    assert find(["issue_d"], None, JANUARY_2015 + 1).age.snapshot == JANUARY_2015 + 1


def test_loans_are_the_fields_and_the_wanted_columns() -> None:
    """The fields come in the contract's order, then numbers, texts and ids, without those that are missing."""
    wanted = Wanted(ids=("id",), numbers=("installment", "none"), texts=("note", "other"))
    loans, converted = to_loans(
        wanted,
        id=pa.array([1, 2, 3]),
        installment=pa.array(["407.23", "x", None]),
        note=pa.array(["a", "b", "1"]),
        unread=pa.array([1, 2, 3]),
    )
    assert loans.column_names == [*LOANS.column_names, "installment", "note", "id"]
    assert loans.select(LOANS.column_names).equals(LOANS)
    assert repr(loans["installment"].to_pylist()) == "[407.23, nan, None]"
    assert loans["note"].to_pylist() == ["a", "b", "1"]
    assert loans["id"].to_pylist() == [1, 2, 3]
    assert converted == {}


def test_percent_signs_are_read_only_in_percentages() -> None:
    """A percent sign after a percentage is counted; after dollars it makes no number."""
    loans, converted = to_loans(
        Wanted(numbers=("installment",)),
        interest_rate=pa.array(["13.5%", "7.5", " 9 % "]),
        annual_income=pa.array(["65000%", "65000", None]),
        installment=pa.array(["1%", "2", "3"]),
    )
    assert loans["interest_rate"].to_pylist() == [13.5, 7.5, 9.0]
    assert repr(loans["annual_income"].to_pylist()) == "[nan, 65000.0, None]"
    assert repr(loans["installment"].to_pylist()) == "[nan, 2.0, 3.0]"
    assert converted == {"interest_rate: percent sign": 2}


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.decimal128(21, 1)])
def test_term_and_years_may_be_numbers(kind: pa.DataType) -> None:
    """A number in a field of levels is read as the text of that number."""
    terms, years = pa.array([36, 60, None]).cast(kind), pa.array([1, 10, None]).cast(kind)
    loans, _ = to_loans(term=terms, employment_length=years)
    assert loans["term"].to_pylist() == ["36", "60", None]
    assert loans["employment_length"].to_pylist() == ["1", "10", None]


def test_age_is_read_computed_or_unknown() -> None:
    """The age is the table's own, or the months since the issue, or null."""
    assert to_loans(instalments_due=pa.array(["7", None, "x"]))[0][AGE].to_pylist()[:2] == [7.0, None]
    issued = pa.array([datetime.date(2014, 11, 1), datetime.date(2014, 10, 31), None])
    computed = AgeSource("months", computed=True, snapshot=JANUARY_2015)
    columns = {"issue_d": issued, "term": pa.array([" 36 months"] * 3)}
    assert to_loans(age=computed, **columns)[0][AGE].to_pylist() == [2, 3, None]
    columns = {name: LOANS[name].combine_chunks() for name in NAMES if name != AGE}
    loans, _ = Layout({name: name for name in columns}, Wanted(), AgeSource("not known"), ()).to_loans(columns)
    assert loans[AGE].to_pylist() == [None] * 3
    assert loans[AGE].type == pa.float64()


def test_column_that_can_hold_no_months_is_refused() -> None:
    """The error names the column, its type, and the ways out."""
    for kind in (pa.string(), pa.date32(), pa.timestamp("us"), pa.null()):
        check_months("loans", "issue_d", kind)
    words = (
        "loans: column issue_d is of type int64, not months. Convert it to dates, timestamps, or text such as "
        "Dec-2011, or add a column instalments_due with the loans' age."
    )
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        check_months("loans", "issue_d", pa.int64())
