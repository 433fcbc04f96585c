from pathlib import Path
from typing import Any

import pytest
from changed_archives import change_metadata, rewrite

from credit_risk_model import archive
from credit_risk_model.errors import ModelArchiveError


def test_unknown_format_is_named(archive_path: Path, tmp_path: Path) -> None:
    """An archive of another format number, as of a former release, is refused with both numbers and the cure."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: change_metadata(contents, format=1))
    with pytest.raises(
        ModelArchiveError, match=r"has format '1', but this release reads 2 and 3\. Train again \(`make train`\)"
    ):
        archive.read(path)


def test_archive_of_a_former_release_is_refused_by_its_format(archive_path: Path, tmp_path: Path) -> None:
    """An archive of format 1 holds other files; what is said is its format and the cure, not what is missing."""

    def make_old(contents: dict[str, bytes]) -> None:
        del contents[archive.MODEL_WITHOUT_AGE]
        change_metadata(contents, format=1)

    with pytest.raises(ModelArchiveError, match=r"has format '1', but this release reads 2 and 3\. Train again"):
        archive.read(rewrite(archive_path, tmp_path / "1.zip", make_old))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_damaged_metadata_is_refused(content: bytes, archive_path: Path, tmp_path: Path) -> None:
    """Metadata that is no JSON object with a format is damaged."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({archive.METADATA: content}))
    with pytest.raises(ModelArchiveError, match=r"metadata\.json is damaged"):
        archive.read(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cut_off": "0.5x"}, "not valid: cut_off"),
        ({"surprise": 1}, "not valid: surprise"),
        ({"models": {}}, "has no model|does not describe"),
        ({"models": {"age_unknown": {"features": [], "hyperparameters": {}}}}, "does not describe"),
    ],
)
def test_wrong_metadata_is_refused(changes: dict[str, Any], words: str, archive_path: Path, tmp_path: Path) -> None:
    """A wrong, unknown or missing field of the metadata is named."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: change_metadata(contents, **changes))
    with pytest.raises(ModelArchiveError, match=words):
        archive.read(path)


def test_newest_archive_has_the_highest_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are compared as numbers, other names don't count, and the next one is free."""
    monkeypatch.setattr("credit_risk_model.archive.format.MODEL_FILES", tmp_path)
    assert archive.next_free(tmp_path) == tmp_path / "1.zip"
    with pytest.raises(ModelArchiveError, match="make train"):
        archive.newest()
    for name in ("2.zip", "10.zip", "010.zip", "11.txt", "x.zip"):
        (tmp_path / name).touch()
    assert archive.newest() == tmp_path / "10.zip"
    assert archive.next_free(tmp_path) == tmp_path / "11.zip"
