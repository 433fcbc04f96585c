"""What nobody should send, by name: the bytes, the status, and words of the message that tell the reason."""

import json

from raw_client import CHUNK, CHUNKED, LENGTH, LOAN, PREDICTION, post, predict_with, request

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

CONTENT_TYPES = {
    "form": (post(b"annual_income=65000", content_type="application/x-www-form-urlencoded"), 415, "application/json"),
    "text": (post(LOAN, content_type="text/plain"), 415, "application/json"),
    "multipart": (post(LOAN, content_type="multipart/form-data; boundary=x"), 415, "application/json"),
    "pickled": (post(LOAN, content_type="application/python-pickle"), 415, "application/json"),
    "two in one": (post(LOAN, content_type="application/json, text/plain"), 415, "application/json"),
    "empty content type": (post(LOAN, content_type=""), 415, "application/json"),
    "long content type": (post(LOAN, content_type="application/" + "a+" * 2000), 415, "application/json"),
    "no content type": (predict_with(LENGTH), 200, ""),
    "two content types": (
        predict_with("Content-Type: application/json", "Content-Type: text/plain", LENGTH),
        415,
        "application/json",
    ),
}

METHODS_AND_PATHS = {
    "GET of a prediction": (request(f"GET {PREDICTION} HTTP/1.1", "Host: x"), 405, "Method Not Allowed"),
    "HEAD": (request("HEAD /api/models HTTP/1.1", "Host: x"), 200, ""),
    "HEAD of a prediction": (request(f"HEAD {PREDICTION} HTTP/1.1", "Host: x"), 405, ""),
    "PUT": (predict_with(LENGTH, line=f"PUT {PREDICTION} HTTP/1.1"), 405, "Method Not Allowed"),
    "DELETE": (request(f"DELETE {PREDICTION} HTTP/1.1", "Host: x"), 405, "Method Not Allowed"),
    "PATCH": (predict_with(LENGTH, line=f"PATCH {PREDICTION} HTTP/1.1"), 405, "Method Not Allowed"),
    "OPTIONS": (request(f"OPTIONS {PREDICTION} HTTP/1.1", "Host: x"), 200, ""),
    "OPTIONS of all": (request("OPTIONS * HTTP/1.1", "Host: x"), 404, "Not Found"),
    "TRACE": (request(f"TRACE {PREDICTION} HTTP/1.1", "Host: x"), 405, "Method Not Allowed"),
    "PROPFIND": (request(f"PROPFIND {PREDICTION} HTTP/1.1", "Host: x"), 405, "Method Not Allowed"),
    "post to a probe": (post(LOAN, "/api/health"), 405, "Method Not Allowed"),
    "post to the metrics": (post(LOAN, "/metrics"), 405, "Method Not Allowed"),
    "unknown path": (request("GET /.env HTTP/1.1", "Host: x"), 404, "Not Found"),
    "unknown model": (post(LOAN, "/api/models/unknown/prediction"), 404, "Not Found"),
    "unknown model's metadata": (request("GET /api/models/unknown/metadata HTTP/1.1", "Host: x"), 404, "Not Found"),
    "way up": (request("GET /api/models/../../../../etc/passwd HTTP/1.1", "Host: x"), 404, "Not Found"),
    "encoded way up": (request("GET /api/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1", "Host: x"), 404, "Not Found"),
    "way up and down again": (post(LOAN, "/api/models/../models/credit_risk_model/prediction"), 404, "Not Found"),
    "twice encoded": (post(LOAN, PREDICTION.replace("_", "%255f")), 404, "Not Found"),
    "encoded zero byte": (post(LOAN, f"{PREDICTION}%00"), 404, "Not Found"),
    "zero byte for a model": (post(LOAN, "/api/models/%00/prediction"), 404, "Not Found"),
    "line break for a model": (post(LOAN, "/api/models/%0d%0aSet-Cookie:a/prediction"), 404, "Not Found"),
    "line feed after a prediction": (post(LOAN, f"{PREDICTION}%0a"), 404, "Not Found"),
    "line feed after a probe": (request("GET /api/health%0a HTTP/1.1", "Host: x"), 404, "Not Found"),
    "invalid UTF-8 for a model": (post(LOAN, "/api/models/%ff%fe/prediction"), 404, "Not Found"),
    "surrogate for a model": (post(LOAN, "/api/models/%ed%a0%80/prediction"), 404, "Not Found"),
    "broken encoding": (request("GET /%zz%% HTTP/1.1", "Host: x"), 404, "Not Found"),
    "double slash": (post(LOAN, f"/{PREDICTION}"), 404, "Not Found"),
    "semicolon": (post(LOAN, f"{PREDICTION};a=b"), 404, "Not Found"),
    "query": (post(LOAN, f"{PREDICTION}?annual_income=1&__proto__[x]=1"), 200, ""),
    "capitals": (post(LOAN, PREDICTION.upper()), 404, "Not Found"),
    "absolute address": (post(LOAN, f"http://elsewhere.example{PREDICTION}"), 200, ""),
}

