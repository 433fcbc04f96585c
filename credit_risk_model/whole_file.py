"""Files that are written whole or not at all: no reader, crash or power cut ever finds half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class UnfinishedFile:
    """A file that is being written beside what it is to replace.

    Attributes:
        stream: Takes the content.
    """

    def __init__(self, path: Path) -> None:
        """Open it in the folder of `path`, which is made if it is missing.

        Raises:
            OSError: The folder can't be written to.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, self._temporary = _open_unfinished(path)
        self.stream: IO[bytes] = os.fdopen(descriptor, "wb")

    def finish(self) -> None:
        """See that all of the content is on the disk.

        Raises:
            OSError: The content can't be written, for one because the disk is full.
        """
        self.stream.flush()
        descriptor = self.stream.fileno()
        os.fsync(descriptor)
        if not self._temporary:
            self._temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.{descriptor}.unfinished")
            # The folder's descriptor only makes Python call linkat(), which follows /proc's link to the file.
            os.link(f"/proc/self/fd/{descriptor}", self._temporary, src_dir_fd=0, follow_symlinks=True)
        self.stream.close()

    def publish(self) -> None:
        """Give the finished file its name.

        Raises:
            OSError: A folder has it, for one.
        """
        assert self._temporary is not None
        os.replace(self._temporary, self._path)
        self._temporary = None

    def discard(self) -> None:
        """Leave nothing behind; after `publish` there is nothing to discard."""
        try:
            self.stream.close()
        finally:
            if self._temporary:
                self._temporary.unlink(missing_ok=True)


def _open_unfinished(path: Path) -> tuple[int, Path | None]:
    """Open a file without a name, which is gone even if the process is killed; with one where that can't be had."""
    try:
        return os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o644), None
    except (AttributeError, OSError):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
        return os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644), temporary


@contextmanager
def open_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when the block ends, and is gone if the block fails.

    Args:
        path: The file to write or replace, readable for all. Its folder is made if it is missing.

    Raises:
        OSError: It can't be written.
    """
    unfinished = UnfinishedFile(path)
    try:
        yield unfinished.stream
        unfinished.finish()
        unfinished.publish()
    except BaseException:
        unfinished.discard()
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write or replace a file, as `open_whole` does.

    Raises:
        OSError: It can't be written.
    """
    with open_whole(path) as stream:
        stream.write(content)


def name_whole(finished: Path, path: Path) -> None:
    """Give a finished file its name, once its content is on the disk; both are on the same one.

    Raises:
        OSError: The content can't be synced, or the name can't be had.
    """
    with finished.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(finished, path)
