"""Bodies that nobody should send, by name: the bytes, the status, and words of the message that tell the reason."""

import json

from raw_client import LOAN, post, predict_with

from credit_risk_model.examples import EXAMPLE_LOAN

EXPLANATION = "/api/models/credit_risk_explanation/prediction"

BATCH = "/api/models/credit_risk_batch/prediction"

SENT = "sent7391"
"""Stands in what is sent, and must not stand in the log."""


def loan(field: str, text: str) -> bytes:
    """Give the example loan with JSON text of any kind as one field's value."""
    return json.dumps({**EXAMPLE_LOAN, field: "<>"}).replace('"<>"', text).encode("utf-8", "surrogatepass")


def batch(*loans: bytes) -> bytes:
    """Give a batch of loans."""
    return b'{"loans": [' + b",".join(loans) + b"]}"


# By name: what is sent, the status, and words of the message that tell that it was refused for the right reason.
BODIES = {
    "empty body": (post(b""), 400, "'body' has error 'missing'"),
    "white space": (post(b" \r\n\t"), 400, "json_invalid"),
    "no JSON": (post(SENT.encode()), 400, "json_invalid"),
    "truncated": (post(LOAN[:-1]), 400, "json_invalid"),
    "more after the end": (post(LOAN + LOAN), 400, "json_invalid"),
    "byte order mark": (post(b"\xef\xbb\xbf" + LOAN), 200, ""),
    "UTF-16": (post(LOAN.decode().encode("utf-16")), 400, "UTF-16"),
    "UTF-16 that says so": (
        post(LOAN.decode().encode("utf-16"), content_type="application/json; charset=utf-16"),
        400,
        "UTF-16",
    ),
    "UTF-16 without a mark": (post(LOAN.decode().encode("utf-16-le")), 400, "UTF-16"),
    "UTF-32": (post(LOAN.decode().encode("utf-32")), 400, "UTF-32"),
    "UTF-32 without a mark": (post(LOAN.decode().encode("utf-32-be")), 400, "UTF-32"),
    "invalid UTF-8 in a value": (post(LOAN.replace(b"RENT", b"\xff\xfe")), 400, "json_invalid"),
    "invalid UTF-8 in a name": (post(LOAN.replace(b"term", b"\xc3\x28")), 400, "json_invalid"),
    "overlong UTF-8": (post(LOAN.replace(b"RENT", b"\xc0\xafRENT")), 400, "json_invalid"),
    "UTF-8 of a surrogate": (post(loan("term", '"\ud800"')), 400, "json_invalid"),
    "escaped lone surrogate": (post(loan("term", r'"\ud800"')), 400, "json_invalid"),
    "lone surrogate as a name": (post(LOAN.replace(b'"term"', rb'"\udfff"')), 400, "json_invalid"),
    "unfinished escape": (post(loan("term", r'"\u12"')), 400, "json_invalid"),
    "raw control character": (post(loan("term", '"\x01"')), 400, "json_invalid"),
    "zeros": (post(b"\x00" * 500), 400, "json_invalid"),
    "zero byte in a value": (post(loan("term", r'" 36\u0000 months"')), 400, "'body, term' has error 'enum'"),
    "zero byte in a name": (post(LOAN.replace(b'"term"', rb'"term\u0000"')), 400, "extra_forbidden"),
    "comment": (post(b"/* " + SENT.encode() + b" */" + LOAN), 400, "json_invalid"),
    "single quotes": (post(LOAN.replace(b'"', b"'")), 400, "json_invalid"),
    "trailing comma": (post(LOAN[:-1] + b",}"), 400, "json_invalid"),
    "YAML": (post(b"annual_income: 65000\n"), 400, "json_invalid"),
    "XML with an entity": (
        post(b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
        400,
        "json_invalid",
    ),
    "pickle": (post(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins\x94."), 400, "json_invalid"),
    "gzip": (
        predict_with("Content-Encoding: gzip", "Content-Length: 4", body=b"\x1f\x8b\x08\x00"),
        415,
        "without Content-Encoding",
    ),
    "arrays 60,000 deep": (post(b"[" * 60_000), 400, "60000 JSON arrays"),
    "closed arrays 30,000 deep": (post(b"[" * 30_000 + b"]" * 30_000), 400, "30000 JSON arrays"),
    "objects 10,000 deep": (post(b'{"a":' * 10_000 + b"0" + b"}" * 10_000), 400, "10000 JSON objects"),
    "arrays 100,000 deep": (post(b'{"loans":' + b"[" * 100_000, BATCH), 400, "100000 JSON arrays"),
    "objects 100,000 deep": (post(b'{"loans":' * 100_000, BATCH), 400, "100000 JSON objects"),
    "deep value of an unknown field": (post(loan("x", "[" * 150 + "]" * 150)), 400, "150 JSON arrays"),
    "array": (post(b"[" + LOAN + b"]"), 400, "'body' has error 'model_type'"),
    "string": (post(f'"{SENT}"'.encode()), 400, "model_type"),
    "number": (post(b"73917391"), 400, "model_type"),
    "null": (post(b"null"), 400, "model_type"),
    "loan in a string": (post(json.dumps(LOAN.decode()).encode()), 400, "model_type"),
}

VALUES = {
    "NaN": (post(loan("debt_to_income_ratio", "NaN")), 400, "'body, debt_to_income_ratio' has error 'finite_number'"),
    "Infinity": (post(loan("debt_to_income_ratio", "Infinity")), 400, "finite_number"),
    "-Infinity for a whole number": (post(loan("annual_income", "-Infinity")), 400, "'body, annual_income'"),
    "1e400": (post(loan("annual_income", "1e400")), 400, "'body, annual_income'"),
    "1e400 for a fraction": (post(loan("interest_rate", "1e400")), 400, "'body, interest_rate'"),
    "-1e400": (post(loan("last_payment_amount", "-1e400")), 400, "'body, last_payment_amount'"),
    "1e-400 is zero": (post(loan("debt_to_income_ratio", "1e-400")), 200, ""),
    "exponent of 400 digits": (post(loan("annual_income", "1e" + "9" * 400)), 400, "'body, annual_income'"),
    "4,000 digits": (post(loan("annual_income", "7" * 4000)), 400, "'body, annual_income'"),
    "4,000 digits for a fraction": (post(loan("interest_rate", "7" * 4000)), 400, "'body, interest_rate'"),
    "5,000 digits": (post(loan("annual_income", "7" * 5000)), 400, "json_invalid"),
    "60,000 digits": (post(loan("annual_income", "7" * 60_000)), 400, "json_invalid"),
    "60,000 digits after the point": (
        post(loan("annual_income", "65000.0" + "7" * 60_000)),
        400,
        "'body, annual_income'",
    ),
    "2 to the 63": (post(loan("annual_income", str(2**63))), 400, "'body, annual_income'"),
    "leading zeros": (post(loan("annual_income", "0065000")), 400, "json_invalid"),
    "plus sign": (post(loan("annual_income", "+65000")), 400, "json_invalid"),
    "hexadecimal": (post(loan("annual_income", "0xFDE8")), 400, "json_invalid"),
    "negative zero": (post(loan("collections_in_last_12_months", "-0")), 200, ""),
    "negative zero of a fraction": (post(loan("debt_to_income_ratio", "-0.0")), 200, ""),
    "negative": (post(loan("loan_amount", "-500")), 400, "'body, loan_amount' has error 'greater_than_equal'"),
    "true for a number": (post(loan("annual_income", "true")), 400, "'body, annual_income' has error 'float_type'"),
    "false for a fraction": (post(loan("debt_to_income_ratio", "false")), 400, "'body, debt_to_income_ratio'"),
    "numeric string": (post(loan("annual_income", '"65000"')), 400, "'body, annual_income' has error 'float_type'"),
    "numeric string for a fraction": (post(loan("interest_rate", '"13.5"')), 400, "'body, interest_rate'"),
    "part of a whole": (
        post(loan("annual_income", "65000.5")),
        400,
        "'body, annual_income' has error 'int_from_float'",
    ),
    "null": (post(loan("term", "null")), 400, "'body, term' has error 'enum'"),
    "array for a number": (post(loan("annual_income", "[65000]")), 400, "'body, annual_income'"),
    "object for a level": (post(loan("term", '{"value": " 36 months"}')), 400, "'body, term' has error 'enum'"),
    "level in lower case": (post(loan("home_ownership", '"rent"')), 400, "'body, home_ownership' has error 'enum'"),
    "level's Python name": (post(loan("term", '"thirty_six_months"')), 400, "'body, term'"),
    "level's code": (post(loan("home_ownership", "0")), 400, "'body, home_ownership'"),
    "level without its space": (post(loan("term", '"36 months"')), 400, "'body, term'"),
    "no-break space": (post(loan("term", '"\u00a036 months"')), 400, "'body, term'"),
    "Cyrillic lookalike": (post(loan("home_ownership", '"R\u0415NT"')), 400, "'body, home_ownership'"),
    "full-width lookalike": (post(loan("home_ownership", '"\uff32\uff25\uff2e\uff34"')), 400, "'body, home_ownership'"),
    "full-width digits": (post(loan("annual_income", "\uff16\uff15\uff10\uff10\uff10")), 400, "json_invalid"),
    "right-to-left override": (post(loan("home_ownership", '"\u202eTNER"')), 400, "'body, home_ownership'"),
    "string of 60,000": (post(loan("term", f'"{SENT * 7500}"')), 400, "'body, term' has error 'enum'"),
    "SQL": (post(loan("term", '"\' OR 1=1 --"')), 400, "'body, term'"),
    "template": (post(loan("term", '"{0.__class__} %s ${jndi:ldap://x} {{7*7}}"')), 400, "'body, term'"),
}

NAMES = {
    "the last of duplicate names counts": (post(LOAN.replace(b"{", b'{"annual_income": 1, ', 1)), 200, ""),
    "bad duplicate": (post(LOAN[:-1] + b', "annual_income": 1}'), 400, "'body, annual_income'"),
    "no fields": (post(b"{}"), 400, "'body, annual_income' has error 'missing'"),
    "unknown name": (post(loan("grade", f'"{SENT}"')), 400, "'body, grade' has error 'extra_forbidden'"),
    "name of 60,000": (post(loan(SENT * 7500, "1")), 400, "extra_forbidden"),
    "empty name": (post(loan("", "1")), 400, "extra_forbidden"),
    "Cyrillic name": (post(LOAN.replace(b"term", "t\u0435rm".encode())), 400, "'body, term' has error 'missing'"),
    "name in capitals": (post(LOAN.replace(b"term", b"TERM")), 400, "'body, term' has error 'missing'"),
    "__proto__": (post(loan("__proto__", '{"term": 1}')), 400, "'body, __proto__' has error 'extra_forbidden'"),
    "constructor": (post(loan("constructor", '{"prototype": {}}')), 400, "'body, constructor'"),
    "__class__": (post(loan("__class__", '"str"')), 400, "'body, __class__'"),
    "model_config": (post(loan("model_config", '{"extra": "allow"}')), 400, "'body, model_config'"),
    "$ref": (post(loan("$ref", '"#/components"')), 400, "'body, $ref'"),
    "name with a line break": (post(loan(r"a\r\nb\u001b[31m", "1")), 400, "extra_forbidden"),
    "5,000 names": (post(json.dumps(dict.fromkeys(map(str, range(5000)), 0)).encode()), 400, "5000 JSON names"),
    "10,000 names": (post(json.dumps(dict.fromkeys(map(str, range(10_000)), 0)).encode()), 413, "larger than 65536"),
    "10,000 names in a batch": (
        post(json.dumps(dict.fromkeys(map(str, range(10_000)), 0)).encode(), BATCH),
        400,
        "more",
    ),
    "no reasons": (post(loan("max_reasons", "0"), EXPLANATION), 400, "'body, max_reasons'"),
    "reasons in words": (post(loan("max_reasons", '"all"'), EXPLANATION), 400, "'body, max_reasons'"),
    "a googol of reasons": (post(loan("max_reasons", "1e100"), EXPLANATION), 400, "'body, max_reasons'"),
}

BATCHES = {
    "no loans": (post(batch(), BATCH), 400, "'body, loans' has error 'too_short'"),
    "1,001 loans": (post(batch(*[LOAN] * 1001), BATCH), 400, "'body, loans' has error 'too_long'"),
    "good and bad loans": (post(batch(LOAN, b"{}", LOAN), BATCH), 400, "'body, loans, 1, annual_income'"),
    "only bad loans": (post(batch(loan("term", "1")), BATCH), 400, "'body, loans, 0, term'"),
    "300,000 empty loans": (post(batch(*[b"{}"] * 300_000), BATCH), 400, "300001 JSON objects"),
    "1,999 empty loans": (post(batch(*[b"{}"] * 1999), BATCH), 400, "2000 JSON objects"),
    "1,000 loans of 150 names": (
        post(batch(*[b"{" + b",".join(b'"%x":0' % name for name in range(150)) + b"}"] * 850), BATCH),
        400,
        "JSON names",
    ),
    "loan of 100,000 names": (
        post(batch(b"{" + b",".join(b'"%x":0' % name for name in range(100_000)) + b"}"), BATCH),
        400,
        "JSON names",
    ),
    "499,000 numbers": (post(b'{"loans": [' + b"1," * 498_999 + b"1]}", BATCH), 400, "498999 JSON commas"),
    "loans as an object": (post(b'{"loans": {"0": {}}}', BATCH), 400, "'body, loans'"),
    "batch in a batch": (post(batch(batch(LOAN)), BATCH), 400, "'body, loans, 0, loans' has error 'extra_forbidden'"),
    "loan for a batch": (post(LOAN, BATCH), 400, "'body, loans' has error 'missing'"),
    "batch for a loan": (post(batch(LOAN)), 400, "'body, loans' has error 'extra_forbidden'"),
    "too large a batch": (post(b" " * 1_000_001, BATCH), 413, "larger than 1000000"),
}
