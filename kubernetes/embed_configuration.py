"""Write the files of configuration/ into the ConfigMap, and their digest into the pods' annotation.

`kubectl apply -f kubernetes/model_service.yaml` alone must do, so the manifest holds a copy; the digest makes
Kubernetes replace the pods when the configuration changes. After every change:

    python kubernetes/embed_configuration.py
"""

import hashlib
import re
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "kubernetes" / "model_service.yaml"
CONFIGURATION = ROOT / "configuration"


def embed(manifest: str, files: dict[str, str]) -> str:
    """Give the manifest with these files, by name, in place of those that it holds."""
    entries = "".join(f"  {name}: |\n{indent(text, '    ')}" for name, text in files.items())
    digest = hashlib.sha256(entries.encode()).hexdigest()
    manifest, data = re.subn(
        r"(?ms)^(data:\n  # From configuration/[^\n]*\n).*?(?=^---$)", lambda match: match[1] + entries, manifest
    )
    manifest, annotation = re.subn(r"(?<=model-service/configuration: )\S+", digest, manifest)
    if (data, annotation) != (1, 1):
        raise ValueError(f"{MANIFEST.name} has lost the place of the configuration or of its digest: restore it.")
    return manifest


if __name__ == "__main__":
    embedded = {path.name: path.read_text() for path in sorted(CONFIGURATION.iterdir())}
    MANIFEST.write_text(embed(MANIFEST.read_text(), embedded))
