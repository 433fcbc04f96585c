import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from csv_rows import FOOTER, MARKER, NOTE, NUMBERS, Rows, amounts, parse, read, write
from loan_files import to_csv

from credit_risk_model.errors import DataError
from credit_risk_model.features import AGE, CONTRACT_FEATURES
from credit_risk_model.tables import csv_file
from credit_risk_model.tables.columns import Wanted
from credit_risk_model.tables.reading import open_source


def test_levels_are_dictionaries_numbers_are_floats_and_ids_are_text(rows: Rows, path: Path) -> None:
    """Each distinct text is looked at once; an id is passed through to the letter."""
    source = open_source(write(path, to_csv(rows)), ("id", "note"))
    (chunk,) = parse(source)
    kinds = {name: chunk.table[name].type for name in chunk.table.column_names}
    assert {name for name, kind in kinds.items() if pa.types.is_dictionary(kind)} == {
        feature.name for feature in CONTRACT_FEATURES if feature.levels
    }
    assert {name for name, kind in kinds.items() if kind == pa.float64()} == set(NUMBERS)
    assert source.ids == pa.schema([("id", pa.string()), ("note", pa.string())])
    assert chunk.table.select(["id", "note"]).to_pylist() == [{"id": row["id"], "note": "x, y"} for row in rows]
    assert (source.rows_before, source.pieces, source.notes, source.lines_before) == (0, 1, (), 0)
    assert source.is_read_from_its_beginning


@pytest.mark.parametrize("bad", ["65k", "65 000", "1,5", "0x10"])
def test_invalid_number_changes_no_other_cell(bad: str, rows: Rows, path: Path) -> None:
    """A block with an invalid number has the same other numbers, levels and ids as without."""
    expected = read(to_csv(rows), path).table.to_pylist()
    found = read(to_csv([*rows[:3], rows[3] | {"annual_income": bad}, *rows[4:]]), path).table.to_pylist()
    assert repr(found[3].pop("annual_income")) == "nan"
    del expected[3]["annual_income"]
    assert found == expected


@pytest.mark.parametrize("text", ["", "n/a", "NaN", "nan", "NA"])
def test_texts_that_mean_a_missing_value_are_null(text: str, rows: Rows, path: Path) -> None:
    """A missing number is null, whether or not another number of the block is invalid."""
    for other in (65_000, "65k"):
        content = to_csv([rows[0] | {"annual_income": other}, rows[1] | {"annual_income": text}])
        assert read(content, path).table["annual_income"][1].as_py() is None


@pytest.mark.parametrize("text", ["NULL", "null", "None", "#N/A", "-"])
def test_other_texts_are_no_missing_values(text: str, rows: Rows, path: Path) -> None:
    """What is not known to mean a missing value is an invalid number, so that its row is rejected for it."""
    content = to_csv([rows[0], rows[1] | {"annual_income": text}])
    assert repr(read(content, path).table["annual_income"].to_pylist()) == "[65000.0, nan]"


def test_cells_may_have_line_breaks_and_any_size(rows: Rows, path: Path) -> None:
    """A quoted cell may have line breaks and commas, and more than a million bytes."""
    notes = ["a\nb", 'c,"d"\n\n', "x" * 1_500_000, "e"]
    content = to_csv([row | {"note": note} for row, note in zip(rows, notes, strict=False)])
    chunk = read(content, path, ("id", "note"))
    assert chunk.table["note"].to_pylist() == notes
    assert (chunk.broken, chunk.skipped) == ({}, ())


def test_file_of_a_header_alone_has_no_rows(rows: Rows, path: Path) -> None:
    """A file without loans is read, and has none."""
    chunk = read(to_csv(rows).partition("\n")[0], path)
    assert (chunk.rows, chunk.broken, chunk.skipped) == (0, {}, ())


def test_missing_column_is_told_with_the_files_name(loan: dict[str, Any], path: Path) -> None:
    """An error of the columns names the file."""
    del loan["term"]
    with pytest.raises(DataError, match=r"^loans\.csv: no column term\."):
        open_source(write(path, to_csv([loan])))


def test_month_of_the_record_gives_the_age(loan: dict[str, Any], path: Path) -> None:
    """Without months of its own the file's loans are as old as the month that the caller named says."""
    del loan[AGE]
    source = open_source(write(path, to_csv([loan | {"issue_d": "Oct-2014"}])), as_of="2015-01")
    assert parse(source)[0].table[AGE].to_pylist() == [3]


