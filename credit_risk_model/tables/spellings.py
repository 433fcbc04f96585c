"""Finds the level that a text means if it is not spelled as in the contract.

Over HTTP only the contract's spelling is accepted. Tables may use any text that can mean only one level.
"""

import re
from collections.abc import Callable, Iterable

from credit_risk_model.features import Feature
from credit_risk_model.schemas import EmploymentLength, Term, VerificationStatus


def find_level(feature: Feature, text: str) -> str | None:
    """Find the level that a text means; return None if it means none, or may mean several.

    Case, spaces, underscores and hyphens make no difference. The months of a term and the years of an employment may be
    numbers. Two level names that LendingClub used until 2012 are known, too.
    """
    level, special = find_spelling(feature.levels, text), _SPECIAL.get(feature.name)
    return special(_normalize(text)) if level is None and special else level


def find_spelling(levels: Iterable[str], text: str) -> str | None:
    """Find the level that a text spells; return None if it spells none."""
    plain = _normalize(text)
    return next((level for level in levels if plain == _normalize(level)), None)


def _normalize(text: str) -> str:
    # A hyphen before a number may be a minus sign.
    return re.sub(r"(?<=[a-z])\s*-\s*(?=[a-z])|[\s_]+", " ", text.casefold()).strip()


def _find_term(plain: str) -> str | None:
    found = re.fullmatch(r"(\d\d)(?:\.0+)? ?(?:m|mo|mos|mths?|months?)?\.?", plain)
    return next((str(term.value) for term in Term if found and int(found[1]) == term.months), None)


def _find_employment(plain: str) -> str | None:
    if re.fullmatch(r"(<|under|less than) ?(1|one)( ?(y|yr|year)s?\.?)?", plain):
        return str(EmploymentLength.LESS_THAN_1_YEAR.value)
    found = re.fullmatch(r"(\d{1,2})(?:\.0+)?( ?\+| ?or more)? ?(?:y|yrs?|years?)?\.?", plain)
    years = int(found[1]) if found else -1
    if years >= 10:
        return str(EmploymentLength.TEN_OR_MORE_YEARS.value)
    if years < 0 or (found and found[2]):  # 5+ may be any of six levels
        return None
    return str(list(EmploymentLength)[years].value)


def _find_verification(plain: str) -> str | None:
    return {
        "verified income": VerificationStatus.VERIFIED.value,
        "verified income source": VerificationStatus.SOURCE_VERIFIED.value,
    }.get(plain)


_SPECIAL: dict[str, Callable[[str], str | None]] = {
    "term": _find_term,
    "employment_length": _find_employment,
    "verification_status": _find_verification,
}

NUMBERS_ALLOWED = ("term", "employment_length")
"""Fields whose levels may be given as numbers."""
