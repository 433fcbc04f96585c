import re

import pytest

from credit_risk_model.errors import DataError
from credit_risk_model.tables.dialect import Dialect, find_dialect

NOTE = "Notes offered by Prospectus (https://www.lendingclub.com/info/prospectus.action)"


def find(*lines: str, encoding: str = "utf-8") -> Dialect:
    """The dialect of a file's first lines."""
    return find_dialect("loans.csv", [line.encode(encoding) for line in lines])


@pytest.mark.parametrize(
    ("separator", "notes"),
    [
        (",", ()),
        (";", ("semicolons between columns",)),
        ("\t", ("tabs between columns",)),
        ("|", ("bars between columns",)),
    ],
)
def test_separator_is_the_one_between_the_names(separator: str, notes: tuple[str, ...]) -> None:
    """The header's separator is that of the file, and an unusual one is noted."""
    found = find(separator.join(["id", "term", "dti"]), separator.join(["1", "36", "17.2"]))
    assert found == Dialect(("id", "term", "dti"), 0, separator, ".")
    assert found.notes == notes


def test_names_are_stripped_and_known_ones_are_in_lower_case() -> None:
    """A byte order mark, a carriage return, quotes and spaces are no part of a name."""
    found = find('\ufeff"ID", Term ,"DTI"\r', "1,36,17.2\r")
    assert found.header == ("ID", "term", "dti")


def test_name_that_is_not_in_utf_8_does_not_hide_the_others() -> None:
    """A column's name in another encoding is read as well as it can be."""
    assert find("caf\xe9,term", encoding="cp1252").header == ("caf\ufffd", "term")


@pytest.mark.parametrize("before", [0, 1, 2, 9])
def test_header_is_found_among_the_first_ten_lines(before: int) -> None:
    """Notes before the header are lines before it."""
    found = find(*[NOTE] * before, "id,term,dti", "1,36,17.2")
    assert (found.header, found.lines_before) == (("id", "term", "dti"), before)


def test_header_below_ten_lines_is_not_looked_for() -> None:
    """Without a header in the first ten lines the first one is taken as it is."""
    found = find(*[NOTE] * 10, "id,term,dti", "1,36,17.2")
    assert (found.header, found.lines_before) == ((NOTE,), 0)


def test_line_with_most_known_names_is_the_header() -> None:
    """A line that names fewer fields is no header; of two equal ones the first is."""
    found = find("term,note", "term;dti", "term,dti,int_rate", "term,dti,int_rate", "1,2,3")
    assert (found.header, found.lines_before, found.separator) == (("term", "dti", "int_rate"), 2, ",")


@pytest.mark.parametrize("lines", [("",), ("", "")])
def test_empty_file_is_refused(lines: tuple[str, ...]) -> None:
    """A file without a header is refused with the cure."""
    words = "loans.csv: the file or its first line is empty. Add a header and rows."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        find(*lines)


def test_line_that_is_no_csv_is_no_header() -> None:
    """A field that is too long for a parser hides no header below it."""
    found = find("x" * 200_000, "id,term,dti", "1,36,17.2")
    assert (found.header, found.lines_before) == (("id", "term", "dti"), 1)


def test_text_with_zero_bytes_is_refused() -> None:
    """UTF-16 without a mark shows by zero bytes at its beginning, and is refused with the cure."""
    words = "loans.csv: not text, or UTF-16 without a byte order mark. Save it as CSV in UTF-8."
    for line in ("id,term".encode("utf-16-le").decode(), "x" * 99 + "\0"):
        with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
            find(line)
    assert find("id,term,dti", "1,36,\0").header == ("id", "term", "dti")
    assert find("id,term,dti,".ljust(100, "x") + "\0").header[:3] == ("id", "term", "dti")


