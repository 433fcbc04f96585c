import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loan_files import to_csv

from credit_risk_model.errors import DataError
from credit_risk_model.features import AGE, CONTRACT_FEATURES
from credit_risk_model.scoring.run import Settings, score
from credit_risk_model.scoring.summary import Summary
from credit_risk_model.tables import csv_file
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Chunk, Shard

KAGGLE = {feature.name: feature.column or feature.name for feature in CONTRACT_FEATURES}

Score = Callable[..., tuple[Summary, str, str]]


def read(path: Path, ids: tuple[str, ...] = (), shard: Shard | None = None) -> list[Chunk]:
    """All chunks of a file."""
    return [task.parse() for task in open_source(path, ids, shard).tasks()]


@pytest.fixture
def rows(loan: dict[str, Any]) -> list[dict[str, Any]]:
    """Ten loans in Kaggle's columns, with an id."""
    loans = [
        loan | {"loan_amount": 12_000 + 500 * number, "term": f" {36 + number % 2 * 24} months"} for number in range(10)
    ]
    return [
        {"id": str(number)} | {KAGGLE[name]: value for name, value in row.items()} for number, row in enumerate(loans)
    ]


@pytest.fixture
def score_text(archive_path: Path, tmp_path: Path) -> Score:
    """Score a text as a CSV file; give the summary, the scores and the rejects."""

    def score_it(content: str | bytes, *, ids: tuple[str, ...] = ("id",)) -> tuple[Summary, str, str]:
        path = tmp_path / "loans.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        settings = Settings(path, tmp_path / "scores.csv", ids=ids, archive=str(archive_path))
        summary = score(settings)
        return summary, Path(settings.output).read_text(), Path(settings.rejects_path).read_text()

    return score_it


def as_lendingclub_writes(loans: list[dict[str, Any]]) -> str:
    """Rows as LendingClub's own download has them: a note, all in quotes, percent signs, a marker line, two footers."""
    signs = {"int_rate": " {}%", "revol_util": "{}%"}
    spelled = [
        {name: signs[name].format(value) if name in signs else value for name, value in row.items()} for row in loans
    ]
    header, *lines = to_csv(spelled, quoting=csv.QUOTE_ALL).splitlines()
    return "\n".join(
        [
            "Notes offered by Prospectus (https://www.lendingclub.com/info/prospectus.action)",
            header,
            *lines[:5],
            '"Loans that do not meet the credit policy"',
            *lines[5:],
            "",
            "",
            '"Total amount funded in policy code 1: 123450"',
            "Total amount funded in policy code 2: 0",
            "",
        ]
    )


def test_lendingclubs_own_download_is_read(rows: list[dict[str, Any]], score_text: Score) -> None:
    """LendingClub's own file gets the scores of the same loans in Kaggle's; what is not as there is counted."""
    _, expected, _ = score_text(to_csv(rows))
    summary, scores, rejects = score_text(as_lendingclub_writes(rows))
    assert scores == expected
    assert rejects == "row,id,reasons\n"
    assert summary.adjustments == (
        "skipped: 1 line before the header, 3 lines without a loan; converted: interest_rate: percent sign (10), "
        "revolving_line_utilization_rate: percent sign (10)"
    )


def test_lines_that_a_spreadsheet_filled_up_are_skipped(rows: list[dict[str, Any]], score_text: Score) -> None:
    """The note, the marker line and the footers are known also with a separator for each column behind them."""
    _, expected, _ = score_text(to_csv(rows))
    filled = "," * (len(rows[0]) - 1)
    lines = as_lendingclub_writes(rows).splitlines()
    text = "\n".join(line + filled if "int_rate" not in line and line.count(",") < 2 else line for line in lines)
    summary, scores, rejects = score_text(text)
    assert (scores, rejects) == (expected, "row,id,reasons\n")
    assert summary.skipped == 5  # two of them are empty but for the separators
    assert summary.lines_before == 1


