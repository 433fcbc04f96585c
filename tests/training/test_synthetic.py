"""The synthetic loan book: the layout of Kaggle's loan.csv, filled from loan mathematics."""

from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest

from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.loan_age import DATES_OF_FILE
from credit_risk_model.tables.columns import INSTALLMENT, STATUS
from credit_risk_model.training.synthetic import COLUMNS, make_synthetic_loan_book, write_synthetic_loan_book

FULLY_PAID = ("Fully Paid", "Does not meet the credit policy. Status:Fully Paid")
ENDED = (*FULLY_PAID, "Charged Off", "Does not meet the credit policy. Status:Charged Off")
RISKY = (
    "Charged Off",
    "Default",
    "Late (31-120 days)",
    "Late (16-30 days)",
    "Does not meet the credit policy. Status:Charged Off",
)


@pytest.fixture(scope="module")
def book() -> pd.DataFrame:
    """A book of 100,000 loans."""
    return make_synthetic_loan_book(100_000)


def ages_in_months(book: pd.DataFrame) -> pd.Series:
    """Months from issue to the snapshot of January 2016."""
    issued = pd.to_datetime(book["issue_d"], format="%b-%Y")
    return (2016 - issued.dt.year) * 12 + 1 - issued.dt.month


def terms_in_months(book: pd.DataFrame) -> pd.Series:
    """36 or 60."""
    return book["term"].str.extract(r"(\d+)")[0].astype(int)


def test_layout_is_the_74_columns_of_kaggles_file(book: pd.DataFrame) -> None:
    """The book has the 74 columns of Kaggle's loan.csv in their order."""
    first = ["id", "member_id", "loan_amnt", "funded_amnt", "funded_amnt_inv", "term", "int_rate", "installment"]
    last = ["max_bal_bc", "all_util", "total_rev_hi_lim", "inq_fi", "total_cu_tl", "inq_last_12m"]
    assert tuple(book.columns) == COLUMNS
    assert len(set(COLUMNS)) == 74
    assert list(COLUMNS[:8]) == first
    assert list(COLUMNS[-6:]) == last


def test_text_is_in_the_format_of_kaggles_file(tmp_path: Path) -> None:
    """Amounts have a decimal point, terms a leading space, months a short name, and missing lengths are n/a."""
    write_synthetic_loan_book(tmp_path / "loan.csv", 2_000)
    text = pd.read_csv(tmp_path / "loan.csv", dtype=str, keep_default_na=False)
    assert text["loan_amnt"].str.fullmatch(r"\d+\.0").all()
    assert text["delinq_2yrs"].str.fullmatch(r"(\d+\.0)?").all()
    assert text["installment"].str.fullmatch(r"\d+\.\d\d?").all()
    assert set(text["term"]) == {" 36 months", " 60 months"}
    assert text["issue_d"].str.fullmatch(r"[A-Z][a-z]{2}-20(0[789]|1[0-5])").all()
    assert text["last_pymnt_d"].str.fullmatch(r"([A-Z][a-z]{2}-20\d\d)?").all()
    assert (text["emp_length"] == "n/a").any()
    assert not text.isin(["nan", "NaN", "None", "-0.0"]).any().any()


@pytest.mark.parametrize("rows", [1, 9_999, 10_000, 10_001])
def test_longer_book_begins_with_the_shorter_one(book: pd.DataFrame, rows: int) -> None:
    """The number of rows does not change the loans, within a chunk or across chunks."""
    pd.testing.assert_frame_equal(make_synthetic_loan_book(rows), book.head(rows), check_dtype=False)


def test_loan_numbers_are_unique_and_outside_the_lenders_range(book: pd.DataFrame) -> None:
    """No two loans share a number, and none has a number that a real loan of 2007-2015 could have."""
    assert book["id"].is_unique
    assert book["member_id"].is_unique
    assert book["id"].min() > 100_000_000


