"""Archives with changed contents, of which only what a test changed is wrong."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from credit_risk_model import archive

Contents = tuple[dict[str, Any], dict[str, bytes]]
"""What `archive.write` is given: metadata and files."""


def rewrite(path: Path, target: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """Copy an archive with changed contents, so that only what `change` did is wrong with it."""
    with zipfile.ZipFile(path) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    change(contents)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for name, content in contents.items():
            copy.writestr(name, content)
    return target


def change_metadata(contents: dict[str, bytes], **changes: Any) -> None:
    """Change fields of the metadata, with the digests as they should then be."""
    metadata = json.loads(contents[archive.METADATA]) | changes
    metadata["files"] = {name: archive.sha256(text) for name, text in contents.items() if name != archive.METADATA}
    contents[archive.METADATA] = json.dumps(metadata).encode()


def change_models(contents: dict[str, bytes], change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the metadata's records of the models."""
    models = json.loads(contents[archive.METADATA])["models"]
    change(models)
    change_metadata(contents, models=models)
