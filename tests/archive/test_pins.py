from pathlib import Path
from typing import Any

import pytest
from changed_archives import rewrite

from credit_risk_model import archive
from credit_risk_model.errors import ModelArchiveError


def test_pinned_archive_is_read(archive_path: Path) -> None:
    """The archive whose digest is pinned is read, and says its digest, in whatever case it is pinned."""
    digest = archive.sha256(archive_path.read_bytes())
    assert archive.read(archive_path, digest.upper()).sha256 == digest
    assert archive.read_shared(archive_path, digest).sha256 == digest


@pytest.mark.parametrize("name", archive.CONTENTS[4:])
def test_pin_vouches_for_what_no_answer_comes_from(name: str, archive_path: Path, tmp_path: Path) -> None:
    """Reports and estimator of a pinned archive are not unpacked: its digest is that of every byte."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({name: b"other"}))
    pin = archive.sha256(path.read_bytes())
    assert archive.read(path, pin).sha256 == archive.read_shared(path, pin).sha256 == pin
    with pytest.raises(ModelArchiveError, match=f"{name} is not the file that was packaged"):
        archive.read(path)


@pytest.mark.parametrize("name", [archive.MODEL, archive.MODEL_WITHOUT_AGE, archive.GOLDEN])
def test_what_answers_come_from_is_checked_under_a_pin_too(name: str, archive_path: Path, tmp_path: Path) -> None:
    """A pinned archive was not packaged by us because of that: its model must be the one that its metadata names."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({name: b"other"}))
    with pytest.raises(ModelArchiveError, match=f"{name} is not the file that was packaged"):
        archive.read(path, archive.sha256(path.read_bytes()))


@pytest.mark.parametrize("read", [archive.read, archive.read_shared])
def test_archive_that_is_not_the_pinned_one_is_refused_unread(
    read: Any, archive_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other archive, also a valid one that was read before, is refused before anything in it is parsed."""
    archive.read_shared(archive_path)
    for content in (archive_path.read_bytes(), b"anything"):
        path = tmp_path / "1.zip"
        path.write_bytes(content)
        with monkeypatch.context() as patch:
            patch.delattr("zipfile.ZipFile")
            words = f"SHA-256 is {archive.sha256(content)}, but the configuration pins {'0' * 64}"
            cure = "Restore the expected archive, or pin this one if you trust it"
            with pytest.raises(ModelArchiveError, match=rf"^1\.zip: its {words}\. {cure}\.$"):
                read(path, "0" * 64)
