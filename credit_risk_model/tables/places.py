"""Paths and URIs of files (s3://, gs://, az://, abfs://, hdfs://). It needs no Arrow."""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

Place = Path | str
"""A path on this machine, or a URI."""

_URI = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def to_place(text: str) -> Place:
    """Convert a text to a path, unless it is a URI."""
    return text if _URI.match(text) else Path(text)


def get_name(place: Place) -> str:
    """Return the file's name, without its folder and without a URI's query."""
    return place.name if isinstance(place, Path) else PurePosixPath(urlsplit(place).path).name


def get_suffix(place: Place) -> str:
    """Return the name's suffix."""
    return PurePosixPath(get_name(place)).suffix


def with_suffix(place: Place, suffix: str) -> Place:
    """Return the place with its suffix replaced."""
    if isinstance(place, Path):
        return place.with_suffix(suffix)
    uri = urlsplit(place)
    return urlunsplit(uri._replace(path=str(PurePosixPath(uri.path).with_suffix(suffix))))


def identify(place: Place) -> str:
    """Return a text that is equal for the same file; a file's begins with its folder's and `/`."""
    if isinstance(place, Path):
        return str(place.resolve())
    uri = urlsplit(place)
    return f"{uri.scheme}://{uri.netloc.rpartition('@')[2]}{uri.path.rstrip('/')}"
