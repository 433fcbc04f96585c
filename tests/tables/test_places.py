from pathlib import Path

import pytest

from credit_risk_model.tables.places import Place, get_name, get_suffix, identify, to_place, with_suffix

URI = "s3://key:secret@bank/loans/2016.csv?region=us-east-1"


@pytest.mark.parametrize(
    ("text", "is_uri"),
    [
        (URI, True),
        ("GS://bank/loans.csv", True),
        ("abfs+x.y-1://bank/loans.csv", True),
        ("loans.csv", False),
        ("/data/s3://bank", False),
        ("C:\\loans.csv", False),
        ("s3:/bank", False),
        ("1://bank", False),
    ],
)
def test_uris_are_told_from_paths(text: str, is_uri: bool) -> None:
    """A text that begins with a scheme and `://` is a URI, and stays as it is; any other is a path."""
    assert to_place(text) == (text if is_uri else Path(text))


@pytest.mark.parametrize("place", [URI, Path("/data/loans/2016.csv"), "hdfs://host:9000/2016.csv"])
def test_name_and_suffix_are_the_files_own(place: Place) -> None:
    """Neither the folder nor what else a URI says is part of a name."""
    assert (get_name(place), get_suffix(place)) == ("2016.csv", ".csv")


def test_place_beside_another_differs_in_its_suffix() -> None:
    """The folder, the host and the query stay."""
    assert with_suffix(URI, ".json") == "s3://key:secret@bank/loans/2016.json?region=us-east-1"
    assert with_suffix(Path("/data/2016.csv"), ".json") == Path("/data/2016.json")


def test_same_file_has_one_identity(tmp_path: Path) -> None:
    """Keys, queries and links make no other file; what is in a folder begins with the folder's identity."""
    assert identify(URI) == "s3://bank/loans/2016.csv"
    assert identify("s3://a@b:secret@bank/loans//") == "s3://bank/loans"
    assert identify("s3://bank/loans/2016.csv/") == identify(URI)
    (tmp_path / "link").symlink_to(tmp_path / "loans")
    assert identify(tmp_path / "link") == identify(tmp_path / "other" / ".." / "loans") == str(tmp_path / "loans")
