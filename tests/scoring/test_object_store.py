"""Loans, scores and archives in an object store: a real one, on this machine."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from object_store import Store, run_store
from processes import unmeasured_environment

from credit_risk_model.errors import ConfigurationError, DataError, ModelArchiveError
from credit_risk_model.monitoring.__main__ import FAILED, FOUND_WRONG
from credit_risk_model.monitoring.__main__ import main as monitor
from credit_risk_model.scoring.conversion import convert
from credit_risk_model.scoring.joining import join
from credit_risk_model.scoring.run import Settings, score
from credit_risk_model.tables.places import get_name, identify, with_suffix
from credit_risk_model.tables.source import Shard
from credit_risk_model.tables.stores import StoredFile, check_bucket, upload

ROOT = Path(__file__).parents[2]
WriteLoans = Callable[..., Path]
RunScoring = Callable[..., "subprocess.CompletedProcess[str]"]
_PART_BYTES = 10 << 20  # what Arrow uploads at once


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    """An S3 server with a bucket."""
    with run_store() as running:
        yield running


@pytest.fixture
def store(server: Store) -> Store:
    """The server with an empty bucket."""
    server.empty()
    return server


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_store_holds_the_bytes_that_a_folder_would(
    suffix: str, *, store: Store, write_loans: WriteLoans, run_scoring: RunScoring, archive_path: Path, tmp_path: Path
) -> None:
    """Loans and archive of a bucket are scored into it: scores, rejects and summary are those of local files."""
    source = write_loans(f"loans.{suffix}", 50_000, term={7: "soon", 40_000: "late"})
    local = tmp_path / f"scores.{suffix}"
    summary = tmp_path / "summary.json"
    assert run_scoring(source, "--output", local, "--id", "id", "--summary", summary).returncode == 3
    uri, archive = store.put(source, f"in/{source.name}"), store.put(archive_path, "models/1.zip")
    done = run_scoring(
        uri, "--output", store.uri(f"out/{local.name}"), "--id", "id", "--summary", store.uri("out/summary.json"),
        "--archive", archive,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert store.read(f"out/{local.name}") == local.read_bytes()
    assert store.read("out/scores.rejects.csv") == (tmp_path / "scores.rejects.csv").read_bytes()
    reported, expected = json.loads(store.read("out/summary.json")), json.loads(summary.read_bytes())
    assert reported | {"seconds": 0} == expected | {"seconds": 0}


def test_folder_in_a_store_is_read_in_shards_and_joined(
    store: Store, write_loans: WriteLoans, archive_path: Path, tmp_path: Path
) -> None:
    """Parts in Hive's folders of a bucket are scored in shards; the join gives what one run of local files gives."""
    folder = tmp_path / "loans"
    for number in (1, 2):
        part = folder / f"day={number}" / "part.parquet"
        part.parent.mkdir(parents=True)
        shutil.move(write_loans("part.parquet", 1000 * number), part)
        (part.parent / "_SUCCESS").touch()
    uri, archive = store.put(folder, "loans"), str(archive_path)
    score(Settings(folder, tmp_path / "whole.csv", ids=("day", "id"), archive=archive))
    parts = [store.uri(f"part-{number}.parquet") for number in (1, 2)]
    for number, place in enumerate(parts, 1):
        score(Settings(uri, place, ids=("day", "id"), archive=archive, shard=Shard(number, 2)))
    join(parts[::-1], store.uri("joined.csv"))
    assert store.read("joined.csv") == (tmp_path / "whole.csv").read_bytes()
    join([with_suffix(part, ".rejects.csv") for part in parts], store.uri("joined.rejects.csv"))
    assert store.read("joined.rejects.csv") == (tmp_path / "whole.rejects.csv").read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_drift_of_a_buckets_loans_and_scores_is_that_of_local_ones(
    suffix: str,
    *,
    store: Store,
    write_loans: WriteLoans,
    archive_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Loans, scores, what they are compared with and the archive may all be objects."""

    def find_drift(
        *arguments: str | Path, archive: str | Path = archive_path, status: int = FOUND_WRONG
    ) -> dict[str, Any]:
        assert monitor(["drift", *map(str, arguments), "--archive", str(archive)]) == status
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    loans, scores = write_loans(f"loans.{suffix}", 3000), tmp_path / f"scores.{suffix}"
    score(Settings(loans, scores, archive=str(archive_path)))
    uri, archive = store.put(loans, loans.name), store.put(archive_path, "models/1.zip")
    uri_of_scores = store.put(scores, scores.name)
    assert find_drift(uri, archive=archive) == find_drift(loans)
    assert find_drift(uri_of_scores) == find_drift(scores)
    assert find_drift(scores, "--against", uri_of_scores, status=0) == find_drift(scores, "--against", scores, status=0)
    (tmp_path / "parts").mkdir()
    shutil.move(loans, tmp_path / "parts" / loans.name)
    assert find_drift(store.put(tmp_path / "parts", "parts"), archive=archive) == find_drift(tmp_path / "parts")


def test_what_drift_can_not_take_from_a_bucket_is_reported(
    store: Store, archive_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A decision log must be local; an error names a missing file without the rest of its URI."""
    (tmp_path / "log.jsonl").write_text("{}")
    for uri, words in {
        store.put(tmp_path / "log.jsonl", "log.jsonl"): "log.jsonl: a decision log must be on this machine.",
        store.uri("none.csv"): "none.csv: no such file.",
        store.uri("none"): "none: no such file.",
    }.items():
        assert monitor(["drift", uri, "--archive", str(archive_path)]) == FAILED
        assert capsys.readouterr().err.startswith(words)
    assert monitor(["drift", store.uri("none.csv"), "--archive", store.uri("9.zip")]) == FAILED
    assert capsys.readouterr().err.startswith("9.zip: can't be fetched")


def test_loans_of_a_bucket_are_converted_into_it(store: Store, write_loans: WriteLoans, tmp_path: Path) -> None:
    """The object is the file that a conversion on this machine writes; a failed one leaves no object."""
    source = write_loans("loans.csv", 50_000)
    convert(source, tmp_path / "loans.parquet")
    convert(store.put(source, "loans.csv"), store.uri("loans.parquet"))
    assert store.read("loans.parquet") == (tmp_path / "loans.parquet").read_bytes()
    (tmp_path / "cut.csv").write_bytes((tmp_path / "loans.csv").read_bytes() + b'"')
    uri = store.put(tmp_path / "cut.csv", "cut.csv")
    with pytest.raises(DataError, match="a quote is never closed"):
        convert(uri, store.uri("cut.parquet"))
    assert "cut.parquet" not in store.sizes()


def test_failed_run_leaves_the_store_as_it_was(store: Store, write_loans: WriteLoans, archive_path: Path) -> None:
    """With too many rejects, no object is written, and an earlier run's object stays."""
    source = write_loans("loans.csv", 100, term={99: "soon"})
    former = store.put(write_loans("former.csv", 1), "scores.csv")
    before = store.read("scores.csv")
    with pytest.raises(DataError, match="more than 0 of the first"):
        score(Settings(source, former, archive=str(archive_path), max_rejects=0))
    assert store.sizes() == {"scores.csv": len(before)}
    assert store.read("scores.csv") == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_part_of_an_object_is_never_seen(number: signal.Signals, store: Store, tmp_path: Path) -> None:
    """A process that ends while it uploads has left no object, or all of it."""
    path, size, name = tmp_path / "large", 30 * _PART_BYTES + 1, f"large-{number.name}"
    with path.open("wb") as file:
        file.truncate(size)
    program = f"""
from pathlib import Path
from credit_risk_model.tables.stores import upload
upload(Path({str(path)!r}), {store.uri(name)!r})
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=unmeasured_environment(), stderr=subprocess.DEVNULL
    )
    while not store.is_uploading(name):
        assert process.poll() is None
    assert store.sizes() == {}
    process.send_signal(number)
    assert process.wait(60) != 0
    assert store.sizes() in ([{}] if number == signal.SIGKILL else [{}, {name: size}])


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"source": "s3://bank/none.csv"}, DataError, r"none\.csv: no such file"),
        ({"source": "s3://nobank/none.csv"}, DataError, r"none\.csv: no such file"),
        ({"output": "s3://nobank/scores.csv"}, ConfigurationError, "nobank: no such bucket"),
        ({"output": "s3://bank/scores.txt"}, ConfigurationError, r"scores\.txt: name an output that ends in"),
        ({"output": "ftp://bank/scores.csv"}, ConfigurationError, r"ftp://bank/scores\.rejects\.csv: can't be reached"),
        ({"archive": "s3://bank/9.zip"}, ModelArchiveError, r"9\.zip: can't be fetched"),
    ],
)
def test_what_is_not_there_is_reported(
    changes: dict[str, str],
    error: type[Exception],
    words: str,
    *,
    store: Store,
    write_loans: WriteLoans,
    tmp_path: Path,
) -> None:
    """A missing object, bucket or store is one line, and nothing is written."""
    asked: dict[str, Any] = {"source": write_loans("loans.csv", 3), "output": tmp_path / "scores.csv"}
    query = store.uri("").partition("?")[2]
    asked |= {name: f"{uri}?{query}" if uri.startswith("s3:") else uri for name, uri in changes.items()}
    with pytest.raises(error, match=words):
        score(Settings(**asked))
    assert [path.name for path in tmp_path.iterdir()] == ["loans.csv"]
    assert store.sizes() == {}


def test_store_that_does_not_answer_is_reported(store: Store, tmp_path: Path) -> None:
    """An unreachable store gives a one-line error, for reading and for writing."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"127.0.0.1:{closed.getsockname()[1]}"
    uri = store.uri("scores.csv").replace(store.endpoint, endpoint)
    with pytest.raises(DataError, match=r"^scores\.csv: can't be read \(NETWORK_CONNECTION\)\.$"):
        score(Settings(uri, tmp_path / "scores.csv"))
    with pytest.raises(ConfigurationError, match=r"^bank: can't be reached \(.*NETWORK_CONNECTION.*\)\.$"):
        check_bucket(uri)


def test_scores_among_the_loans_are_refused(store: Store) -> None:
    """A bucket's folder is not scored into itself, nor an object into itself."""
    with pytest.raises(ConfigurationError, match="loans: the output is in this folder, and would be read as loans"):
        score(Settings(store.uri("loans"), store.uri("loans/scores.csv")))
    with pytest.raises(ConfigurationError, match="are the same file"):
        score(Settings(store.uri("loans.csv"), "s3://bank/loans.csv"))


def test_elsewhere_a_file_gets_its_name_last(tmp_path: Path) -> None:
    """In stores that show unfinished files, a temporary name is used until the file is whole."""
    (tmp_path / "scores.csv").write_text("new")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores.csv").write_text("former")
    upload(tmp_path / "scores.csv", f"file://{tmp_path}/out/scores.csv")
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {"scores.csv": "new"}


def test_a_uri_is_named_without_what_else_it_says() -> None:
    """Names, suffixes and comparisons leave out keys and settings of a URI."""
    uri = "s3://key:secret@bank/in/loans.csv?scheme=http"
    assert get_name(uri) == "loans.csv"
    assert with_suffix(uri, ".rejects.csv") == "s3://key:secret@bank/in/loans.rejects.csv?scheme=http"
    assert identify(uri) == identify("s3://bank/in/loans.csv")
    with pytest.raises(ConfigurationError) as refused:
        StoredFile.at("ftp://key:secret@bank/loans.csv")
    assert "secret" not in str(refused.value)