HTTP = {
    "HTTP/0.9": (b"GET /api/models\r\n\r\n", 400, "not HTTP/1.1"),
    "HTTP/1.0": (request(f"POST {PREDICTION} HTTP/1.0", LENGTH, body=LOAN), 200, ""),
    "bytes beyond ASCII in a header": (predict_with(LENGTH, "X-A: \xff\xfe"), 200, ""),
    "no host": (request(f"POST {PREDICTION} HTTP/1.1", LENGTH, body=LOAN), 400, "one Host header"),
    "two hosts": (predict_with("Host: elsewhere.example", LENGTH), 400, "one Host header"),
    "host with a path": (request("GET /api/models HTTP/1.1", "Host: a/b@c"), 400, "one Host header"),
    "host that is no host": (request("GET /api/models HTTP/1.1", "Host: [::1"), 200, ""),
    "host that is no host, nothing there": (request("GET /nothing/ HTTP/1.1", "Host: [::1"), 404, "Not Found"),
    "port that is no port": (request("GET /nothing HTTP/1.1", "Host: x:99999999999"), 404, "Not Found"),
    "forwarded for many": (predict_with(LENGTH, "X-Forwarded-For: " + "1.2.3.4, " * 100), 200, ""),
    "expects to continue": (predict_with(LENGTH, "Expect: 100-continue"), 200, ""),
    "expects to continue with too much": (
        predict_with("Content-Length: 100000000", "Expect: 100-continue", body=b""),
        413,
        "larger than 65536",
    ),
    "expects something else": (predict_with(LENGTH, "Expect: the unexpected"), 200, ""),
    "range": (predict_with(LENGTH, "Range: bytes=0-18446744073709551615"), 200, ""),
    "WebSocket": (
        request(
            "GET /api/models HTTP/1.1",
            *("Host: x", "Connection: Upgrade", "Upgrade: websocket"),
            *("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13"),
        ),
        200,
        "",
    ),
    "HTTP/2 by upgrade": (
        request("GET /api/models HTTP/1.1", "Host: x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
        200,
        "",
    ),
    "HTTP/2 by upgrade of a prediction": (
        predict_with(LENGTH, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA"),
        200,
        "",
    ),
    "HTTP/2 by upgrade of a prediction in chunks": (
        predict_with(CHUNKED, "Connection: Upgrade", "Upgrade: h2c", body=CHUNK + b"0\r\n\r\n"),
        200,
        "",
    ),
}

LENGTHS = {
    "too large": (post(b" " * 65_537), 413, "larger than 65536"),
    "says it is too large": (predict_with("Content-Length: 65537", body=b""), 413, "larger than 65536"),
    "says it is huge": (predict_with("Content-Length: 9223372036854775807", body=b""), 413, "larger than 65536"),
    "too large in chunks": (
        predict_with(CHUNKED, body=(b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 5),
        413,
        "larger than 65536",
    ),
    "chunks in HTTP/1.0": (request(f"POST {PREDICTION} HTTP/1.0", CHUNKED, body=CHUNK + b"0\r\n\r\n"), 200, ""),
    "tab before chunked": (predict_with("Transfer-Encoding:\tchunked", body=CHUNK + b"0\r\n\r\n"), 200, ""),
    "chunk extensions": (predict_with(CHUNKED, body=CHUNK.replace(b"\r\n", b";a=b\r\n", 1) + b"0\r\n\r\n"), 200, ""),
    "no chunks": (predict_with(CHUNKED, body=b"0\r\n\r\n"), 400, "'body' has error 'missing'"),
    "a chunk for each byte": (
        predict_with(CHUNKED, body=b"".join(b"1\r\n%c\r\n" % byte for byte in LOAN) + b"0\r\n\r\n"),
        200,
        "",
    ),
    "compressed chunks": (predict_with("Transfer-Encoding: gzip, chunked", body=CHUNK + b"0\r\n\r\n"), 501, "chunked"),
    "length of 4,400 digits": (predict_with("Content-Length: " + "0" * 4400 + "5"), 413, "larger than 65536"),
    "trailer": (predict_with(CHUNKED, body=CHUNK + b"0\r\nX-A: b\r\n\r\n"), 200, ""),
}

# What is no HTTP, or two things at once.
MALFORMED = {
    "backslashes": (request(r"GET \api\health HTTP/1.1", "Host: x"), 400, ""),
    "absolute address of nothing": (request("GET http://elsewhere.example HTTP/1.1", "Host: x"), 400, ""),
    "CONNECT": (request("CONNECT elsewhere.example:443 HTTP/1.1", "Host: x"), 400, ""),
    "unknown method": (request(f"PREDICT {PREDICTION} HTTP/1.1", "Host: x"), 400, ""),
    "method in lower case": (request("get /api/health HTTP/1.1", "Host: x"), 400, ""),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, ""),
    "HTTP/9.9": (request("GET /api/health HTTP/9.9", "Host: x"), 400, ""),
    "other protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", 400, ""),
    "TLS client hello": (bytes.fromhex("16030100c8010000c40303") + bytes(194), 400, ""),
    "nothing but zeros": (bytes(1000), 400, ""),
    "bare line feeds": (f"GET /api/models HTTP/1.1\nHost: x\n{CHUNKED}\n\n0\n\n".encode(), 400, ""),
    "zero byte in the address": (request("GET /api\x00/health HTTP/1.1", "Host: x"), 400, ""),
    "byte beyond ASCII in the address": (request("GET /api/\xff HTTP/1.1", "Host: x"), 400, ""),
    "space in the address": (request("GET /api/models and more HTTP/1.1", "Host: x"), 400, ""),
    "zero byte in a header": (predict_with(LENGTH, "X-A: a\x00b"), 400, ""),
    "line feed in a header": (predict_with(LENGTH, "X-A: a\nb"), 400, ""),
    "escape sequence in a header": (predict_with(LENGTH, "X-Request-ID: \x1b[31mred"), 400, ""),
    "folded header": (predict_with(LENGTH, "X-A: a\r\n b"), 400, ""),
    "space before the colon": (predict_with("Content-Length : 5"), 400, ""),
    "header without a colon": (predict_with("Content-Length"), 400, ""),
    "header without a name": (predict_with(": 5"), 400, ""),
    "length beyond 64 bits": (predict_with("Content-Length: 18446744073709551616"), 400, ""),
    "length of 4,000 digits": (predict_with("Content-Length: " + "9" * 4000), 400, ""),
    "negative length": (predict_with("Content-Length: -1"), 400, ""),
    "length with a sign": (predict_with(f"Content-Length: +{len(LOAN)}"), 400, ""),
    "length in hexadecimal": (predict_with("Content-Length: 0x10"), 400, ""),
    "length with a fraction": (predict_with("Content-Length: 10.0"), 400, ""),
    "empty length": (predict_with("Content-Length:"), 400, ""),
    "list of lengths": (predict_with(f"Content-Length: {len(LOAN)}, {len(LOAN)}"), 400, ""),
    "the same length twice": (predict_with(LENGTH, LENGTH), 400, ""),
    "two lengths": (predict_with(LENGTH, "Content-Length: 5"), 400, ""),
    "no length": (predict_with(), 400, ""),
    "body longer than its length": (predict_with("Content-Length: 10"), 400, ""),
    "length and chunks": (predict_with(LENGTH, CHUNKED, body=CHUNK + b"0\r\n\r\n"), 400, ""),
    "chunks and length": (predict_with(CHUNKED, "Content-Length: 3", body=b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"), 400, ""),
    "unknown transfer coding": (predict_with("Transfer-Encoding: cow", LENGTH), 400, ""),
    "chunks not last": (predict_with("Transfer-Encoding: chunked, gzip", body=CHUNK + b"0\r\n\r\n"), 400, ""),
    "chunk size that is no number": (predict_with(CHUNKED, body=b"xyz\r\n" + LOAN), 400, ""),
    "negative chunk size": (predict_with(CHUNKED, body=b"-5\r\n" + LOAN), 400, ""),
    "chunk size beyond 64 bits": (predict_with(CHUNKED, body=b"1" + b"0" * 16 + b"\r\n" + LOAN), 400, ""),
    "chunk longer than its size": (predict_with(CHUNKED, body=b"5\r\n" + LOAN + b"\r\n0\r\n\r\n"), 400, ""),
    "chunk with bare line feeds": (predict_with(CHUNKED, body=CHUNK.replace(b"\r\n", b"\n") + b"0\n\n"), 400, ""),
    "length in a trailer": (predict_with(CHUNKED, body=CHUNK + b"0\r\nContent-Length: 5\r\n\r\n"), 400, ""),
}

# What the server bounds.
HEADERS = {
    "1,000 headers": (predict_with(*(f"X-{number}: a" for number in range(1000)), LENGTH), 431, ""),
    "100,000 headers": (predict_with(*["X-A: a"] * 100_000, LENGTH), 431, ""),
    "header of 100,000": (predict_with("X-A: " + "a" * 100_000, LENGTH), 431, ""),
    "header's name of 100,000": (predict_with("X" * 100_000 + ": a", LENGTH), 431, ""),
    "header that does not end": (f"GET {PREDICTION} HTTP/1.1\r\nX-A: ".encode() + b"a" * 1_000_000, 431, ""),
    "header's name that does not end": (b"GET /api/health HTTP/1.1\r\n" + b"X" * 1_000_000, 431, ""),
    "trailers that do not end": (predict_with(CHUNKED, body=b"0\r\n" + b"X-A: a\r\n" * 100_000), 431, ""),
    "trailer that does not end": (predict_with(CHUNKED, body=CHUNK + b"0\r\nX-A: " + b"a" * 1_000_000), 431, ""),
    "chunk extension that does not end": (predict_with(CHUNKED, body=b"5;a=" + b"b" * 1_000_000), 431, ""),
    "address that does not end": (b"GET /" + b"a" * 1_000_000, 414, ""),
    "address of 100,000": (request("GET /" + "a" * 100_000 + " HTTP/1.1", "Host: x"), 414, ""),
    "query of a million": (request("GET /api/models?" + "a" * 1_000_000 + " HTTP/1.1", "Host: x"), 414, ""),
}

TABLE = {
    f"{group}: {name}": row
    for group, rows in {
        "body": BODIES,
        "value": VALUES,
        "name": NAMES,
        "batch": BATCHES,
        "content type": CONTENT_TYPES,
        "path": METHODS_AND_PATHS,
        "HTTP": HTTP,
        "length": LENGTHS,
        "malformed": MALFORMED,
        "headers": HEADERS,
    }.items()
    for name, row in rows.items()
}
