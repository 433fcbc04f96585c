import json
from pathlib import Path

import pytest
from changed_archives import Contents

from credit_risk_model import archive
from credit_risk_model.errors import ModelArchiveError


def test_same_content_gives_the_same_bytes(archive_contents: Contents, archive_path: Path, tmp_path: Path) -> None:
    """An archive's bytes depend on its content alone."""
    archive.write(tmp_path / "again.zip", *archive_contents)
    assert (tmp_path / "again.zip").read_bytes() == archive_path.read_bytes()


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