def test_every_loan_says_that_it_is_made_up(book: pd.DataFrame) -> None:
    """Every web address shows that no borrower stands behind the loan, and there is no free text."""
    assert book["url"].str.startswith("https://synthetic.invalid/").all()
    assert book[["title", "desc", "emp_title", "zip_code"]].isna().all(axis=None)


def test_columns_that_nobody_reads_are_blank(book: pd.DataFrame) -> None:
    """All columns that training reads hold values; the others exist and are blank."""
    blank = {name for name in COLUMNS if book[name].isna().all()}
    needed = {feature.column for feature in CONTRACT_FEATURES if feature.column} | {INSTALLMENT, STATUS}
    read = {*needed, "issue_d", *DATES_OF_FILE, "url", "id"}
    assert not blank & read
    assert len(blank) > 30


def test_statuses_have_the_shares_of_the_full_file(book: pd.DataFrame) -> None:
    """Each loan status is as frequent as in Kaggle's full file, within 0.3 percentage points."""
    full_file = {
        "Current": 67.8,
        "Fully Paid": 23.4,
        "Charged Off": 5.1,
        "Late (31-120 days)": 1.3,
        "Issued": 1.0,
        "In Grace Period": 0.7,
        "Late (16-30 days)": 0.3,
        "Does not meet the credit policy. Status:Fully Paid": 0.2,
        "Does not meet the credit policy. Status:Charged Off": 0.1,
        "Default": 0.1,
    }
    shares = (book["loan_status"].value_counts(normalize=True) * 100).to_dict()
    assert shares == pytest.approx(full_file, abs=0.3)


def test_part_of_a_chunk_has_the_same_mix_of_statuses() -> None:
    """A book shorter than a chunk is a random draw and not its head in some order."""
    shares = make_synthetic_loan_book(3_000)["loan_status"].value_counts(normalize=True)
    assert shares["Current"] == pytest.approx(0.678, abs=0.03)
    assert shares["Charged Off"] == pytest.approx(0.051, abs=0.015)


def test_status_agrees_with_the_loans_age(book: pd.DataFrame) -> None:
    """Issued loans are the youngest, the former policy's the oldest, and no loan runs beyond its term."""
    age, status = ages_in_months(book), book["loan_status"]
    assert set(age[status == "Issued"]) == {1}
    assert age[status.str.startswith("Does not meet")].min() > 60
    assert (age < terms_in_months(book))[~status.isin(ENDED)].all()
    assert age[status == "Charged Off"].min() >= 5
    assert age[status == "Fully Paid"].mean() > 2 * age[status == "Current"].mean()


def test_issues_grow_with_the_years(book: pd.DataFrame) -> None:
    """Loans were issued from June 2007 to December 2015, in each year more than in the year before."""
    issued = pd.to_datetime(book["issue_d"], format="%b-%Y")
    assert issued.min() >= pd.Timestamp(2007, 6, 1)
    assert issued.max() == pd.Timestamp(2015, 12, 1)
    assert issued.dt.year.value_counts().sort_index().is_monotonic_increasing


def test_instalment_is_the_annuity_of_amount_rate_and_term(book: pd.DataFrame) -> None:
    """The instalment follows from amount, monthly rate and term, within a cent."""
    monthly = book["int_rate"] / 1200
    annuity = book["loan_amnt"] * monthly / (1 - (1 + monthly) ** -terms_in_months(book))
    assert (book["installment"] - annuity).abs().max() <= 0.01


def test_fully_paid_loan_has_repaid_its_amount_with_interest(book: pd.DataFrame) -> None:
    """A fully paid loan has paid more than its amount, owes nothing, and repaid all principal."""
    paid = book[book["loan_status"].isin(FULLY_PAID)]
    assert (paid["total_pymnt"] > paid["loan_amnt"]).all()
    assert (paid["out_prncp"] == 0).all()
    assert (paid["total_rec_prncp"] == paid["loan_amnt"]).all()


