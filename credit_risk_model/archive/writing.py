"""Writing an archive, whole or not at all, and only if it can be read back."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from credit_risk_model.archive.format import CONTENTS, FORMAT, METADATA, Metadata, first_error, sha256
from credit_risk_model.archive.reading import verify
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.whole_file import write_whole

_EARLIEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same content, whenever they are written


def write(path: Path, metadata: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write an archive, whole or not at all, and only if it can be read back.

    Args:
        path: Where to; an archive that is there is replaced.
        metadata: Fields of `Metadata` but `format` and `files`, which are filled in.
        files: Contents of all files of `CONTENTS` but the metadata, by name.

    Raises:
        ModelArchiveError: The contents don't make a valid archive.
        OSError: The folder can't be written to.
    """
    digests = {name: sha256(content) for name, content in files.items()}
    try:
        record = Metadata.model_validate({**metadata, "format": FORMAT, "files": digests})
    except ValidationError as error:
        raise ModelArchiveError(f"The metadata is not valid: {first_error(error)}.") from None
    # Former releases refuse a key that they don't know: they read all but archives with bounds of their own.
    left_out = None if record.bounds else {"bounds"}
    contents = {**files, METADATA: record.model_dump_json(indent=1, exclude=left_out).encode()}
    packed = _pack(contents)
    # As any reader would, with a child process: what crashes LightGBM must not take a training of hours with it.
    verify(path, packed, sha256(packed), trusted=False)
    write_whole(path, packed)


def _pack(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in CONTENTS:
            entry = zipfile.ZipInfo(name, date_time=_EARLIEST_ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, contents.get(name, b""), compresslevel=9)
    return buffer.getvalue()
