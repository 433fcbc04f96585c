"""Where files are, by name: on this machine, or at a URI (s3://, gs://, abfs://, hdfs://). It needs no Arrow."""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

Place = Path | str
"""A path of this machine, or a URI."""

_URI = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def to_place(text: str) -> Place:
    """Tell URIs from paths."""
    return text if _URI.match(text) else Path(text)


def name_of(place: Place) -> str:
    """Return the file's name, without its folder and what else a URI may say."""
    return place.name if isinstance(place, Path) else PurePosixPath(urlsplit(place).path).name


def suffix_of(place: Place) -> str:
    """Return the name's suffix."""
    return PurePosixPath(name_of(place)).suffix


def with_suffix(place: Place, suffix: str) -> Place:
    """Return the place beside it whose name has another suffix."""
    if isinstance(place, Path):
        return place.with_suffix(suffix)
    uri = urlsplit(place)
    return urlunsplit(uri._replace(path=str(PurePosixPath(uri.path).with_suffix(suffix))))


def identify(place: Place) -> str:
    """Return the same text for the same file, and for what is in a folder one that begins with the folder's and `/`."""
    if isinstance(place, Path):
        return str(place.resolve())
    uri = urlsplit(place)
    return f"{uri.scheme}://{uri.netloc.rpartition('@')[2]}{uri.path.rstrip('/')}"