def test_many_loans_are_repaid_early_in_one_large_payment(book: pd.DataFrame) -> None:
    """The last payment of most fully paid loans is several instalments; of a current loan it is mostly one."""
    in_instalments = book["last_pymnt_amnt"] / book["installment"]
    assert (in_instalments[book["loan_status"] == "Fully Paid"] > 3).mean() > 0.5
    assert in_instalments[book["loan_status"] == "Current"].between(0.99, 1.01).mean() > 0.85


def test_current_loan_has_paid_about_one_instalment_a_month(book: pd.DataFrame) -> None:
    """The payments to date of a current loan are its age in instalments, less at most one, plus at most two."""
    current = book[book["loan_status"] == "Current"]
    ahead = current["total_pymnt"] / current["installment"] - ages_in_months(current)
    assert ahead.between(-1.01, 2).all()


def test_charged_off_loan_stopped_paying_months_ago(book: pd.DataFrame) -> None:
    """A charged-off loan last paid at least four months before the snapshot, if ever, and repaid less than it owed."""
    lost = book[book["loan_status"] == "Charged Off"]
    last = pd.to_datetime(lost["last_pymnt_d"], format="%b-%Y").dropna()
    assert last.max() <= pd.Timestamp(2015, 9, 1)
    assert (lost["total_rec_prncp"] < lost["loan_amnt"]).all()
    assert (lost["recoveries"] > 0).mean() > 0.3
    assert (book.loc[book["loan_status"] != "Charged Off", "recoveries"] > 0).sum() <= 100


def test_issued_loan_has_paid_nothing(book: pd.DataFrame) -> None:
    """A loan just issued owes its amount and has no payment yet."""
    issued = book[book["loan_status"] == "Issued"]
    assert (issued["out_prncp"] == issued["loan_amnt"]).all()
    assert (issued[["total_pymnt", "last_pymnt_amnt"]] == 0).all(axis=None)
    assert issued["last_pymnt_d"].isna().all()


def test_payments_add_up_and_are_never_negative(book: pd.DataFrame) -> None:
    """Principal, interest, late fees and recoveries are the payments to date, to the cent, and none is below zero."""
    parts = book[["total_rec_prncp", "total_rec_int", "total_rec_late_fee", "recoveries"]]
    others = book[["out_prncp", "out_prncp_inv", "total_pymnt", "total_pymnt_inv", "last_pymnt_amnt"]]
    assert (parts >= 0).all(axis=None)
    assert (others >= 0).all(axis=None)
    np.testing.assert_allclose(parts.sum(axis=1), book["total_pymnt"], atol=0.005)
    assert (book["total_pymnt_inv"] <= book["total_pymnt"]).all()


def test_missing_values_are_those_of_the_full_file(book: pd.DataFrame) -> None:
    """Each column is missing about as often as in Kaggle's file, and the columns that are never missing are full."""
    missing = book.isna().mean()
    assert (book["emp_length"] == "n/a").mean() == pytest.approx(0.05, abs=0.01)
    for rare in ("annual_inc", "revol_util", "delinq_2yrs", "pub_rec", "acc_now_delinq", "collections_12_mths_ex_med"):
        assert 0 < missing[rare] < 0.001
    for full in ("loan_amnt", "term", "int_rate", "installment", "purpose", "loan_status", "dti", "issue_d"):
        assert missing[full] == 0


def test_every_cleaning_step_has_work_on_20000_loans(book: pd.DataFrame) -> None:
    """A book of 20,000 loans holds each kind of odd value, and each is rare."""
    short = book.head(20_000)
    odd = {
        "income of millions": short["annual_inc"] > 2_000_000,
        "ratio of 9999": short["dti"] == 9999,
        "delinquent accounts": short["acc_now_delinq"] > 6,
        "other home": short["home_ownership"] == "OTHER",
        "no home": short["home_ownership"] == "NONE",
        "any home": short["home_ownership"] == "ANY",
        "collections": short["collections_12_mths_ex_med"] > 5,
        "delinquencies": short["delinq_2yrs"] > 10,
        "derogatory records": short["pub_rec"] > 10,
        "utilisation": short["revol_util"] > 100,
        "utilisation of several hundred": short["revol_util"] > 150,
    }
    counts = {name: int(found.sum()) for name, found in odd.items()}
    assert {name: count for name, count in counts.items() if not 0 < count < 100} == {}


