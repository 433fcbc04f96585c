import io
import json
import os
import resource
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from credit_risk_model.training.book import DEFAULT_DATA
from credit_risk_model.training.download import DATASET, LOANS

BOOK = b"id,loan_status\n" + b"1,Current\n" * 500
KEY = {"KAGGLE_USERNAME": "somebody", "KAGGLE_KEY": "secret"}


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip file with these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def damaged(archive: bytes) -> bytes:
    """The zip file with other bytes in the middle of its first file."""
    return archive[:60] + bytes(10) + archive[70:]


class StandIn(ThreadingHTTPServer):
    """Answers as Kaggle does, with a redirect to a storage, here under /storage on the same server.

    Attributes:
        status: Kaggle's own answer, in place of the redirect.
        storage_status, content, announced_bytes: The storage's answer, and how much of it is announced.
        requests: Path and Authorization header of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.status = 302
        self.storage_status = 200
        self.content = zipped({"loan/loan.csv": BOOK, "LCDataDictionary.xlsx": b"a workbook"})
        self.announced_bytes: int | None = None
        self.requests: list[tuple[str, str | None]] = []


class Answer(BaseHTTPRequestHandler):
    """One answer of the stand-in."""

    server: StandIn

    def do_GET(self) -> None:
        """Answer as the stand-in is set."""
        self.server.requests.append((self.path, self.headers["Authorization"]))
        stored = self.path.startswith("/storage")
        self.send_response(self.server.storage_status if stored else self.server.status)
        if not stored:
            self.send_header("Location", "/storage/dataset.zip?signature=secret")
        content = self.server.content if stored else b'{"message": "no"}'
        announced = self.server.announced_bytes if stored else None
        self.send_header("Content-Length", str(announced or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def kaggle() -> Iterator[StandIn]:
    """A server that stands in for Kaggle's."""
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def download(kaggle: StandIn, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the command in an empty folder, with these environment variables besides the stand-in's address."""

    def run(environment: dict[str, str] = KEY, **options: Any) -> "subprocess.CompletedProcess[str]":
        ours = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
        endpoint = {"KAGGLE_API_ENDPOINT": kaggle.address, "HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-m", "credit_risk_model.training.download"],
            cwd=tmp_path,
            env={**ours, **endpoint, **environment},
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    return run


def files_in(folder: Path) -> list[str]:
    """All files and folders below, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refusal(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line of a run that failed."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


def test_loans_lie_where_the_training_looks_for_them() -> None:
    """The file is fetched to the training's default path."""
    assert "data" / LOANS == DEFAULT_DATA


def test_dataset_is_fetched_and_unpacked(download: Any, kaggle: StandIn, tmp_path: Path) -> None:
    """The loans and their dictionary are all that a run leaves."""
    done = download()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Fetched data/loan/loan.csv, {len(BOOK):,} bytes.\n"
    assert files_in(tmp_path) == ["data", "data/LCDataDictionary.xlsx", "data/loan", "data/loan/loan.csv"]
    assert (tmp_path / "data/loan/loan.csv").read_bytes() == BOOK
    assert kaggle.requests[0][0] == f"/api/v1/datasets/download/{DATASET}"


def test_loans_are_not_fetched_twice(download: Any, kaggle: StandIn, tmp_path: Path) -> None:
    """Loans that are there are kept, without a request and without credentials."""
    (tmp_path / "data/loan").mkdir(parents=True)
    (tmp_path / "data/loan/loan.csv").write_bytes(b"mine")
    done = download({})
    assert (done.returncode, done.stderr, kaggle.requests) == (0, "", [])
    assert done.stdout == "data/loan/loan.csv exists already, 4 bytes. Delete it to fetch it again.\n"
    assert (tmp_path / "data/loan/loan.csv").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        (KEY, "Basic c29tZWJvZHk6c2VjcmV0"),
        ({"KAGGLE_API_TOKEN": "KGAT_1", **KEY}, "Bearer KGAT_1"),
        ({"KAGGLE_CONFIG_DIR": "keys"}, "Basic ZmlsZTprZXk="),
    ],
)
def test_credentials_are_sent_to_kaggle_only(
    download: Any, kaggle: StandIn, tmp_path: Path, environment: dict[str, str], header: str
) -> None:
    """Kaggle gets token, key or kaggle.json, in this order; the storage that it redirects to gets no credentials."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/kaggle.json").write_text(json.dumps({"username": "file", "key": "key"}))
    assert download(environment).returncode == 0
    assert [sent for _, sent in kaggle.requests] == [header, None]


@pytest.mark.parametrize("content", ["", "[]", '{"username": "x"}', '"text"'])
def test_unusable_kaggle_json_is_named(download: Any, tmp_path: Path, content: str) -> None:
    """A kaggle.json without username and key is refused by its path."""
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle/kaggle.json").write_text(content)
    assert f"{tmp_path}/.kaggle/kaggle.json has no readable username and key" in refusal(download({}))


def test_missing_credentials_are_refused_without_a_request(download: Any, kaggle: StandIn) -> None:
    """Without credentials, the error says how to get them."""
    assert "No Kaggle credentials. Create a token at" in refusal(download({}))
    assert kaggle.requests == []


@pytest.mark.parametrize(
    ("status", "environment", "line"),
    [
        (401, KEY, "Kaggle refuses the key in KAGGLE_USERNAME and KAGGLE_KEY: wrong or expired. Create a new one"),
        (401, {"KAGGLE_API_TOKEN": "KGAT_1"}, "Kaggle refuses the token in KAGGLE_API_TOKEN: wrong or expired."),
        (403, KEY, "Kaggle refuses this account the data set. Log in at"),
        (404, KEY, f"Kaggle has no data set {DATASET}. Pass a loan.csv from elsewhere: make train LOAN_DATA=..."),
        (429, KEY, "Kaggle got too many requests"),
        (503, KEY, "answered 503 Service Unavailable. Run it again later."),
    ],
)
def test_refusal_by_kaggle_is_one_line(
    download: Any, kaggle: StandIn, status: int, environment: dict[str, str], line: str
) -> None:
    """A refusal by Kaggle gives one line with the cure and without the secret."""
    kaggle.status = status
    said = refusal(download(environment))
    assert line in said
    assert "secret" not in said
    assert "KGAT_1" not in said


def test_refusal_by_the_storage_is_not_taken_for_kaggles(download: Any, kaggle: StandIn) -> None:
    """A refusal by the storage is not blamed on the account, and the signed URL is not shown."""
    kaggle.storage_status = 403
    said = refusal(download())
    assert f"{kaggle.address}/storage/dataset.zip answered 403 Forbidden. Run it again later." in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        ("http://127.0.0.1:9", "No connection to http://127.0.0.1:9: [Errno 111] Connection refused. Check network"),
        ("http://kaggle.invalid", "No connection to http://kaggle.invalid: [Errno -"),
        ("https://127.0.0.1:no", "No connection to https://127.0.0.1:no: nonnumeric port"),
        ("file:///etc", "KAGGLE_API_ENDPOINT is 'file:///etc': it must start with https:// or http://."),
    ],
)
def test_unreachable_server_is_one_line(download: Any, endpoint: str, line: str) -> None:
    """Without a connection the line names the server and the reason."""
    assert line in refusal(download({**KEY, "KAGGLE_API_ENDPOINT": endpoint, "no_proxy": "*"}))


def test_broken_off_download_keeps_nothing(download: Any, kaggle: StandIn, tmp_path: Path) -> None:
    """A download that ends early is refused by its number of bytes."""
    kaggle.announced_bytes = len(kaggle.content) + 1000
    said = refusal(download())
    assert said.startswith("The download broke off after")
    assert said.endswith("Run it again.\n")
    assert files_in(tmp_path) == ["data"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"<html>Sign in</html>", "not a complete zip file (File is not a zip file)"),
        (zipped({"loan/loan.csv": BOOK})[:-40], "not a complete zip file"),
        (damaged(zipped({"loan/loan.csv": BOOK})), "not a complete zip file"),
        (zipped({"other.csv": BOOK}), "has no loan.csv"),
        (zipped({"loan.csv": b"a,b\n1,2\n"}), "has no column loan_status: it is another file"),
    ],
)
def test_wrong_download_keeps_nothing(
    download: Any, kaggle: StandIn, tmp_path: Path, content: bytes, line: str
) -> None:
    """An incomplete download is refused with the address for a manual download."""
    kaggle.content = content
    said = refusal(download())
    assert line in said
    assert f"https://www.kaggle.com/datasets/{DATASET}" in said
    assert files_in(tmp_path) == ["data"]


def test_file_in_place_of_the_folder_is_refused(download: Any, tmp_path: Path) -> None:
    """A `data` that is a file is named."""
    (tmp_path / "data").write_text("")
    assert "data/ can't be used: File exists." in refusal(download())


def test_full_disk_keeps_nothing(download: Any, kaggle: StandIn, tmp_path: Path) -> None:
    """A disk that takes no more is one line, and what was written is removed."""
    kaggle.content = zipped({"loan/loan.csv": BOOK * 1000})
    limit = (100_000, 100_000)
    said = refusal(download(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)))
    assert said == "data/ can't be used: File too large. It must be a writable folder with 1 GB free.\n"
    assert files_in(tmp_path) == ["data"]
