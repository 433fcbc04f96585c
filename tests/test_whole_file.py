import os
from pathlib import Path

import pytest

from credit_risk_model.whole_file import open_whole, write_whole


@pytest.fixture(params=["unnamed", "named"])
def either_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unfinished files without a name, and with one, as where the file system knows no others."""
    if request.param == "named":
        monkeypatch.delattr("os.O_TMPFILE")


@pytest.mark.usefixtures("either_kind")
def test_content_is_synced_before_the_file_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole content is on the disk before the file gets its name: a power cut leaves the one or the other."""
    path = tmp_path / "file"
    path.write_bytes(b"former")
    synced: list[tuple[int, bytes]] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_size, path.read_bytes()))
    )
    write_whole(path, b"later!!")
    assert synced == [(7, b"former")]
    assert path.read_bytes() == b"later!!"


@pytest.mark.usefixtures("either_kind")
def test_failed_block_leaves_the_former_file_alone(tmp_path: Path) -> None:
    """What fails in between leaves the former file and no other."""
    path = tmp_path / "file"
    path.write_bytes(b"former")

    def write_in_vain() -> None:
        with open_whole(path) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_in_vain()
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("either_kind")
def test_folder_is_made_and_others_can_read_the_file(tmp_path: Path) -> None:
    """A missing folder is made, and the file is readable for all, since the service may run as another user."""
    write_whole(tmp_path / "new" / "file", b"content")
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == 0o644