@pytest.mark.parametrize("rows", [1_000, 20_000, 100_000])
def test_what_cleaning_leaves_is_within_the_contract(book: pd.DataFrame, rows: int) -> None:
    """After the filter on incomes no field of any book exceeds the bounds that a request must keep."""
    loans = book.head(rows)
    income = loans["annual_inc"].dropna()
    kept = income[(income - income.mean()).abs() <= 3 * income.std()]
    assert kept.between(1896, 273_000).all()
    assert loans.loc[loans["dti"] != 9999, "dti"].between(0, 42.64).all()
    assert loans["revol_util"].dropna().between(0, 892.3).all()
    assert loans["int_rate"].between(5.32, 28.99).all()
    assert loans["loan_amnt"].between(500, 35_000).all()
    assert (loans["loan_amnt"] % 25 == 0).all()
    assert loans["last_pymnt_amnt"].max() <= 36_475.59
    assert loans["total_pymnt_inv"].max() <= 57_777.58


def test_ordinary_figures_are_near_the_lenders(book: pd.DataFrame) -> None:
    """Medians and shares of the common fields are near those of Kaggle's full file."""
    assert book["annual_inc"].median() == pytest.approx(65_000, rel=0.05)
    assert book["dti"].median() == pytest.approx(17.7, abs=1)
    assert book["revol_util"].median() == pytest.approx(56, abs=3)
    assert book["int_rate"].mean() == pytest.approx(13.2, abs=0.5)
    assert book["loan_amnt"].mean() == pytest.approx(14_755, rel=0.05)
    assert (book["term"] == " 60 months").mean() == pytest.approx(0.30, abs=0.03)
    assert (book["purpose"] == "debt_consolidation").mean() == pytest.approx(0.59, abs=0.01)
    assert (book["emp_length"] == "10+ years").mean() == pytest.approx(0.33, abs=0.01)


@pytest.mark.parametrize(
    ("field", "direction"),
    [("int_rate", 1), ("dti", 1), ("revol_util", 1), ("delinq_2yrs", 1), ("annual_inc", -1)],
)
def test_default_becomes_likelier_with_the_hazards(book: pd.DataFrame, field: str, direction: int) -> None:
    """Risky loans have higher rates, ratios, utilisation and delinquencies than the others, and lower incomes."""
    risky = book["loan_status"].isin(RISKY)
    typical = book[field].where(book[field] < book[field].quantile(0.999))
    assert direction * (typical[risky].mean() - typical[~risky].mean()) > 0


def test_contract_fields_tell_risky_from_safe_but_not_perfectly(book: pd.DataFrame) -> None:
    """LightGBM on the contract's 16 fields reaches an AUC between 0.90 and 0.99 on loans it has not seen."""
    numbers = ["annual_inc", "collections_12_mths_ex_med", "delinq_2yrs", "dti", "acc_now_delinq", "int_rate"]
    numbers += ["last_pymnt_amnt", "loan_amnt", "pub_rec", "revol_util", "total_pymnt_inv"]
    levels = ["emp_length", "home_ownership", "purpose", "term", "verification_status"]
    fields = pd.concat([book[numbers], book[levels].astype("category")], axis=1)
    risky = book["loan_status"].isin(RISKY).to_numpy()
    train = lightgbm.Dataset(fields[:60_000], label=risky[:60_000])
    settings = {"objective": "binary", "verbosity": -1, "seed": 42, "num_threads": 1, "deterministic": True}
    score = pd.Series(lightgbm.train(settings, train, num_boost_round=60).predict(fields[60_000:]))
    tested = risky[60_000:]
    ranks = score.rank().to_numpy()[tested].sum()
    auc = (ranks - tested.sum() * (tested.sum() + 1) / 2) / (tested.sum() * (~tested).sum())
    assert 0.90 < auc < 0.99
