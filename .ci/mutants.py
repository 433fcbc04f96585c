"""Change the code in small ways, one at a time, run its tests on each change, and print what share of them fails.

Arguments are patterns of mutants' names; without one all are tried. The variable TESTS names other tests than those in
pyproject.toml. It works in build/mutants, on a copy of the files that git knows. `mutmut results` and
`mutmut show NAME` in that folder show the changes that no test noticed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "mutants"
PACKAGE = "credit_risk_model/"
CAUGHT = {1, 3, 36, 24, 152, 255, -11, -24}
"""How a run ends that notices the change: a test fails, hangs, or crashes."""


def copy_tree() -> None:
    """Copy the files that git knows."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, FOLDER / name)


def choose_tests(tests: list[str]) -> None:
    """Let the copy's pyproject.toml name other tests."""
    path = FOLDER / "pyproject.toml"
    selection = f"pytest_add_cli_args_test_selection = {json.dumps(tests)}"
    old = r"^pytest_add_cli_args_test_selection = \[.*?^\]$"
    path.write_text(re.sub(old, selection, path.read_text(), count=1, flags=re.MULTILINE | re.DOTALL))


def count(patterns: list[str]) -> dict[str, Counter[str]]:
    """Count the mutants of each module: all of them, and those that were caught."""
    counts: dict[str, Counter[str]] = {}
    for path in sorted((FOLDER / "mutants").rglob("*.py.meta")):
        module = str(path.relative_to(FOLDER / "mutants" / PACKAGE)).removesuffix(".meta")
        for name, ended in json.loads(path.read_text())["exit_code_by_key"].items():
            if ended is not None and any(fnmatch(name, pattern) for pattern in patterns):
                counts.setdefault(module, Counter())["mutants"] += 1
                counts[module]["caught"] += ended in CAUGHT
    return counts


def main(patterns: list[str]) -> None:
    """Try the mutants, and print a line for each module and for each folder."""
    copy_tree()
    if tests := os.environ.get("TESTS", "").split():
        choose_tests(tests)
    with (FOLDER / "log").open("wb") as log:
        command = [Path(sys.executable).with_name("mutmut"), "run", "--max-children", "2", *patterns]
        done = subprocess.run(command, cwd=FOLDER, stdout=log, stderr=subprocess.STDOUT, check=False)  # noqa: S603
    counts = count(patterns or ["*"])
    if done.returncode or not counts:
        sys.exit(f"mutmut failed: read {log.name}")
    for module in list(counts):
        folder = module.rpartition("/")[0]
        if folder in {"archive", "drift", "tables"}:
            counts[f"{folder}/"] = counts.get(f"{folder}/", Counter()) + counts[module]
    for module, found in sorted(counts.items()):
        share = found["caught"] / found["mutants"]
        sys.stdout.write(f"{module:24}{found['caught']:6} of{found['mutants']:6}{share:8.1%}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
