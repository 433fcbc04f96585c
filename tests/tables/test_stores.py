import errno
import os
import re
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.fs import LocalFileSystem

from credit_risk_model.errors import ConfigurationError, ModelArchiveError
from credit_risk_model.tables.source import make_read_error
from credit_risk_model.tables.stores import StoredFile, check_bucket, on_this_machine, upload


@pytest.mark.parametrize("is_uri", [False, True])
def test_file_is_found_by_path_and_by_uri(is_uri: bool, tmp_path: Path) -> None:
    """A file has its name, its size and its bytes, and is no folder and no object."""
    path = tmp_path / "loans.csv"
    path.write_bytes(b"12345")
    stored = StoredFile.at(path.as_uri() if is_uri else path)
    assert isinstance(stored.filesystem, LocalFileSystem)
    assert (stored.name, stored.size, stored.path) == ("loans.csv", 5, str(path))
    assert not stored.is_folder
    assert not stored.is_in_store
    with stored.open() as file:
        assert file.read() == b"12345"
    assert StoredFile.at(f"{tmp_path.as_uri()}/").is_folder
    assert StoredFile.at(f"{tmp_path.as_uri()}/").path == str(tmp_path)


def test_beginning_is_that_of_a_file(tmp_path: Path) -> None:
    """A file is asked for its first bytes; a folder, and what is not there, begins with nothing."""
    (tmp_path / "loans").write_bytes(b"PAR1...")
    assert StoredFile.at(tmp_path / "loans").begins_with(b"PAR1")
    assert not StoredFile.at(tmp_path / "loans").begins_with(b"PK")
    assert not StoredFile.at(tmp_path / "loans").begins_with(b"PAR1....")
    assert not StoredFile.at(tmp_path).begins_with(b"")
    assert not StoredFile.at(tmp_path / "none").begins_with(b"")


def test_folders_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Folders are looked through; files and folders that begin with a dot or a line are Spark's own."""
    for name in ("b.csv", "a/2.csv", "a/10.csv", "_SUCCESS", ".b.csv.crc", "_delta_log/1.json", "a/.hidden/1.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = StoredFile.at(tmp_path).files()
    assert [str(Path(file.path).relative_to(tmp_path)) for file in files] == ["a/10.csv", "a/2.csv", "b.csv"]
    assert all(isinstance(file.filesystem, LocalFileSystem) for file in files)


def test_uri_that_nothing_reaches_is_refused_without_its_key() -> None:
    """The error names the place and the reason, and no secret."""
    for uri in ("nowhere://key:secret@bank/loans.csv", "s3://key:secret@/?"):
        with pytest.raises(
            ConfigurationError, match=r"^(nowhere://bank/loans\.csv|s3://): can't be reached \("
        ) as raised:
            StoredFile.at(uri)
        assert "secret" not in str(raised.value)
        assert "\n" not in str(raised.value)


def test_uri_that_nothing_reaches_is_told_with_arrows_reason() -> None:
    """Arrow's reason is told without the URI that it quotes."""
    words = "nowhere://bank/loans.csv: can't be reached (Unrecognized filesystem type in URI: its URI)."
    with pytest.raises(ConfigurationError, match=f"^{re.escape(words)}$"):
        StoredFile.at("nowhere://key:secret@bank/loans.csv")


def test_file_that_is_elsewhere_is_copied_for_a_while(tmp_path: Path) -> None:
    """A path is its own; of a URI there is a copy by the same name, which is gone afterwards."""
    path = tmp_path / "7.zip"
    path.write_bytes(b"archive")
    with on_this_machine(path) as found:
        assert found is path
    with on_this_machine(path.as_uri()) as found:
        assert found != path
        assert (found.name, found.read_bytes()) == ("7.zip", b"archive")
    assert not found.exists()
    path.unlink()
    with pytest.raises(ModelArchiveError, match=r"^7\.zip: can't be fetched \("), on_this_machine(path.as_uri()):
        pass


def test_upload_gives_a_file_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """What was there is replaced, and nothing else is left beside it."""
    path, target = tmp_path / "scores.csv", tmp_path / "out" / "scores.csv"
    path.write_bytes(b"scores")
    target.parent.mkdir()
    target.write_bytes(b"former")
    upload(path, target.as_uri())
    assert target.read_bytes() == path.read_bytes() == b"scores"
    assert list(target.parent.iterdir()) == [target]


def test_upload_that_fails_leaves_no_file_by_that_name(tmp_path: Path) -> None:
    """A file that can't take its name is beside it, unfinished, and what was there stays."""
    path, target = tmp_path / "scores.csv", tmp_path / "out"
    path.write_bytes(b"scores")
    (target / "folder").mkdir(parents=True)
    with pytest.raises(OSError, match="out"):
        upload(path, target.as_uri())
    assert (tmp_path / "out.unfinished").read_bytes() == b"scores"
    assert (target / "folder").is_dir()


def test_folder_needs_no_bucket(tmp_path: Path) -> None:
    """Outside of a store there is no bucket to ask for."""
    check_bucket(tmp_path / "none" / "scores.csv")
    check_bucket((tmp_path / "none" / "scores.csv").as_uri())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EACCES, "secret"), f"can't be read ({os.strerror(errno.EACCES)})."),
        (OSError("When reading\nsecret: AWS Error ACCESS_DENIED during Get"), "can't be read (ACCESS_DENIED)."),
        (OSError("secret"), "damaged, truncated, or not of the detected format. Fetch or write it again."),
        (pa.ArrowInvalid("secret"), "damaged, truncated, or not of the detected format. Fetch or write it again."),
    ],
)
def test_error_of_reading_is_told_without_a_value(error: BaseException, words: str) -> None:
    """The system's reason and the store's are told; Arrow's own words, which may hold a value, are not."""
    with pytest.raises(Exception, match=f"^{re.escape(f'loans.csv: {words}')}$"):
        raise make_read_error("loans.csv", error)


def test_azure_is_reached_by_the_name_that_other_tools_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """`az://container/path` is in the account that the environment names; without one the error says what to set."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    with pytest.raises(ConfigurationError, match=r"^az://loans/2016/part\.csv: set AZURE_STORAGE_ACCOUNT to the name"):
        StoredFile.at("az://loans/2016/part.csv")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "acme")
    found = StoredFile.at("az://loans/2016/part.csv")
    assert (found.filesystem.type_name, found.path) == ("abfs", "loans/2016/part.csv")
    assert found.filesystem.equals(StoredFile.at("abfs://loans@acme.dfs.core.windows.net/2016/part.csv").filesystem)
    assert StoredFile.at("AZ://loans/2016X/").path == "loans/2016X"
