import gzip
import re
import zipfile
from pathlib import Path

import pytest

from credit_risk_model.errors import DataError
from credit_risk_model.tables import csv_file
from credit_risk_model.tables.csv_file import CsvFile, to_utf_8
from credit_risk_model.tables.stores import StoredFile

HEADER = "id,term,dti"
TEXT = f"{HEADER}\n" + "".join(f"{number},36,17.2\n" for number in range(20))


def open_csv(path: Path, content: bytes | str) -> CsvFile:
    """Write a file and open it."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return CsvFile(StoredFile.at(path))


def pack(path: Path, *names: str) -> bytes:
    """Zip the text under some names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            packed.writestr(name, TEXT)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test's file is written."""
    return tmp_path / "loans.csv"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut files into blocks of 50 bytes."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 50)


@pytest.mark.usefixtures("small_blocks")
def test_plain_file_has_its_size_and_number_of_blocks(path: Path) -> None:
    """A last block that is not full is a block."""
    file = open_csv(path, TEXT)
    assert (file.name, file.bytes, file.packed, file.notes) == ("loans.csv", len(TEXT), False, ())
    assert file.dialect.header == ("id", "term", "dti")
    for size, count in ((50, 1), (51, 2), (100, 2), (101, 3)):
        assert open_csv(path, HEADER.ljust(size)).block_count == count


@pytest.mark.usefixtures("small_blocks")
def test_blocks_are_the_records_that_end_in_them(path: Path) -> None:
    """Blocks are whole records, end within their part of the file, and come with the bytes that were read so far."""
    blocks = list(open_csv(path, TEXT).blocks())
    assert b"".join(block for block, _ in blocks).decode() == TEXT.partition("\n")[2]
    ends = [len(HEADER) + 1 + sum(len(block) for block, _ in blocks[: place + 1]) for place in range(len(blocks))]
    assert len(blocks) == -(-len(TEXT) // 50)
    for place, end in enumerate(ends):
        assert place * 50 < end <= (place + 1) * 50
        assert TEXT[end - 1] == "\n"
    assert [read for _, read in blocks] == [min((place + 2) * 50, len(TEXT)) for place in range(len(blocks))]


def test_lines_before_the_header_are_in_no_block(path: Path) -> None:
    """Notes and header are cut off; a file of nothing but a header has one block without a record."""
    ((block, _),) = open_csv(path, f"a note\nanother\n{TEXT}").blocks()
    assert block.decode() == TEXT.partition("\n")[2]
    ((block, _),) = open_csv(path, f"\n{TEXT}").blocks()
    assert block.decode() == TEXT.partition("\n")[2]
    for text in (HEADER, f"{HEADER}\n", f"a note\n{HEADER}"):
        assert [block for block, _ in open_csv(path, text).blocks()] == [b""]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("last", ["", "\n"])
def test_last_line_needs_no_end(last: str, path: Path) -> None:
    """The last block has all that is left."""
    blocks = [block for block, _ in open_csv(path, TEXT.removesuffix("\n") + last).blocks()]
    assert b"".join(blocks).decode() == TEXT.partition("\n")[2].removesuffix("\n") + last


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("text", "ending", "notes"),
    [
        (TEXT, "\n", ()),
        (TEXT.replace("\n", "\r\n"), "\r\n", ()),
        (TEXT.replace("\n", "\r"), "\r", ("lines that end in CR",)),
    ],
)
def test_lines_may_end_in_any_way(text: str, ending: str, notes: tuple[str, ...], path: Path) -> None:
    """Only an ending without a line feed is unusual."""
    file = open_csv(path, text)
    blocks = [block.decode() for block, _ in file.blocks()]
    assert file.notes == notes
    assert "".join(blocks) == text.partition(ending)[2]
    assert all(block.endswith(ending) for block in blocks)
    assert len(blocks) >= 5


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("is_gzip", [False, True])
def test_utf_16_is_read_as_utf_8(encoding: str, is_gzip: bool, path: Path) -> None:
    """UTF-16 of either byte order is known by its mark, is read from its beginning, and is noted."""
    text = TEXT.replace("36", "\xe9\u20ac", 1)
    content = (b"\xfe\xff" if encoding == "utf-16-be" else b"") + text.encode(encoding)
    file = open_csv(path, gzip.compress(content) if is_gzip else content)
    assert (file.packed, file.notes, file.dialect.header) == (True, ("UTF-16",), ("id", "term", "dti"))
    ((block, _),) = file.blocks()
    assert block.decode() == text.partition("\n")[2]


def test_notes_come_in_one_order(path: Path) -> None:
    """Separator, decimals, encoding and line ends are noted in this order."""
    text = TEXT.replace(",", ";").replace(".", ",").replace("\n", "\r")
    notes = ("semicolons between columns", "decimal commas", "UTF-16", "lines that end in CR")
    assert open_csv(path, text.encode("utf-16")).notes == notes


