import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from credit_risk_model import decisions
from credit_risk_model.decisions import START, Chain, DecisionLogError, Verified

KEY = b"k" * 64
OTHER_KEY = b"o" * 64


def write(path: Path, chain: Chain, references: list[str]) -> None:
    """Write a file of a log: where it begins, a decision for each reference, and the seal."""
    lines = [chain.add("begin", b'"follows":"%b"' % chain.mac.encode())]
    for reference in references:
        personal = decisions.make_personal(reference, b'{"loan_amount":1000}', None)
        lines.append(chain.add("decision", b'"risk_probability":0.25', personal))
    path.write_bytes(b"".join([*lines, chain.add("seal", b'"time":""')]))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two files that were put aside and one that is written, with five decisions."""
    path, chain = tmp_path / "decisions.jsonl", Chain(KEY)
    for references in (["a", "b"], ["c", "b"]):
        aside = decisions.sealed_name(path, chain.number + 1)
        write(aside, chain, references)
    write(path, chain, ["d"])
    return path


def verify(log: Path, **options: Any) -> Verified:
    """Verify all files of a log."""
    return decisions.verify(decisions.find_files(log), KEY, **options)


def test_whole_log_holds(log: Path) -> None:
    """A log that nobody has touched has no fault, over all its files; the oldest may be gone."""
    found = verify(log)
    assert (found.lines, found.decisions, found.erased, found.faults) == (11, 5, 0, [])
    decisions.find_files(log)[0].unlink()
    assert verify(log).faults == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda lines: [lines[0], *lines[2:]], id="a line is gone"),
        pytest.param(lambda lines: [*lines[:1], *lines[1:3], lines[1], *lines[3:]], id="a line stands twice"),
        pytest.param(lambda lines: [lines[0], lines[2], lines[1], lines[3]], id="two lines have changed places"),
        pytest.param(lambda lines: lines[:-1], id="the end of a file is gone"),
        pytest.param(lambda lines: [*lines[:-1], lines[-1][:-9]], id="the end of a line is gone"),
        pytest.param(lambda lines: [lines[0], lines[1].replace(b"0.25", b"0.26"), *lines[2:]], id="a probability"),
        pytest.param(lambda lines: [lines[0], lines[1].replace(b"1000", b"2000"), *lines[2:]], id="a loan"),
        pytest.param(lambda lines: [*lines, b"{}\n"], id="a line of another kind"),
        pytest.param(
            lambda lines: [
                lines[0],
                lines[1].partition(b',"personal":')[0] + b',"personal":{"erased":"00"}}\n',
                *lines[2:],
            ],
            id="erased without the key",
        ),
    ],
)
@pytest.mark.parametrize("place", [0, 1], ids=["first file", "second file"])
def test_change_is_found(log: Path, change: Any, place: int) -> None:
    """Whatever is changed, lost, added or moved in a file is told, by the place where it shows."""
    path = decisions.find_files(log)[place]
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    assert [fault for fault in verify(log).faults if "line" in fault]


def test_lost_file_is_found(log: Path) -> None:
    """A file between others can't go unseen."""
    decisions.find_files(log)[1].unlink()
    assert verify(log).faults


def test_end_that_was_cut_is_found_by_the_head_that_was_scraped(log: Path) -> None:
    """Without its last lines a log is one in itself; the metrics' head tells that there was more."""
    whole = verify(log)
    head = whole.number, decisions.head_number(whole.mac)
    assert verify(log, head=head).faults == []
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert verify(log).faults == []
    (fault,) = verify(log, head=head).faults
    assert fault == "line 11: differs from the one in the metrics; the log ends at 10"


@pytest.mark.parametrize("length", [32, 64, 65, 200])
def test_macs_are_those_of_the_standard(length: int) -> None:
    """A line's `mac` is what any HMAC-SHA256 gives for the former one and the line up to its personal part."""
    key = b"k" * length
    line = Chain(key, "0f" * 32, 6).add("decision", b'"risk_probability":0.25')
    (mac, meta) = line.removeprefix(b'{"mac":"').split(b'",', 1)
    signed = b"0f" * 32 + meta.partition(b',"personal":')[0]
    assert mac.decode() == hmac.new(key, signed, "sha256").hexdigest()


def test_other_key_does_not_fit(log: Path) -> None:
    """Nobody without the key can make a chain that holds."""
    assert len(decisions.verify(decisions.find_files(log), OTHER_KEY).faults) >= 11


def test_erasing_leaves_a_gap_that_holds(log: Path) -> None:
    """A person's fields are gone from all files that were put aside, the rest is as it was, and the chain holds."""
    files = decisions.find_files(log)
    assert [decisions.erase(path, KEY, "b") for path in files[:2]] == [1, 1]
    found = verify(log)
    assert (found.decisions, found.erased, found.faults) == (5, 2, [])
    records = list(decisions.records(files))
    assert [record["personal"].get("reference") for record in records] == ["a", None, "c", None, "d"]
    assert [record["risk_probability"] for record in records] == [0.25] * 5
    assert b'"b"' not in b"".join(path.read_bytes() for path in files)
    assert decisions.erase(files[0], KEY, "b") == 0


def test_chain_goes_on_after_the_last_whole_line(log: Path) -> None:
    """A new process takes up the chain where the last one left it, also where its last line was cut."""
    whole = verify(log)
    assert decisions.last_line(log) == (whole.mac, whole.number)
    with log.open("ab") as file:
        file.write(b'{"mac":"0123')
    assert decisions.last_line(log) == (whole.mac, whole.number)
    log.write_bytes(b"")
    assert decisions.last_line(log) == (START, 0)


def test_lines_are_json(log: Path) -> None:
    """Each line is one JSON object, so that other tools can read it."""
    for path in decisions.find_files(log):
        for line in path.read_text().splitlines():
            assert json.loads(line).keys() >= {"mac", "n", "kind", "personal_sha256", "personal"}


def test_equal_loans_have_unequal_macs() -> None:
    """Salt keeps what was erased from being found out by trying."""
    assert decisions.make_personal("a", b"{}", None) != decisions.make_personal("a", b"{}", None)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b" \n", "has 0 bytes"), (b"k" * 31, "31 bytes, but needs at least 32")],
)
def test_unfit_key_is_told(tmp_path: Path, content: bytes | None, words: str) -> None:
    """A key that is missing, empty or short is refused in a line that says how to make one."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DecisionLogError, match=words):
        decisions.read_key(path)