@pytest.mark.parametrize(
    "number", ["17,2", " 17,2 ", "-17,2", "+17,2", "17,2%", "17,2 %", "0,5", "1234,56", "12345678,9"]
)
def test_decimal_commas_are_found(number: str) -> None:
    """A comma between digits is a decimal comma, with a sign, spaces or a percent sign around."""
    found = find("id;term;dti", "1;36;17", f"2;36;{number}")
    assert found.decimal_point == ","
    assert found.notes == ("semicolons between columns", "decimal commas")


@pytest.mark.parametrize("number", ["17.2", "17", "", "NA", "x17,2", "17,2x", "17,", ",5", "1,2,3"])
def test_other_texts_have_no_decimal_comma(number: str) -> None:
    """Points, whole numbers and texts are no decimal commas."""
    assert find("id;term;dti", f"1;36;{number}").decimal_point == "."


def test_only_numbers_of_the_contract_show_the_decimal_point() -> None:
    """Commas in texts and in columns that are not read say nothing of the numbers."""
    assert find("id;term;dti;note", "1,5;36,5;17.2;2,5").decimal_point == "."
    assert find("installment;term", "407,23;36").decimal_point == ","
    assert find("id;term;dti", "1;36", "2;36;17,2").decimal_point == ","


def test_comma_is_no_decimal_point_where_it_separates_columns() -> None:
    """A quoted number with a comma is left to be refused by its own row."""
    assert find("id,term,dti", '1,36,"17,2"').decimal_point == "."


@pytest.mark.parametrize("number", ["17.2", " -17.2 ", "+0.5%", "1234.5 %"])
def test_mixed_decimals_are_refused(number: str) -> None:
    """Decimal commas beside points can't be told from thousands separators."""
    words = "loans.csv: some numbers have a decimal comma, others a point. Use one of them throughout."
    for numbers in ((number, "17,2"), ("17,2", number)):
        with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
            find("id;term;dti", *(f"1;36;{each}" for each in numbers))


@pytest.mark.parametrize("number", ["1.234,5", " -1.234.567,89 ", "12.345,6%", "+123.456,7 %"])
def test_thousands_separators_are_refused(number: str) -> None:
    """Points that group digits before a decimal comma are refused with the cure."""
    words = "loans.csv: numbers have thousands separators. Remove them."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        find("id;term;dti", "1;36;17", f"1;36;{number}")


def test_separator_at_the_end_of_all_rows_is_no_column() -> None:
    """If the first rows all end in a separator that the header lacks, there is a column without a name."""
    assert find("id,term,dti", "1,36,17.2,", "2,36,17.2,").header == ("id", "term", "dti", "")
    assert find("id,term,dti", "", "1,36,17.2,").header == ("id", "term", "dti", "")


@pytest.mark.parametrize(
    "rows", [(), ("1,36,17.2",), ("1,36,17.2,", "2,36,17.2"), ("1,36,17.2,x",), ("1,36,17.2,,",), ("1,36,",)]
)
def test_other_rows_have_no_column_without_a_name(rows: tuple[str, ...]) -> None:
    """One row without the separator, or with a value behind it, is enough."""
    assert find("id,term,dti", *rows).header == ("id", "term", "dti")


def test_carriage_returns_at_lines_ends_change_nothing() -> None:
    """Lines that end in CR and LF have the columns and the decimals of lines that end in LF."""
    assert find("id,term,dti\r", "\r", "1,36,17.2,\r").header == ("id", "term", "dti", "")
    found = find("id;dti;term\r", "1;17,2;36\r", "2;36;17,2\r", "\r")
    assert (found.header, found.decimal_point) == (("id", "dti", "term"), ",")
    assert find("id;term;dti\r", "1;36;17,2\r").decimal_point == ","


def test_ten_rows_show_whether_rows_end_in_a_separator() -> None:
    """A later row without the separator is that row's own fault."""
    row = "1,36,17.2"
    assert find("id,term,dti", *[f"{row},"] * 10, row).header == ("id", "term", "dti", "")
    assert find("id,term,dti", *[f"{row},"] * 9, row).header == ("id", "term", "dti")