def test_packed_files_are_read_like_plain_ones(path: Path) -> None:
    """Gzip and zip hold the same records; a share of what was read is that of the packed bytes."""
    for content in (gzip.compress(TEXT.encode()), pack(path, "folder/Loans.CSV", "__MACOSX/loans.csv", "readme.txt")):
        file = open_csv(path, content)
        ((block, read),) = file.blocks()
        assert file.packed
        assert block.decode() == TEXT.partition("\n")[2]
        assert 0 < read <= file.bytes == len(content)


@pytest.mark.parametrize("names", [(), ("a.csv", "b.csv"), ("__MACOSX/a.csv",), ("a.txt",)])
def test_zip_holds_one_csv_file(names: tuple[str, ...], path: Path) -> None:
    """A zip of no CSV file, or of several, is refused with their number."""
    count = sum(name.endswith(".csv") and not name.startswith("__MACOSX") for name in names)
    content = pack(path, "readme.txt", *names)
    words = f"loans.csv: holds {count} CSV files instead of one. Unpack it."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        open_csv(path, content)


def test_zip_of_an_unknown_method_is_refused(path: Path) -> None:
    """A method of compression that Python lacks is reported with the cure."""
    content = bytearray(pack(path, "loans.csv"))
    for place in (content.index(b"PK\x03\x04") + 8, content.index(b"PK\x01\x02") + 10):
        content[place] = 97
    words = "loans.csv: encrypted, or compressed by an unsupported method. Unpack it."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        open_csv(path, bytes(content))


def test_file_that_is_damaged_later_is_named(path: Path) -> None:
    """A packed file that ends too early is damaged, by its name."""
    words = "loans.csv: damaged, truncated, or not of the detected format. Fetch or write it again."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        open_csv(path, gzip.compress(TEXT.encode())[:-12])
    file = open_csv(path, TEXT)
    path.unlink()
    with pytest.raises(DataError, match=r"^loans\.csv: can't be read \("):
        list(file.blocks())


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("rows", [0, 1, 20])
def test_line_of_an_open_quote_is_told(before: int, rows: int, path: Path) -> None:
    """The line of a quote that is never closed counts from the file's first one, wherever blocks are cut."""
    lines = [*["a note"] * before, HEADER, "", *["1,36,17.2"] * rows, '1,36,"17.2', "2,36,17.2"]
    words = f"loans.csv: line {before + rows + 3}: a quote is never closed. Close or remove it."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        list(open_csv(path, "\n".join(lines)).blocks())


@pytest.mark.usefixtures("small_blocks")
def test_record_may_have_as_many_bytes_as_allowed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer record, or a quote that is open for longer, stops the reading before the whole file is in memory."""
    monkeypatch.setattr(csv_file, "_MAX_RECORD_BYTES", 1000)
    record = "1,36," + "x" * 900
    assert len(list(open_csv(path, f"{HEADER}\n{record}\n{TEXT}").blocks())) > 20
    words = "loans.csv: not a CSV file: a line has more than 1,000 bytes."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        list(open_csv(path, f"{HEADER}\n{record * 2}\n{TEXT}").blocks())
    words = "loans.csv: line 2: a quote is never closed. Close or remove it."
    quoted = f'{HEADER}\n"{TEXT * 10}"\n'
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        list(open_csv(path, quoted).blocks())


@pytest.mark.usefixtures("small_blocks")
def test_bound_of_a_record_is_met_by_no_shorter_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is just as long as allowed is read, and so are many quoted ones that are each shorter."""
    in_three_blocks = 3 * 50 - len(f"{HEADER}\n")
    monkeypatch.setattr(csv_file, "_MAX_RECORD_BYTES", in_three_blocks)
    for record in ("1,36,".ljust(in_three_blocks, "x"), '"'.ljust(in_three_blocks, "x") + '",36,17.2'):
        blocks = [block for block, _ in open_csv(path, f"{HEADER}\n{record}\n{TEXT}").blocks()]
        assert b"".join(blocks).decode() == f"{record}\n{TEXT}"
    monkeypatch.setattr(csv_file, "_MAX_RECORD_BYTES", 70)
    records = '1,"36\n",17.2\n' * 20
    assert b"".join(block for block, _ in open_csv(path, f"{HEADER}\n{records}").blocks()).decode() == records


def test_file_without_a_header_is_named(path: Path) -> None:
    """An error of the header names the file."""
    with pytest.raises(DataError, match=r"^loans\.csv: the file or its first line is empty\."):
        open_csv(path, "")


@pytest.mark.parametrize(
    ("block", "text", "is_damaged"),
    [
        (b"a,b\n", b"a,b\n", False),
        ("\xe9\u20ac".encode(), "\xe9\u20ac".encode(), False),
        (b"a\0,\0b", b"a,b", False),
        (b"caf\xe9\n", "caf\ufffd\n".encode(), True),
        (b"\0caf\xe9\n", "caf\ufffd\n".encode(), True),
    ],
)
def test_blocks_become_valid_text(block: bytes, text: bytes, is_damaged: bool) -> None:
    """Invalid bytes are replaced, which is told, and zero bytes are removed."""
    assert to_utf_8(block) == (text, is_damaged)
