import pytest

from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.tables.spellings import find_level

LEVELS = {feature.name: feature for feature in CONTRACT_FEATURES if feature.levels}


@pytest.mark.parametrize("name", LEVELS)
def test_case_and_spaces_make_no_difference(name: str) -> None:
    """Each level is found in upper and lower case, without spaces around it, and with other marks between words."""
    for level in LEVELS[name].levels:
        for text in (level, level.upper(), level.lower(), level.strip(), f" {level} ", level.replace(" ", "_")):
            assert find_level(LEVELS[name], text) == level


@pytest.mark.parametrize(
    ("name", "texts", "level"),
    [
        ("term", ["36", "36.0", "36 months", "36m", "36 mo.", "36 Month"], " 36 months"),
        ("term", ["60", "60 MONTHS", "60mths"], " 60 months"),
        ("employment_length", ["<1 year", "< 1", "<1 yr", "less than 1 year", "under one year", "0"], "< 1 year"),
        ("employment_length", ["1", "1.0", "1 yr", "1 years"], "1 year"),
        ("employment_length", ["9", "9 YEARS", "9yrs."], "9 years"),
        ("employment_length", ["10", "10+", "10+ yrs", "10 years", "10 or more years", "17"], "10+ years"),
        ("home_ownership", ["rent", "Rent "], "RENT"),
        ("verification_status", ["SOURCE_VERIFIED", "VERIFIED - income source"], "Source Verified"),
        ("verification_status", ["VERIFIED - income"], "Verified"),
        ("verification_status", ["not-verified"], "Not Verified"),
        ("loan_purpose", ["Debt Consolidation", "debt-consolidation"], "debt_consolidation"),
    ],
)
def test_other_spellings_mean_one_level(name: str, texts: list[str], level: str) -> None:
    """What lenders write for a level, and can mean no other, is that level."""
    assert [find_level(LEVELS[name], text) for text in texts] == [level] * len(texts)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("term", ["48 months", "3", "360", "36 years", "36 or 60", "36.5", ""]),
        ("employment_length", ["5+", "1-2 years", "-1", "<2 years", "100", "0.5", "ten", "10 months", "n"]),
        ("home_ownership", ["OTHER", "NONE", "ANY", "RENT or OWN", "r"]),
        ("verification_status", ["yes", "source", "verified by phone"]),
        ("loan_purpose", ["boat", "debt"]),
    ],
)
def test_text_that_may_mean_several_levels_means_none(name: str, texts: list[str]) -> None:
    """What is no level, or may be one of several, is not guessed."""
    assert [find_level(LEVELS[name], text) for text in texts] == [None] * len(texts)
