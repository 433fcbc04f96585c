from credit_risk_model.contract import widen
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.training.golden import make_golden_loans


def test_golden_loans_are_made_from_the_contract() -> None:
    """A few dozen valid loans: the example, the one at all lower bounds, the one at all upper bounds, and others."""
    loans = [loan.model_dump(mode="json") for loan in make_golden_loans(seed=1)]
    assert loans[0] == EXAMPLE_LOAN
    assert (loans[1]["loan_amount"], loans[1]["term"], loans[1]["instalments_due"]) == (500, " 36 months", 0)
    assert (loans[2]["loan_amount"], loans[2]["term"], loans[2]["instalments_due"]) == (35000, " 60 months", 60)
    without_age = sum(loan["instalments_due"] is None for loan in loans)
    assert 5 < without_age < 30
    for field in ("employment_length", "debt_to_income_ratio", "revolving_line_utilization_rate"):
        assert any(loan[field] is None for loan in loans)
    assert len({str(loan) for loan in loans}) == len(loans) == 48


def test_golden_loans_follow_the_seed() -> None:
    """The same seed makes the same loans, a different seed different ones."""
    assert make_golden_loans(seed=1) == make_golden_loans(seed=1)
    assert make_golden_loans(seed=1)[3:] != make_golden_loans(seed=2)[3:]


def test_golden_loans_reach_the_bounds_of_their_contract() -> None:
    """With widened bounds, the loans reach both of them; those of the shipped contract are unchanged."""
    wider = widen({"loan_amount": (100, 40_000), "interest_rate": (5.31, 30.99)})
    amounts = [loan.loan_amount for loan in make_golden_loans(seed=1, contract=wider)]
    assert (min(amounts), max(amounts)) == (100, 40_000)
    assert make_golden_loans(seed=1, contract=widen({})) == make_golden_loans(seed=1)
