import csv
import datetime
import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import AGE, CONTRACT_FEATURES
from credit_risk_model.loan_age import DATES_OF_FILE, ISSUED, SNAPSHOT
from credit_risk_model.tables import csv_file
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Shard
from credit_risk_model.training.loans import read_loans

LAST_PULL, LAST_PAYMENT = DATES_OF_FILE

Row = dict[str, Any]
WriteRows = Callable[..., Path]


@pytest.fixture
def write_rows(loan: Row, tmp_path: Path) -> WriteRows:
    """Write the example without its age as rows that differ in other columns, as the name's suffix says."""
    del loan[AGE]

    def write(rows: list[Row], name: str = "loans.csv", **options: Any) -> Path:
        path = tmp_path / name
        whole = [loan | row for row in rows]
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(whole), path, **options)
            return path
        with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
            writer = csv.DictWriter(file, {name: None for row in whole for name in row})
            writer.writeheader()
            writer.writerows(whole)
        return path

    return write


def read_ages(path: Path, as_of: str | None = None, shard: Shard | None = None) -> tuple[list[float | None], str]:
    """The instalments due of all rows, and what they were taken from."""
    source = open_source(path, (), shard, as_of)
    return [due for task in source.tasks() for due in task.parse().table[AGE].to_pylist()], source.age


@pytest.mark.parametrize(
    ("row", "as_of", "due", "words"),
    [
        ({AGE: "7"}, "2012-01", 7, "column instalments_due"),
        ({AGE: "", ISSUED: "Dec-2011"}, "2012-01", None, "column instalments_due"),
        ({SNAPSHOT: "Jan-2012"}, "2012-01", None, "not known: the file has no issue_d. Add a column instalments_due"),
        ({SNAPSHOT: "Jan-2012", LAST_PAYMENT: "Mar-2012"}, None, 1, "whole months from issue_d to snapshot_d, at most"),
        (
            {SNAPSHOT: "NA", LAST_PULL: "Feb-2012", LAST_PAYMENT: "Mar-2012"},
            None,
            2,
            "whole months from issue_d to 2012-02, the latest last_credit_pull_d, at most the term's",
        ),
        (
            {LAST_PULL: "", LAST_PAYMENT: "Mar-2012"},
            None,
            3,
            "whole months from issue_d to 2012-03, the latest last_pymnt_d, at most the term's",
        ),
        ({LAST_PAYMENT: "soon"}, "2012-04", 4, "whole months from issue_d to 2012-04, as_of, at most the term's"),
        ({}, None, None, "not known: the file does not say when it was recorded"),
    ],
)
@pytest.mark.parametrize("name", ["loans.csv", "loans.csv.gz", "loans.parquet"])
def test_first_known_source_gives_the_age(
    row: Row, as_of: str | None, due: int | None, words: str, *, name: str, write_rows: WriteRows
) -> None:
    """A column of ages comes first, then each loan's month, the file's latest months, and the month that is given."""
    if name.endswith("parquet"):
        row = {key: (int(value) if value else None) if key == AGE else value for key, value in row.items()}
    if SNAPSHOT not in row or len(row) > 1:
        row = {ISSUED: "Dec-2011"} | row
    found, said = read_ages(write_rows([row], name), as_of)
    assert found == [due]
    assert said.startswith(words)


@pytest.mark.parametrize(
    ("row", "due"),
    [
        ({ISSUED: "Jan-2016"}, 0),
        ({ISSUED: "Feb-2016"}, None),
        ({ISSUED: "Jan-2013"}, 36),
        ({ISSUED: "Dec-2012"}, 36),
        ({ISSUED: "Dec-2012", "term": " 60 months"}, 37),
        ({ISSUED: "Jan-1999", "term": " 60 months"}, 60),
        ({ISSUED: "Jan-2013", "term": "soon"}, None),
        ({ISSUED: "a while ago"}, None),
        ({ISSUED: ""}, None),
    ],
)
def test_age_is_at_most_the_terms_and_never_negative(row: Row, due: int | None, write_rows: WriteRows) -> None:
    """Months beyond the term are no instalments, and a loan of the future or of no month has no known age."""
    for name in ("loans.csv", "loans.parquet"):
        assert read_ages(write_rows([row], name), "2016-01")[0] == [due]


def test_loan_without_a_month_of_its_own_has_no_age(write_rows: WriteRows) -> None:
    """If each loan has its own month, a missing one is not replaced."""
    rows = [{ISSUED: "Dec-2011", SNAPSHOT: month, LAST_PAYMENT: "Mar-2012"} for month in ("", "Feb-2012")]
    assert read_ages(write_rows(rows))[0] == [None, 2]


