"""Writes an archive atomically, and only if it can be read back."""

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


def write(path: Path, metadata: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write an archive atomically, and only if it can be read back.

    Args:
        path: The file to write; an existing archive is replaced.
        metadata: Fields of `Metadata` except `format` and `files`, which are added.
        files: Contents of all files of `CONTENTS` except the metadata, by name.

    Raises:
        ModelArchiveError: The contents are not a valid archive.
        OSError: The folder is not writable.
    """
    digests = {name: sha256(content) for name, content in files.items()}
    try:
        record = Metadata.model_validate({**metadata, "format": FORMAT, "files": digests})
    except ValidationError as error:
        raise ModelArchiveError(f"The metadata is not valid: {first_error(error)}.") from None
    # Earlier releases refuse unknown keys. So the key is left out unless the archive has bounds of its own.
    left_out = None if record.bounds else {"bounds"}
    contents = {**files, METADATA: record.model_dump_json(indent=1, exclude=left_out).encode()}
    packed = _pack(contents)
    # In a child process, as any reader does: a model that crashes LightGBM must not end hours of training.
    verify(path, packed, sha256(packed), trusted=False)
    write_whole(path, packed)


def _pack(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in CONTENTS:
            entry = zipfile.ZipInfo(name)  # of 1980: without the time, the same content gives the same bytes
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, contents.get(name, b""), compresslevel=9)
    return buffer.getvalue()