def test_percent_signs_are_counted_in_every_block(rows: Rows, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Percent signs are removed and counted, whether or not earlier blocks had some."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 700)
    text = to_csv([row | {"interest_rate": f" {row['interest_rate']}%"} for row in rows])
    chunks = parse(open_source(write(path, text)))
    assert len(chunks) > 2
    assert [chunk.converted for chunk in chunks] == [
        {"interest_rate: percent sign": chunk.table.num_rows} for chunk in chunks
    ]
    assert {rate for chunk in chunks for rate in chunk.table["interest_rate"].to_pylist()} == {13.5}


def test_lines_that_are_no_loans_are_skipped(rows: Rows, path: Path) -> None:
    """LendingClub's marker and footers are skipped, quoted or not; any other short line is broken."""
    header, *lines = to_csv(rows).splitlines()
    text = "\n".join([NOTE, header, *lines[:5], f'"{MARKER}"', *lines[5:], "", FOOTER, "Total: 10", f"{lines[0]},1"])
    source = open_source(write(path, text), ("id",))
    (chunk,) = parse(source)
    assert chunk.skipped == (5, 11)
    assert chunk.broken == {12: "1 fields where 19 are needed", 13: "20 fields where 19 are needed"}
    assert amounts([chunk]) == [row["loan_amount"] for row in rows]
    assert chunk.places.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert source.lines_before == 1


def test_padded_lines_that_are_no_loans_are_skipped(rows: Rows, path: Path) -> None:
    """A spreadsheet pads such lines, and empty ones, with separators; a loan without an amount is kept."""
    header, *lines = to_csv(rows).splitlines()
    padding = "," * header.count(",")
    without_amount = to_csv([rows[0] | {"loan_amount": ""}]).splitlines()[1]
    only_id = "7" + padding
    text = "\n".join([header, lines[0], MARKER + padding, without_amount, padding, only_id, FOOTER + padding])
    chunk = read(text, path)
    assert chunk.skipped == (1, 3, 5)
    assert chunk.broken == {}
    assert chunk.table["id"].to_pylist() == ["00", "00", "7"]
    assert amounts([chunk]) == [12_000, None, None]
    named = read("\n".join([header, f"x{MARKER}{padding}", lines[0]]), path)
    assert named.skipped == ()


def test_padded_and_short_lines_are_skipped_together(rows: Rows, path: Path) -> None:
    """Each skipped line counts once, in its own place."""
    header, *lines = to_csv(rows).splitlines()
    padding = "," * header.count(",")
    chunk = read("\n".join([header, MARKER, lines[0], FOOTER + padding, "short", lines[1]]), path)
    assert sorted(chunk.skipped) == [0, 2]
    assert chunk.broken == {3: "1 fields where 19 are needed"}
    assert (chunk.rows, chunk.places.tolist()) == (5, [1, 4])


def test_line_with_any_value_is_a_loan(rows: Rows, path: Path) -> None:
    """A row without an amount is skipped only if none of its columns that are read has a value."""
    header = to_csv(rows).splitlines()[0].split(",")
    for name in header[1:]:
        line = ",".join("1" if column == name else "" for column in header)
        chunk = read(",".join(header) + f"\n{line}\n", path, ())
        is_read = name not in ("note", "id")
        assert chunk.skipped == (() if is_read else (0,)), name


@pytest.mark.parametrize(("number", "read_as"), [("13,5", "13.5"), ("13,5%", "13.5"), ("1.350", "nan"), ("", "None")])
def test_decimal_commas_are_points(number: str, read_as: str, rows: Rows, path: Path) -> None:
    """With decimal commas a point makes a number invalid, since it may group digits."""
    text = to_csv([{name: str(value).replace(".", ",") for name, value in row.items()} for row in rows], delimiter=";")
    first, _, others = text.partition("\n")
    line, _, others = others.partition("\n")
    content = "\n".join([first, line, line.replace(";13,5;", f";{number};"), others])
    path.with_name("plain.csv").write_text(to_csv(rows))
    expected = parse(open_source(path.with_name("plain.csv"), ("id",)))[0].table.to_pylist()
    # More than the sample that the decimal point is found from.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "_SAMPLE_BYTES", len(first) + len(line) + 2)
        source = open_source(write(path, content), ("id",))
        (chunk,) = parse(source)
    found = chunk.table.to_pylist()
    assert repr(found.pop(1)["interest_rate"]) == read_as
    assert [row | {"note": None} for row in found] == [row | {"note": None} for row in expected]
    assert source.notes == ("semicolons between columns", "decimal commas")


def test_id_in_another_encoding_is_refused(rows: Rows, path: Path) -> None:
    """Any other text may be in another encoding, also where an id has an accent."""
    chunk = read(to_csv([row | {"note": "caf\xe9", "term": "caf\xe9"} for row in rows]).encode("cp1252"), path)
    assert chunk.table["id"].to_pylist() == [row["id"] for row in rows]
    assert set(chunk.table["term"].to_pylist()) == {"caf\ufffd".encode()}
    accents = read(to_csv([row | {"id": "caf\xe9"} for row in rows]), path)
    assert set(accents.table["id"].to_pylist()) == {"caf\xe9"}
    words = "loans.csv: an id is not in UTF-8. Save the file in that encoding."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        read(to_csv([*rows, rows[0] | {"id": "caf\xe9"}]).encode("cp1252"), path)


def test_all_columns_are_texts_as_they_are(rows: Rows, path: Path) -> None:
    """Columns keep their names and texts, repeated names are numbered, and numbers that are read are numbers."""
    header, _, lines = to_csv(rows).partition("\n")
    write(path, f"note,{header},\n" + "".join(f"NA,{line},\n" for line in lines.splitlines()))
    source = open_source(path, wanted=Wanted(texts=("term",)))
    (chunk,) = parse(source, as_they_are=True)
    names = ["note", *header.split(",")[:-1], "note.1", ""]
    assert source.schema.names == chunk.table.column_names == names
    assert source.schema == chunk.table.schema
    assert {field.name for field in source.schema if field.type == pa.float64()} == set(NUMBERS)
    assert chunk.table["note"].to_pylist() == ["NA"] * 10
    assert chunk.table["note.1"].to_pylist() == ["x, y"] * 10
    assert chunk.table["id"].to_pylist() == [row["id"] for row in rows]
    assert chunk.table["term"].to_pylist() == [row["term"] for row in rows]
    assert chunk.table["loan_amount"].to_pylist() == [row["loan_amount"] for row in rows]
    assert chunk.converted == {}


def test_rows_as_they_are_are_those_that_are_loans(rows: Rows, path: Path) -> None:
    """Lines that are skipped or broken have no row, and text that is not in UTF-8 is counted."""
    header, *lines = to_csv([row | {"note": "caf\xe9"} for row in rows]).splitlines()
    padding = "," * header.count(",")
    text = "\n".join([header, MARKER + padding, *lines, "short", FOOTER, padding])
    (chunk,) = parse(open_source(write(path, text.encode("cp1252"))), as_they_are=True)
    assert chunk.table["id"].to_pylist() == [row["id"] for row in rows]
    assert chunk.table["loan_amount"].to_pylist() == [row["loan_amount"] for row in rows]
    assert set(chunk.table["note"].to_pylist()) == {"caf\ufffd"}
    assert chunk.converted == {"text that is not in UTF-8": 1}
    assert list(chunk.broken) == [11]
    assert sorted(chunk.skipped) == [0, 12, 13]


def test_wanted_numbers_are_read_as_numbers(rows: Rows, path: Path) -> None:
    """A wanted column of numbers is one of the numbers, also as the columns are."""
    write(path, to_csv([row | {"installment": "407.23"} for row in rows]))
    for as_they_are in (False, True):
        source = open_source(path, wanted=Wanted(numbers=("installment",)))
        (chunk,) = parse(source, as_they_are=as_they_are)
        assert chunk.table["installment"].to_pylist() == [407.23] * 10
    assert source.schema.field("installment").type == pa.float64()


@pytest.mark.parametrize("write_text", [str.upper, lambda header: header.replace(",", " , ")])
def test_columns_are_found_in_any_case(write_text: Callable[[str], str], rows: Rows, path: Path) -> None:
    """A column is read under the name that the file gives it, and can be asked for by its field."""
    header, _, lines = to_csv(
        [{"id": row["id"], "ANNUAL_INC": row.pop("annual_income"), **row} for row in rows]
    ).partition("\n")
    source = open_source(write(path, f"{write_text(header)}\n{lines}"))
    (chunk,) = parse(source)
    assert chunk.table["annual_income"].to_pylist() == [65_000] * 10
    assert source.get_column_name("annual_income") == "annual_inc"
    assert source.get_column_name("term") == "term"
