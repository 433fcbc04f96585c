import re
import stat
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from changed_archives import change_metadata, rewrite

from credit_risk_model import archive
from credit_risk_model.errors import ModelArchiveError


def test_file_larger_than_any_archive_is_refused(archive_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that no archive is as large as is not read to its end."""
    monkeypatch.setattr("credit_risk_model.archive.reading._MAX_BYTES", 1000)
    with pytest.raises(ModelArchiveError, match=r"1\.zip: larger than 1,000 bytes"):
        archive.read(archive_path)


def test_missing_archive_is_named(tmp_path: Path) -> None:
    """The error names the file and what to do."""
    with pytest.raises(ModelArchiveError, match=r"7\.zip: no such file.*make train"):
        archive.read(tmp_path / "7.zip")


def test_folder_is_no_archive(tmp_path: Path) -> None:
    """A folder in the archive's place is an error, not a crash."""
    with pytest.raises(ModelArchiveError, match="can't be read"):
        archive.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip", b"\x00" * 1000])
def test_file_that_is_no_zip_is_refused(content: bytes, tmp_path: Path) -> None:
    """Anything that is not a zip file is refused as such."""
    (tmp_path / "1.zip").write_bytes(content)
    with pytest.raises(ModelArchiveError, match="damaged, or not a zip file"):
        archive.read(tmp_path / "1.zip")


@pytest.mark.parametrize("name", archive.CONTENTS)
def test_missing_file_is_named(name: str, archive_path: Path, tmp_path: Path) -> None:
    """An archive without one of its files is refused with the file's name."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.pop(name))
    with pytest.raises(ModelArchiveError, match=f"missing, unknown or repeated: {name}"):
        archive.read(path)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "..\\evil", "C:\\evil", "./model.txt", "a/../model.txt", "MODEL.TXT", "more/"]
)
def test_unknown_file_is_refused(name: str, archive_path: Path, tmp_path: Path) -> None:
    """A file that no archive has is refused with its name, wherever it would lead, and none is written anywhere."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({name: b""}))
    with pytest.raises(ModelArchiveError, match=f"unknown or repeated: {re.escape(name)}"):
        archive.read(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["../model.txt", "/model.txt", "model.txt/", "model.txt "])
def test_file_under_another_name_is_refused(name: str, archive_path: Path, tmp_path: Path) -> None:
    """A name that only resembles that of a file is not that file."""
    path = rewrite(
        archive_path, tmp_path / "1.zip", lambda contents: contents.update({name: contents.pop(archive.MODEL)})
    )
    with pytest.raises(ModelArchiveError, match="missing, unknown or repeated"):
        archive.read(path)


def test_link_is_refused(archive_path: Path, tmp_path: Path) -> None:
    """A symbolic link in a file's place is refused, even where the metadata vouches for where it leads."""
    path = rewrite(archive_path, tmp_path / "1.zip", change_metadata)
    with zipfile.ZipFile(path) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    contents[archive.CARD] = b"/etc/passwd"
    change_metadata(contents)
    with zipfile.ZipFile(path, "w") as target:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name)
            if name == archive.CARD:
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            target.writestr(entry, content)
    with pytest.raises(ModelArchiveError, match=r"model_card\.md is a link"):
        archive.read(path)


def test_unknown_packing_is_refused(archive_path: Path, tmp_path: Path) -> None:
    """Only what the archive is written with, deflate, or nothing at all is unpacked."""
    path = tmp_path / "1.zip"
    with zipfile.ZipFile(archive_path) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(ModelArchiveError, match=r"metadata\.json has an unsupported compression"):
        archive.read(path)


def test_bomb_that_lies_about_its_size_is_refused(
    archive_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that unpacks to more than it states is refused, and no more of it is unpacked than it states."""
    monkeypatch.setattr("credit_risk_model.archive.reading._MAX_BYTES", 1_000_000)
    bomb = b"\0" * 200_000_000
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({archive.CARD: bomb}))
    size = len(bomb).to_bytes(4, "little")
    assert path.read_bytes().count(size) == 2  # in the file's own header, and in the directory
    path.write_bytes(path.read_bytes().replace(size, (1000).to_bytes(4, "little")))
    tracemalloc.start()
    try:
        with pytest.raises(ModelArchiveError, match="damaged, or not a zip file"):
            archive.read(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_repeated_file_is_refused(archive_path: Path, tmp_path: Path) -> None:
    """Two files of one name are refused: readers differ in which one they take."""
    path = tmp_path / "1.zip"
    path.write_bytes(archive_path.read_bytes())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as target:
        target.writestr(archive.CARD, b"another")
    with pytest.raises(ModelArchiveError, match="repeated: a file twice"):
        archive.read(path)


def test_bomb_is_refused_before_it_is_unpacked(
    archive_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file larger than any real one is refused by its stated size."""
    monkeypatch.setattr("credit_risk_model.archive.reading._MAX_BYTES", 1_000_000)
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({archive.CARD: b"0" * 1_000_001}))
    with pytest.raises(ModelArchiveError, match="unpacked larger than 1,000,000 bytes"):
        archive.read(path)


@pytest.mark.parametrize("name", [name for name in archive.CONTENTS if name != archive.METADATA])
def test_altered_file_is_named(name: str, archive_path: Path, tmp_path: Path) -> None:
    """Any file that differs from the packaged one, if only by a byte at its end, is refused by its digest."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({name: contents[name] + b" "}))
    with pytest.raises(ModelArchiveError, match=f"{name} is not the file that was packaged"):
        archive.read(path)


def structure(path: Path) -> tuple[list[int], dict[str, range]]:
    """Give the places of the zip's own structure in an archive's file, and of each content's packed bytes."""
    with zipfile.ZipFile(path) as source:
        packed = {}
        for entry in source.infolist():
            start = entry.header_offset + 30 + len(entry.filename)  # the header's fixed part has 30 bytes
            packed[entry.filename] = range(start, start + entry.compress_size)
    contents = {place for places in packed.values() for place in places}
    return [place for place in range(path.stat().st_size) if place not in contents], packed


def test_any_damaged_byte_is_refused_or_harmless(archive_path: Path, tmp_path: Path) -> None:
    """Whichever byte of the file is damaged: the archive is refused, or answers as before; nothing else is raised."""
    whole = archive_path.read_bytes()
    undamaged = archive.read(archive_path)
    answers = [undamaged.evaluate(golden.loan) for golden in undamaged.golden]
    path = tmp_path / "1.zip"
    rng = np.random.default_rng(1)
    headers, packed = structure(archive_path)
    assert len(headers) > 10 * (30 + 46) + 22  # ten files' headers, each twice, and the end
    assert list(packed) == list(archive.CONTENTS)
    places = [*headers]
    for content in packed.values():
        places += rng.choice(content, min(len(content), 50), replace=False).tolist()
    refused = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            found = archive.read(path)
        except ModelArchiveError as error:
            assert str(error).startswith("1.zip: ")  # noqa: PT017  # either outcome is right
            refused += 1
        else:
            assert [found.evaluate(golden.loan) for golden in found.golden] == answers
            assert found.metadata == undamaged.metadata
    assert refused > len(places) / 2


def test_truncated_archive_is_refused(archive_path: Path, tmp_path: Path) -> None:
    """An archive cut off anywhere is refused."""
    whole = archive_path.read_bytes()
    path = tmp_path / "1.zip"
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelArchiveError, match=r"1\.zip: damaged, or not a zip file"):
            archive.read(path)
