import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from changed_archives import change_metadata, rewrite
from pydantic import BaseModel, Field, ValidationError

from credit_risk_model import archive
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.schemas import CreditRiskModelInput

Contents = tuple[dict[str, Any], dict[str, bytes]]
WIDER = {"loan_amount": (500, 40_000)}
NAMES = [
    "metadata.json",
    "model.txt",
    "model_without_age.txt",
    "golden.json",
    "model_card.md",
    "model.joblib",
    "data_exploration_report.html",
    "deepchecks_data_integrity_results.html",
    "deepchecks_train_test_results.html",
    "deepchecks_model_evaluation_results.html",
]


def test_files_are_packed_in_order_and_without_a_time(archive_contents: Contents, archive_path: Path) -> None:
    """The metadata comes first, each file is deflated and of 1980, and holds what was given to be packed."""
    with zipfile.ZipFile(archive_path) as packed:
        entries = packed.infolist()
        contents = {entry.filename: packed.read(entry) for entry in entries}
    assert [entry.filename for entry in entries] == NAMES
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_DEFLATED}
    assert {name: contents[name] for name in NAMES[1:]} == archive_contents[1]


def test_metadata_names_format_and_digests(archive_contents: Contents, archive_path: Path) -> None:
    """The metadata is what was given, the format's number, and the SHA-256 of every other file, a line for each."""
    given, files = archive_contents
    with zipfile.ZipFile(archive_path) as packed:
        text = packed.read("metadata.json").decode()
    metadata = json.loads(text)
    assert metadata["format"] == 3
    assert metadata["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert json.loads(json.dumps(given)) | {"format": 3, "files": metadata["files"]} == metadata
    assert '\n "model_version": "test",\n "created_at": ' in text


def test_bounds_are_written_only_where_some_were_widened(archive_contents: Contents, tmp_path: Path) -> None:
    """Former releases refuse a key that they don't know, so that an archive without wider bounds has none of it."""
    metadata, files = archive_contents
    for bounds, is_there in (({}, False), (WIDER, True)):
        archive.write(tmp_path / "1.zip", {**metadata, "bounds": bounds}, files)
        with zipfile.ZipFile(tmp_path / "1.zip") as packed:
            assert ("bounds" in json.loads(packed.read("metadata.json"))) is is_there
        found = archive.read(tmp_path / "1.zip").metadata
        assert found.bounds == bounds
        assert found.contract.bounds["loan_amount"][1] == (40_000 if is_there else 35_000)


def test_missing_file_is_named_when_written(archive_contents: Contents, tmp_path: Path) -> None:
    """An archive that lacks a file is refused by its own name."""
    metadata, files = archive_contents
    with pytest.raises(ModelArchiveError, match=r"^7\.zip: metadata\.json lists other files than the archive has\. "):
        archive.write(tmp_path / "7.zip", metadata, {name: files[name] for name in NAMES[2:]})


def test_contract_is_read_from_the_metadata_alone(archive_path: Path, tmp_path: Path) -> None:
    """The bounds are read also where the models are not the packaged ones; metadata that is damaged is refused."""

    def widen(contents: dict[str, bytes]) -> None:
        change_metadata(contents, bounds=WIDER)
        contents[archive.MODEL] = b"other"

    path = rewrite(archive_path, tmp_path / "5.zip", widen)
    assert archive.read_contract(path).widened == WIDER
    assert archive.read_contract(archive_path).widened == {}
    rewrite(archive_path, path, lambda contents: contents.update({archive.METADATA: b"{"}))
    with pytest.raises(ModelArchiveError, match=r"^5\.zip: metadata\.json is damaged"):
        archive.read_contract(path)
    path.write_bytes(b"PK")
    with pytest.raises(ModelArchiveError, match=r"^5\.zip: damaged, or not a zip file"):
        archive.read_contract(path)
    with pytest.raises(ModelArchiveError, match=r"^6\.zip: no such file"):
        archive.read_contract(tmp_path / "6.zip")


def test_archive_in_use_is_read_once(archive_path: Path, tmp_path: Path) -> None:
    """The same content is shared while it is used, under whatever name; other content is not."""
    path = tmp_path / "1.zip"
    path.write_bytes(archive_path.read_bytes())
    first = archive.read_shared(archive_path)
    assert archive.read_shared(path) is first
    assert archive.read(path) is not first
    rewrite(archive_path, path, lambda contents: change_metadata(contents, seed=2))
    assert archive.read_shared(path) is not first
    path.write_bytes(b"PK")
    with pytest.raises(ModelArchiveError, match=r"^1\.zip: damaged"):
        archive.read_shared(path)


def test_golden_loans_are_written_a_field_a_line() -> None:
    """Loans and probabilities are written as they are; of each loan there is one probability."""
    loan = CreditRiskModelInput.model_validate(EXAMPLE_LOAN)
    text = archive.golden_json([loan, loan], [0.25, 0.5]).decode()
    expected = loan.model_dump(mode="json")
    assert json.loads(text) == [{"loan": expected, "risk_probability": each} for each in (0.25, 0.5)]
    assert '\n  "risk_probability": 0.25\n },\n {\n' in text
    with pytest.raises(ValueError, match="shorter"):
        archive.golden_json([loan, loan], [0.25])


class _Book(BaseModel):
    rows: dict[str, list[int]] = Field(max_length=1)


def test_first_error_says_where_it_is() -> None:
    """An error of validation is told by its place, part by part, and never by the value."""
    with pytest.raises(ValidationError) as raised:
        _Book.model_validate({"rows": {"a": [1, "secret", "other"]}})
    words = "rows.a.1: Input should be a valid integer, unable to parse string as an integer"
    assert archive.first_error(raised.value) == words
