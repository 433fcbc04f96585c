import hashlib
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from changed_archives import Contents

from credit_risk_model import archive
from credit_risk_model.errors import ModelArchiveError


def test_failed_write_leaves_what_was_there(archive_contents: Contents, archive_path: Path, tmp_path: Path) -> None:
    """An archive that can't be read back is not written, and the one that was there stays."""
    metadata, files = archive_contents
    target = tmp_path / "1.zip"
    target.write_bytes(archive_path.read_bytes())
    golden = json.loads(files[archive.GOLDEN])
    golden[0]["risk_probability"] += 1e-9
    with pytest.raises(ModelArchiveError, match="golden loan 0 gets"):
        archive.write(target, metadata, {**files, archive.GOLDEN: json.dumps(golden).encode()})
    assert target.read_bytes() == archive_path.read_bytes()
    assert list(tmp_path.iterdir()) == [target]


def test_incomplete_content_is_not_written(archive_contents: Contents, tmp_path: Path) -> None:
    """A missing file or field stops the writing before anything is there."""
    metadata, files = archive_contents
    with pytest.raises(ModelArchiveError, match="lists other files than the archive has"):
        archive.write(tmp_path / "1.zip", metadata, {name: files[name] for name in files if name != archive.CARD})
    with pytest.raises(ModelArchiveError, match="metadata is not valid: cut_off"):
        archive.write(tmp_path / "1.zip", {**metadata, "cut_off": 1.0}, files)
    assert not list(tmp_path.iterdir())


def test_other_users_can_read_it(archive_path: Path) -> None:
    """The service may run as another user than the training."""
    assert archive_path.stat().st_mode & 0o777 == 0o644


def test_metadata_is_for_people_to_read(archive_contents: Contents, tmp_path: Path) -> None:
    """Each field of the metadata is a line that is set in by one space, and the digests are among them."""
    metadata, files = archive_contents
    archive.write(tmp_path / "1.zip", metadata, files)
    with zipfile.ZipFile(tmp_path / "1.zip") as packed:
        lines = packed.read(archive.METADATA).decode().splitlines()
    assert lines[0] == "{"
    assert ' "model_version": "test",' in lines
    digest = hashlib.sha256(files[archive.MODEL]).hexdigest()
    assert f'  "{archive.MODEL}": "{digest}",' in lines


def test_files_are_packed_as_small_as_deflate_can(archive_contents: Contents, tmp_path: Path) -> None:
    """An archive goes into an image and over networks, so that its size counts more than the time to pack it."""
    archive.write(tmp_path / "1.zip", *archive_contents)
    with zipfile.ZipFile(tmp_path / "1.zip") as packed:
        for entry in packed.infolist():
            smallest = zlib.compressobj(9, zlib.DEFLATED, -15)
            content = packed.read(entry)
            assert entry.compress_size == len(smallest.compress(content) + smallest.flush())


def test_same_content_gives_the_same_bytes(archive_contents: Contents, tmp_path: Path) -> None:
    """No time of writing is in an archive, so that its digest is that of its content."""
    for name in ("1.zip", "2.zip"):
        archive.write(tmp_path / name, *archive_contents)
    with zipfile.ZipFile(tmp_path / "1.zip") as packed:
        assert {entry.date_time for entry in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cut_off": 2}, "cut_off: Input should be less than 1"),
        ({"seed": "secret"}, "seed: Input should be a valid integer, unable to parse string as an integer"),
    ],
)
def test_metadata_that_is_not_valid_is_told_by_its_field(
    changes: dict[str, Any], words: str, archive_contents: Contents, tmp_path: Path
) -> None:
    """The field and what is wrong with it are told, without its value, and nothing is written."""
    metadata, files = archive_contents
    with pytest.raises(ModelArchiveError, match=f"^{re.escape(f'The metadata is not valid: {words}.')}$"):
        archive.write(tmp_path / "1.zip", metadata | changes, files)
    assert list(tmp_path.iterdir()) == []
