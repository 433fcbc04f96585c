"""Who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "credit_risk_model"

FLOORS = {
    "__init__": 0,
    "arithmetic": 0,
    "cores": 0,
    "errors": 0,
    "examples": 0,
    "schema_types": 0,
    "whole_file": 0,
    "schemas": 1,
    "features": 2,
    "booster": 3,
    "contract": 3,
    "decisions": 1,
    "drift": 3,
    "loan_age": 3,
    "reasons": 3,
    "trees": 3,
    "trial": 4,
    "archive": 5,
    "tables": 4,
    "monitoring": 8,
    "prediction": 6,
    "training": 6,
    "scoring": 7,
    "service": 7,
    "command": 9,
}
"""A module may import from lower floors only, and within its own folder."""

DOOR = PACKAGE / "__init__.py"
"""Its functions are for users, who come from above all floors: what they import when they are called does not count."""

NOT_SERVED = {"pandas", "numpy", "scipy", "sklearn", "joblib", "lightgbm", "deepchecks", "flaml", "matplotlib"}


def place_of(module: str) -> str:
    """The module's or folder's name within the package: `training` for `credit_risk_model.training.loans`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(path: Path) -> set[str]:
    """The package's modules that a file imports."""
    found = set()
    tree = ast.parse(path.read_text())
    for node in tree.body if path == DOOR else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            assert node.module
            submodules = {f"{node.module}.{name.name}" for name in node.names}
            found |= {
                name for name in submodules if (PACKAGE.parent / name.replace(".", "/")).with_suffix(".py").exists()
            }
            found.add(node.module)
    return {name for name in found if name.split(".")[0] == PACKAGE.name}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_from_lower_floors_only(path: Path) -> None:
    """No module imports from its own floor or above, but for its own folder: no cycles, no shortcuts."""
    place = place_of(".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)))
    for imported in imports_of(path):
        other = place_of(imported)
        assert other == place or FLOORS[other] < FLOORS[place], f"{place} imports {imported}"


def test_served_path_imports_no_training_package(archive_path: Path) -> None:
    """A process that has loaded the framework and answered a loan has imported nothing of the training."""
    program = f"""
import sys
import rest_model_service.helpers
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.examples import EXAMPLE_LOAN
model = CreditRiskModel(archive={str(archive_path)!r})
model.predict(model.input_schema.model_validate(EXAMPLE_LOAN))
print(*sorted(set(sys.modules) & {NOT_SERVED!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert done.stdout.split() == []
