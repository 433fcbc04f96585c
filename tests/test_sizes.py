"""How large modules, classes and functions may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in (".ci", "benchmarks", "credit_risk_model", "docs", "tests")
    for path in (ROOT / folder).rglob("*.py")
)

MAX_MODULE_LINES, MAX_CLASS_LINES, MAX_FUNCTION_LINES = 350, 200, 45


def too_large(source: str) -> list[str]:
    """What of a module is larger than it may be."""
    found = [("module", len(source.splitlines()), MAX_MODULE_LINES)]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            longest = MAX_CLASS_LINES if isinstance(node, ast.ClassDef) else MAX_FUNCTION_LINES
            found.append((node.name, (node.end_lineno or 0) - node.lineno + 1, longest))
    return [f"{name}: {lines} lines, at most {longest}" for name, lines, longest in found if lines > longest]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_is_in_small_pieces(path: Path) -> None:
    """No module has more than 350 lines, no class more than 200, no function more than 45."""
    assert too_large(path.read_text(encoding="utf-8")) == []


def test_each_kind_of_large_piece_is_found() -> None:
    """A long function, a long class and a long module are each named with their lines."""
    long_function = "def f():\n" + "    x = 1\n" * 45
    long_class = "class C:\n" + "    x = 1\n" * 200
    assert too_large(long_function) == ["f: 46 lines, at most 45"]
    assert too_large(long_class) == ["C: 201 lines, at most 200"]
    assert too_large("x = 1\n" * 351) == ["module: 351 lines, at most 350"]
    assert too_large("x = 1\n" * 350) == []
