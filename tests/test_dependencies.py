"""What pyproject.toml declares is what the package imports, and what the requirements files pin."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "credit_risk_model"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = packages_distributions()
FOR_TABLES = {("arithmetic.py", "numpy")}
"""Imports of a function that only scoring and training call, whose extras both declare NumPy."""
WITH_SCORING = ("tables", "prediction/frames.py", "prediction/tables.py", "drift", "monitoring/drift.py")
"""What stands outside `scoring` and is imported only where its extra is installed."""
REQUIREMENTS = ("requirements.txt", "scoring_requirements.txt", "service_requirements.txt", "spark_requirements.txt")
ONLY_FOR_SPARK = {"pyspark", "py4j"}
"""What the tests' environment does without: 500 MB."""


def declared(*extras: str) -> dict[str, str]:
    """The requirements by distribution: the package's own, and those of extras."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    found = [re.fullmatch(r"([\w-]+)(?:\[\w+\])?([^;]*).*", line) for line in lines]
    return {canonical(match[1]): match[2] for match in found if match}


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub("[-_.]+", "-", name).lower()


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it, but for the standard library's and the package's own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] not in {*sys.stdlib_module_names, PACKAGE.name}}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_a_module_imports_is_declared(path: Path) -> None:
    """The distribution of each import is a dependency, or one of the extra that the module needs."""
    place = path.relative_to(PACKAGE)
    extra = "scoring" if place.as_posix().startswith(WITH_SCORING) else place.parts[0]
    known = declared(*({extra} & PROJECT["optional-dependencies"].keys()))
    for name in {module.split(".")[0] for module in imports_of(path)}:
        if (str(place), name) not in FOR_TABLES:
            distributions = {canonical(each) for each in DISTRIBUTIONS[name]}
            assert distributions & known.keys(), f"{place} imports {name} of {distributions}"


@pytest.mark.parametrize("name", ["numpy", "pyarrow"])
def test_what_tables_need_comes_with_both_extras_that_have_tables(name: str) -> None:
    """Scoring and training declare NumPy and Arrow, which `tables` and a function of `arithmetic` import."""
    extras = PROJECT["optional-dependencies"]
    assert all(any(line.startswith(name) for line in extras[extra]) for extra in ("scoring", "training"))


def test_dependencies_have_both_bounds() -> None:
    """Each dependency of the service names the lowest version that it runs with, and one that it does not promise."""
    assert [name for name, bounds in declared("service").items() if not re.fullmatch(r">=[\d.]+,<[\d.]+", bounds)] == []


@pytest.mark.parametrize("name", ["fg-data-profiling", "uvicorn"])
def test_where_the_inside_is_used_one_minor_version_is_allowed(name: str) -> None:
    """A package whose inside the project builds on is held to one minor version."""
    bounds = re.fullmatch(r">=(\d+)\.(\d+)[.\d]*,<(\d+)\.(\d+)", declared("service", "training")[name])
    assert bounds
    assert (int(bounds[3]), int(bounds[4])) == (int(bounds[1]), int(bounds[2]) + 1)


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_pin_has_hashes(name: str) -> None:
    """Requirements are versions with SHA-256 digests, and name no place to fetch them from."""
    content = (ROOT / name).read_text()
    lines = content.replace("\\\n", " ").splitlines()
    pins = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert pins
    assert [pin for pin in pins if not re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", pin)] == []
    assert "://" not in content


def test_the_pins_agree() -> None:
    """Service, scoring and Spark run with the versions that the tests run with."""
    pins = [dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE)) for name in REQUIREMENTS]
    assert all(pins)
    tested, *others = pins
    for pinned in others:
        assert {
            name: version for name, version in pinned.items() if name not in ONLY_FOR_SPARK
        }.items() <= tested.items()


def test_only_the_service_has_a_server() -> None:
    """Neither the package alone nor scoring brings the HTTP server, and only Spark's extra brings Spark."""
    server = {"fastapi", "starlette", "uvicorn", "uvloop", "rest-model-service", "prometheus-client"}
    pins = {name: set(re.findall(r"^([a-z0-9-]+)==", (ROOT / name).read_text(), re.MULTILINE)) for name in REQUIREMENTS}
    assert not server & (declared().keys() | pins["scoring_requirements.txt"] | pins["spark_requirements.txt"])
    assert server <= pins["service_requirements.txt"]
    assert [name for name, pinned in pins.items() if pinned >= ONLY_FOR_SPARK] == ["spark_requirements.txt"]