@pytest.mark.parametrize("name", ["loans.csv", "loans.parquet"])
def test_all_shards_see_the_latest_month_of_the_file(
    name: str, write_rows: WriteRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest month is that of the whole file, wherever it stands, so that the shards' ages are the file's."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 1000)
    rows = [{ISSUED: "Dec-2011", LAST_PULL: "Feb-2012"} for _ in range(60)]
    for place in (0, 31, 59):
        changed = [row | {LAST_PULL: "Sep-2012"} if row is rows[place] else row for row in rows]
        path = write_rows(changed, name, row_group_size=10)
        parts = [read_ages(path, shard=Shard(number, 3))[0] for number in (1, 2, 3)]
        assert all(parts)
        assert [due for part in parts for due in part] == [9] * 60


def test_dates_and_texts_in_parquet_give_the_same_ages(write_rows: WriteRows) -> None:
    """A Parquet file may hold its months as dates or timestamps."""
    issued: Any = datetime.date(2014, 3, 31)
    recorded: Any = datetime.datetime(2015, 1, 1)
    for row in ({ISSUED: "Mar-2014", SNAPSHOT: "Jan-2015"}, {ISSUED: issued, SNAPSHOT: recorded}):
        assert read_ages(write_rows([row], "loans.parquet"))[0] == [10]
    for row in ({ISSUED: "Mar-2014", LAST_PAYMENT: recorded}, {ISSUED: issued, LAST_PAYMENT: "Jan-2015"}):
        assert read_ages(write_rows([row], "loans.parquet"))[0] == [10]


def test_empty_columns_of_months_are_passed_over(write_rows: WriteRows) -> None:
    """A Parquet column without a single value has no type, and holds no month."""
    row = {ISSUED: "Mar-2014", SNAPSHOT: None, LAST_PULL: None, LAST_PAYMENT: "Jan-2015"}
    assert read_ages(write_rows([row], "loans.parquet"))[0] == [10]
    assert read_ages(write_rows([row | {ISSUED: None}], "loans.parquet"))[0] == [None]


@pytest.mark.parametrize("column", [ISSUED, SNAPSHOT, LAST_PULL])
def test_column_without_months_is_refused(column: str, write_rows: WriteRows) -> None:
    """Numbers are no months; the error names the column, its type and the cure."""
    path = write_rows([{ISSUED: "Mar-2014"} | {column: 201403}], "loans.parquet")
    with pytest.raises(
        DataError, match=f"^loans.parquet: column {column} is of type int64, not months. Convert it to dates"
    ):
        open_source(path, (), None, "2016-01")


def test_column_of_months_twice_is_refused(write_rows: WriteRows) -> None:
    """A repeated column of months is ambiguous, unless the file has the age."""
    path = write_rows([{ISSUED: "Mar-2014", "x": "Mar-2014"}])
    path.write_text(path.read_text().replace(",x", f",{ISSUED}"))
    with pytest.raises(DataError, match=r"^loans.csv: more than one column for issue_d. Keep one of each.$"):
        open_source(path)
    path = write_rows([{ISSUED: "Mar-2014", "x": "Mar-2014", AGE: 3}])
    path.write_text(path.read_text().replace(",x", f",{ISSUED}"))
    assert read_ages(path)[0] == [3]


@pytest.mark.parametrize("name", ["loans.csv", "loans.parquet"])
def test_column_of_months_may_be_an_id(name: str, write_rows: WriteRows) -> None:
    """The issue month can be passed through as an id, and still gives the age."""
    path = write_rows([{ISSUED: "Mar-2014"}, {ISSUED: "NA"}], name)
    source = open_source(path, (ISSUED,), None, "2015-01")
    (task,) = source.tasks()
    table = task.parse().table
    assert table.select([ISSUED, AGE]).to_pylist() == [{ISSUED: "Mar-2014", AGE: 10}, {ISSUED: "NA", AGE: None}]
    assert source.ids.types == [pa.string()]


@pytest.mark.parametrize("as_of", ["2016-13", "2016", "Jan-2016", "16-01", "", "2016-01-01"])
def test_month_that_is_none_is_refused(as_of: str, write_rows: WriteRows) -> None:
    """What is no month such as 2016-01 is refused with an example of one."""
    with pytest.raises(ConfigurationError, match=r"as_of is '.*': write the month .* as 2016-01.$"):
        open_source(write_rows([{}]), (), None, as_of)


def test_row_above_its_term_is_read_as_it_stands(write_rows: WriteRows) -> None:
    """A column of ages is not cut down to the term: what contradicts the term is to be rejected."""
    assert repr(read_ages(write_rows([{AGE: 40}, {AGE: "many"}]))[0]) == "[40.0, nan]"


MONTHS = st.sampled_from(["Dec-2011", "Jan-2012", "Feb-2012", "Jan-2016", "Dec-2019", "", "NA", "2012", "Feb-12"])


@settings(max_examples=60)
@given(data=st.data())
def test_training_and_scoring_find_the_same_ages(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file's loans have the same age in scoring and in training."""
    columns = data.draw(st.lists(st.sampled_from([ISSUED, SNAPSHOT, *DATES_OF_FILE]), unique=True))
    as_of = data.draw(st.sampled_from([None, "2012-01", "2016-01"]))
    loan = {feature.column: "1" for feature in CONTRACT_FEATURES if feature.column}
    loan |= {"installment": "1", "loan_status": "Current"}
    rows = data.draw(
        st.lists(
            st.fixed_dictionaries(
                {"term": st.sampled_from([" 36 months", " 60 months"]), **dict.fromkeys(columns, MONTHS)}
            ),
            min_size=1,
            max_size=8,
        )
    )
    path = tmp_path_factory.mktemp("ages") / "loan.csv"
    with path.open("w") as file:
        writer = csv.DictWriter(file, loan | rows[0])
        writer.writeheader()
        writer.writerows(loan | row for row in rows)
    trained = [None if math.isnan(due) else due for due in read_loans(path, as_of).loans[AGE].tolist()]
    assert read_ages(path, as_of)[0] == trained