def test_lines_without_a_loan_are_counted_as_rows(rows: list[dict[str, Any]], score_text: Score) -> None:
    """A row's number counts the records below the header, so that it is found in the file."""
    rows[7]["term"] = "soon"
    _, scores, rejects = score_text(as_lendingclub_writes(rows), ids=())
    assert [line.partition(",")[0] for line in scores.splitlines()[1:]] == [
        "1",
        "2",
        "3",
        "4",
        "5",
        "7",
        "8",
        "10",
        "11",
    ]
    assert rejects == "row,reasons\n9,term: unknown level\n"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_of_lendingclubs_download_are_the_whole(
    count: int, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note, the marker line and the footers change nothing in what shards read."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 900)
    path = tmp_path / "loans.csv"
    path.write_text(as_lendingclub_writes(rows))
    parts = [chunk for number in range(count) for chunk in read(path, ("id",), Shard(number + 1, count))]
    assert [value for chunk in parts for value in chunk.table["id"].to_pylist()] == [row["id"] for row in rows]
    assert [chunk.skipped for chunk in parts] == [chunk.skipped for chunk in read(path, ("id",))]


def test_other_short_lines_are_rejected(rows: list[dict[str, Any]], score_text: Score) -> None:
    """Only known kinds of lines that are not loans are skipped."""
    text = to_csv(rows) + "Total: 10\n"
    summary, _, rejects = score_text(text)
    assert (summary.skipped, rejects) == (0, "row,id,reasons\n11,,1 fields where 18 are needed\n")


@pytest.mark.parametrize("field", ["annual_inc", "last_pymnt_amnt", "loan_amnt", AGE])
def test_percent_of_dollars_is_no_number(field: str, rows: list[dict[str, Any]], score_text: Score) -> None:
    """A percent sign is read only behind what is in percent."""
    rows[3][field] = f"{rows[3][field]}%"
    summary, _, rejects = score_text(to_csv(rows))
    assert summary.converted == {}
    assert rejects.startswith("row,id,reasons\n4,3,")
    assert rejects.endswith(": not a finite number\n")


def test_case_and_spaces_of_a_header_make_no_difference(rows: list[dict[str, Any]], score_text: Score) -> None:
    """Names in upper case, and a space behind each comma, are read as names without."""
    _, expected, _ = score_text(to_csv(rows))
    header, *lines = to_csv(rows).splitlines()
    _, scores, _ = score_text("\n".join([header.upper().replace("ID,", "id,"), *lines]))
    assert scores == expected
    _, scores, _ = score_text("\n".join([header.replace(",", ", "), *(line.replace(",", ", ") for line in lines)]))
    assert scores == expected


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ("homeownership", "home_ownership"),
        ("annualInc", "annual_income (annual_inc)"),
        ("Interest Rate", "interest_rate (int_rate)"),
    ],
)
def test_near_names_are_offered(written: str, field: str, rows: list[dict[str, Any]], score_text: Score) -> None:
    """The error for a missing column suggests a column with a similar name."""
    name = field.partition(" (")[2].rstrip(")") or field
    text = to_csv(rows).replace(name, written, 1)
    with pytest.raises(DataError) as refused:
        score_text(text)
    assert str(refused.value) == (f"loans.csv: no column {field} [is it {written}?]. Add each under one of its names.")


