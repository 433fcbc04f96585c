import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import run_store

from credit_risk_model.errors import ConfigurationError, ModelArchiveError
from credit_risk_model.tables.stores import StoredFile, check_bucket, on_this_machine, upload


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server with a bucket `bank`."""
    with run_store() as store:
        yield store.endpoint


def uri(path: str, server: str) -> str:
    """The URI of an object."""
    return f"s3://{path}?endpoint_override={server}&scheme=http&region=us-east-1"


def test_bucket_must_be_there(server: str) -> None:
    """A bucket that exists is accepted, whatever is in it; one that does not is refused by its name."""
    check_bucket(uri("bank/none/scores.csv", server))
    check_bucket(uri("bank", server))
    words = "nobank: no such bucket. Create it, or name another."
    with pytest.raises(ConfigurationError, match=f"^{re.escape(words)}$"):
        check_bucket(uri("nobank/out/scores.csv", server))


@pytest.mark.usefixtures("server")
def test_store_that_does_not_answer_is_named_by_its_bucket() -> None:
    """A store that can't be reached is one line, with the bucket and Arrow's reason."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(ConfigurationError, match=r"^bank: can't be reached \(.*NETWORK_CONNECTION[^\n]*\)\.$"):
        check_bucket(uri("bank/scores.csv", endpoint))


def test_object_appears_whole_and_is_fetched(server: str, tmp_path: Path) -> None:
    """An object has its name, its size and its bytes, is written without a temporary name, and is copied for use."""
    (tmp_path / "1.zip").write_bytes(b"archive")
    upload(tmp_path / "1.zip", uri("bank/models/1.zip", server))
    stored = StoredFile.at(uri("bank/models/1.zip", server))
    assert (stored.name, stored.size, stored.is_in_store, stored.is_folder) == ("1.zip", 7, True, False)
    assert stored.begins_with(b"arch")
    assert [file.path for file in StoredFile.at(uri("bank/models", server)).files()] == ["bank/models/1.zip"]
    with on_this_machine(uri("bank/models/1.zip", server)) as copy:
        assert (copy.name, copy.read_bytes()) == ("1.zip", b"archive")
    words = r"^2\.zip: can't be fetched \([^\n]+\)\.$"
    with pytest.raises(ModelArchiveError, match=words), on_this_machine(uri("bank/models/2.zip", server)):
        pass
