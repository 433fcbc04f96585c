"""Writes a benchmark's figures as JSON and Markdown, with the machine and the packages."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from credit_risk_model import __version__
from credit_risk_model.cores import count_cores
from credit_risk_model.whole_file import write_whole

RESULTS = Path(__file__).parent / "results"

Row = Mapping[str, Any]

_PACKAGES = (
    "lightgbm",
    "rest-model-service",
    "ml-base",
    "fastapi",
    "starlette",
    "pydantic",
    "uvicorn",
    "uvloop",
    "httptools",
    "numpy",
    "pandas",
    "scikit-learn",
)


def write(
    name: str, title: str, command: str, tables: Mapping[str, Iterable[Row]], notes: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Write `results/<name>.json` and `results/<name>.md`, each whole or not at all.

    Args:
        name: File name without a suffix.
        title: Heading of the Markdown page.
        command: The command that reproduces the figures, without paths of this machine.
        tables: Rows by the table's heading; the columns are the first row's keys. Floats are rounded to 4 significant
            digits in Markdown, and kept in JSON.
        notes: Sentences on how it was measured; may include an image of a plot in Markdown.

    Returns:
        The paths of both files.
    """
    found = {heading: [dict(row) for row in rows] for heading, rows in tables.items()}
    document = {
        "title": title,
        "command": command,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "tables": found,
        "notes": list(notes),
    }
    contents = {
        RESULTS / f"{name}.json": json.dumps(document, indent=1) + "\n",
        RESULTS / f"{name}.md": _markdown(document),
    }
    for path, text in contents.items():
        replace(path, text.encode())
    as_json, as_markdown = contents
    return as_json, as_markdown


def replace(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    write_whole(path, content)


def describe_machine() -> dict[str, Any]:
    """Describe what the figures depend on: processor, cores, memory, Python and installed packages."""
    return {
        "processor": _processor(),
        "cores": count_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        # The checkout's version, which may differ from that of its installation.
        "packages": {"credit-risk-model": __version__}
        | {name: version for name in _PACKAGES if (version := _version(name))},
    }


def format_table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table, with numbers aligned right."""
    if not rows:
        return "(none)\n"
    columns = list(rows[0])
    alignment = ["---:" if isinstance(rows[0][column], int | float) else "---" for column in columns]
    cells = [columns, alignment, *([_cell(row.get(column)) for column in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _markdown(document: Mapping[str, Any]) -> str:
    described = document["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in described["packages"].items())
    parts = [f"# {document['title']}\n", f"`{document['command']}`, {document['measured_at']}\n"]
    parts += [f"## {heading}\n\n{format_table(rows)}" for heading, rows in document["tables"].items()]
    parts += [f"{note}\n" for note in document["notes"]]
    parts.append(
        f"Machine: {described['processor']}, {described['cores']} cores, {described['memory_gb']} GB, "
        f"{described['system']}, Python {described['python']}; {packages}.\n"
    )
    return "\n".join(parts)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