def with_commas(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with decimal commas."""
    return [{name: str(value).replace(".", ",") for name, value in row.items()} for row in rows]


@pytest.mark.parametrize(
    ("write", "notes"),
    [
        (lambda rows: to_csv(rows, delimiter="\t"), ("tabs between columns",)),
        (lambda rows: to_csv(rows, delimiter="|"), ("bars between columns",)),
        (lambda rows: to_csv(rows, delimiter=";"), ("semicolons between columns",)),
        (lambda rows: to_csv(with_commas(rows), delimiter=";"), ("semicolons between columns", "decimal commas")),
        (lambda rows: "sep=;\n" + to_csv(rows, delimiter=";"), ("semicolons between columns",)),
        (lambda rows: to_csv(rows).replace("\n", "\r"), ("lines that end in CR",)),
        (lambda rows: to_csv(rows).replace("\n", "\r\n"), ()),
        (lambda rows: to_csv(rows).encode("utf-16"), ("UTF-16",)),
        (lambda rows: b"\xfe\xff" + to_csv(rows).encode("utf-16-be"), ("UTF-16",)),
        (lambda rows: gzip.compress(to_csv(rows).encode("utf-16")), ("UTF-16",)),
        (
            lambda rows: to_csv(with_commas(rows), delimiter="\t").replace("\n", "\r").encode("utf-16"),
            ("tabs between columns", "decimal commas", "UTF-16", "lines that end in CR"),
        ),
        (lambda rows: to_csv([row | {"emp_title": "caf\xe9"} for row in rows]).encode("cp1252"), ()),
    ],
)
def test_files_are_read_however_they_are_written(
    write: Callable[[list[dict[str, Any]]], str | bytes],
    notes: tuple[str, ...],
    rows: list[dict[str, Any]],
    *,
    score_text: Score,
) -> None:
    """Separators, decimals, line ends and encodings as others write them give the scores of the plain file."""
    _, expected, _ = score_text(to_csv(rows))
    summary, scores, _ = score_text(write(rows))
    assert scores == expected
    assert summary.notes == notes


def test_bad_cell_beside_decimal_commas_spoils_only_its_row(
    rows: list[dict[str, Any]], score_text: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With decimal commas, a number with a point is invalid, and a percent sign may follow."""
    monkeypatch.setattr(csv_file, "_SAMPLE_BYTES", 600)
    _, expected, _ = score_text(to_csv(rows))
    lines = to_csv(with_commas(rows), delimiter=";").splitlines()
    lines[9] = lines[9].replace(";13,5;", ";1.350;")
    summary, scores, rejects = score_text("\n".join(lines).replace(";54,0;", ";54,0%;"))
    assert rejects == "row,id,reasons\n9,8,interest_rate: not a finite number\n"
    assert scores.splitlines() == [line for line in expected.splitlines() if not line.startswith("8,")]
    assert summary.converted == {"revolving_line_utilization_rate: percent sign": 10}


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("write", [lambda text: text.replace("\n", "\r"), lambda text: text.replace(",", ";")])
def test_shards_see_the_same_way_of_writing(
    write: Callable[[str], str], count: int, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dialect is detected from the file's beginning for every shard."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 350)
    path = tmp_path / "loans.csv"
    path.write_text(write(to_csv(rows)), newline="")
    found = [chunk.table["id"].to_pylist() for n in range(count) for chunk in read(path, ("id",), Shard(n + 1, count))]
    assert [value for part in found for value in part] == [row["id"] for row in rows]
    assert len(found) > 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda rows: to_csv(rows).encode("utf-16-le"),
            "loans.csv: not text, or UTF-16 without a byte order mark. Save it as CSV in UTF-8.",
        ),
        (
            lambda rows: to_csv([*with_commas(rows), *rows], delimiter=";"),
            "loans.csv: some numbers have a decimal comma, others a point. Use one of them throughout.",
        ),
        (
            lambda rows: to_csv([rows[0] | {"total_pymnt_inv": "5.293,90"}], delimiter=";"),
            "loans.csv: numbers have thousands separators. Remove them.",
        ),
    ],
)
def test_uncertain_files_are_refused_with_the_cure(
    content: Callable[[list[dict[str, Any]]], str | bytes], message: str, rows: list[dict[str, Any]], score_text: Score
) -> None:
    """What can be read in two ways is not guessed: one line names the cause and the cure."""
    with pytest.raises(DataError) as refused:
        score_text(content(rows))
    assert str(refused.value) == message


def test_row_with_a_comma_too_many_is_rejected_in_any_encoding(rows: list[dict[str, Any]], score_text: Score) -> None:
    """In a file that is not in UTF-8, a row of a wrong length is rejected, and the others are scored."""
    rows = [{"emp_title": "caf\xe9", **row} for row in rows]
    lines = to_csv(rows).splitlines()
    lines[3] += ",9"
    summary, _, rejects = score_text("\n".join(lines).encode("cp1252"))
    assert (summary.scored, rejects) == (9, "row,id,reasons\n3,,20 fields where 19 are needed\n")


@pytest.mark.parametrize("bad", [{}, {"annual_inc": "65k"}])
def test_bytes_of_zero_change_nothing(bad: dict[str, str], rows: list[dict[str, Any]], score_text: Score) -> None:
    """A NUL byte in free text rejects no row, wherever it stands, and nor does it in a number."""
    rows = [{"note": "x", **row, "end": "y"} for row in [*rows * 3, rows[0] | bad]]
    _, expected, _ = score_text(to_csv(rows))
    text = to_csv([row | {"note": f"x{chr(0) * (place % 3)}", "end": f"{chr(0)}y"} for place, row in enumerate(rows)])
    assert score_text(text)[1] == expected
    assert score_text(to_csv([row | {"annual_inc": f"{row['annual_inc']}\0"} for row in rows]))[1] == expected
