"""Atomic file writes: no reader, crash or power failure ever sees a partial file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class UnfinishedFile:
    """A temporary file that replaces `path` when it is published.

    Attributes:
        stream: Binary stream for the content.
    """

    def __init__(self, path: Path) -> None:
        """Open the file in the folder of `path`, which is created if it is missing.

        Raises:
            OSError: The folder is not writable.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, self._temporary = _open_unfinished(path)
        self.stream: IO[bytes] = os.fdopen(descriptor, "wb")

    def finish(self) -> None:
        """Flush the content to disk.

        Raises:
            OSError: The content can't be written, for example because the disk is full.
        """
        self.stream.flush()
        descriptor = self.stream.fileno()
        os.fsync(descriptor)
        if not self._temporary:
            self._temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.{descriptor}.unfinished")
            # With a directory descriptor Python calls linkat(), which follows /proc's link to the file.
            os.link(f"/proc/self/fd/{descriptor}", self._temporary, src_dir_fd=0, follow_symlinks=True)
        self.stream.close()

    def publish(self) -> None:
        """Rename the finished file to its final name.

        Raises:
            OSError: The name can't be used, for example because it is a folder.
        """
        assert self._temporary is not None
        os.replace(self._temporary, self._path)
        self._temporary = None

    def discard(self) -> None:
        """Delete the temporary file; a no-op after `publish`."""
        try:
            self.stream.close()
        finally:
            if self._temporary:
                self._temporary.unlink(missing_ok=True)


def _open_unfinished(path: Path) -> tuple[int, Path | None]:
    """Open an anonymous file, which vanishes even if the process is killed; a named one if that is not supported."""
    try:
        return os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o644), None
    except (AttributeError, OSError):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
        return os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644), temporary


@contextmanager
def open_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when the block ends and is deleted if the block fails.

    Args:
        path: The file to write or replace, readable for all. Its folder is created if it is missing.

    Raises:
        OSError: The file can't be written.
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
    """Write or replace a file atomically, as `open_whole` does.

    Raises:
        OSError: The file can't be written.
    """
    with open_whole(path) as stream:
        stream.write(content)


def name_whole(finished: Path, path: Path) -> None:
    """Sync a finished file to disk and rename it; both paths must be on the same filesystem.

    Raises:
        OSError: The content can't be synced, or the file can't be renamed.
    """
    with finished.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(finished, path)
