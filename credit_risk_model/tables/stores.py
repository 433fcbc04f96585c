"""Reads and writes files on this machine and in stores that Arrow's filesystems reach."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem, copy_files

from credit_risk_model.errors import ConfigurationError, ModelArchiveError
from credit_risk_model.tables.places import Place, identify


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file or folder in one of Arrow's filesystems."""

    filesystem: Any
    path: str

    @classmethod
    def at(cls, place: Place) -> Self:
        """Find the filesystem of a place.

        Raises:
            ConfigurationError: Arrow can't reach such a URI.
        """
        if isinstance(place, Path):
            return cls(LocalFileSystem(), str(place))
        try:
            filesystem, path = FileSystem.from_uri(_to_arrow(place))
        except (OSError, ValueError, pa.ArrowException, ImportError) as error:
            reason = str(error).splitlines()[0].replace(place, "its URI")  # a URI may hold a key
            raise ConfigurationError(f"{identify(place)}: can't be reached ({reason}).") from None
        return cls(filesystem, path.rstrip("/"))

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        return PurePosixPath(self.path).name

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return int(self.filesystem.get_file_info(self.path).size)

    @property
    def is_in_store(self) -> bool:
        """Whether it is in an object store, where a file appears only once it is whole."""
        return self.filesystem.type_name in ("s3", "gcs")

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return bool(self.filesystem.get_file_info(self.path).type == FileType.Directory)

    def open(self) -> Any:
        """Open it for random access."""
        return self.filesystem.open_input_file(self.path)

    def begins_with(self, beginning: bytes) -> bool:
        """Return whether it is a readable file with these first bytes."""
        try:
            with self.open() as file:
                return bool(file.read(len(beginning)) == beginning)
        except (OSError, pa.ArrowException):
            return False

    def files(self) -> list[Self]:
        """Return a folder's files in the order of their names, without Spark's internal ones."""
        found = self.filesystem.get_file_info(FileSelector(self.path, recursive=True))
        paths = [PurePosixPath(each.path) for each in found if each.type == FileType.File]
        return [
            type(self)(self.filesystem, str(path))
            for path in sorted(paths)
            if not any(part.startswith(("_", ".")) for part in path.relative_to(self.path).parts)
        ]


def _to_arrow(uri: str) -> str:
    """Return the URI that Arrow has for `az://container/path`, which other tools write; any other unchanged."""
    parts = urlsplit(uri)
    if parts.scheme.lower() != "az":
        return uri
    account = os.environ.get("AZURE_STORAGE_ACCOUNT")
    if not account:
        raise ConfigurationError(f"{identify(uri)}: set AZURE_STORAGE_ACCOUNT to the name of the storage account.")
    return urlunsplit(parts._replace(scheme="abfs", netloc=f"{parts.netloc}@{account}.dfs.core.windows.net"))


@contextmanager
def on_this_machine(place: Place) -> Iterator[Path]:
    """Yield a local path of a file; a remote file is copied, and the copy deleted afterwards.

    Raises:
        ModelArchiveError: It can't be fetched.
    """
    if isinstance(place, Path):
        yield place
        return
    stored = StoredFile.at(place)
    with TemporaryDirectory() as folder:
        copy = Path(folder) / stored.name
        try:
            with stored.open() as file:
                copy.write_bytes(file.read())
        except (OSError, pa.ArrowException) as error:
            raise ModelArchiveError(f"{stored.name}: can't be fetched ({str(error).splitlines()[0]}).") from None
        yield copy


def check_bucket(place: Place) -> None:
    """Refuse a place in a missing bucket, before the work starts.

    Raises:
        ConfigurationError: The bucket does not exist, or can't be reached.
    """
    stored = StoredFile.at(place)
    bucket = stored.path.partition("/")[0]
    if stored.is_in_store:
        try:
            found = stored.filesystem.get_file_info(bucket).type != FileType.NotFound
        except OSError as error:
            raise ConfigurationError(f"{bucket}: can't be reached ({str(error).splitlines()[0]}).") from None
        if not found:
            raise ConfigurationError(f"{bucket}: no such bucket. Create it, or name another.")


def upload(path: Path, place: Place) -> None:
    """Copy a file to a place, whole or not at all.

    An object store publishes an object once it is complete. Elsewhere the file is renamed once it is complete. Arrow
    copies in one call, which no signal interrupts: an abandoned stream would be published incomplete.
    """
    stored = StoredFile.at(place)
    target = stored.path if stored.is_in_store else f"{stored.path}.unfinished"
    copy_files(str(path), target, source_filesystem=LocalFileSystem(), destination_filesystem=stored.filesystem)
    if not stored.is_in_store:
        stored.filesystem.move(target, stored.path)
