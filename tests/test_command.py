"""One command for all: `credit-risk`."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import made_up_loans

from credit_risk_model.command import COMMANDS, main

ROOT = Path(__file__).parents[1]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def help_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return a command's help, without its line breaks, which depend on the names' lengths."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def run_without(package: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command where a package is not installed."""
    program = (
        f"import sys; sys.modules[{package!r}] = None; from credit_risk_model.command import main; sys.exit(main())"
    )
    line = [sys.executable, "-c", program, *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


def test_script_is_the_one_that_is_installed() -> None:
    """The package installs one script, `credit-risk`."""
    assert {name: EntryPoint(name, value, "console_scripts").load() for name, value in SCRIPTS.items()} == {
        "credit-risk": main
    }


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command stands in the help with what it does, and there is a line to begin with."""
    shown = help_of(capsys=capsys)
    assert all(f"{name} {command.words}" in shown for name, command in COMMANDS.items())
    assert "Example: credit-risk score loans.csv --output s.csv" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_have_the_options_of_their_modules(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command's help is that of `python -m`, under its own name."""
    shown = help_of(name, capsys=capsys)
    command = COMMANDS[name]
    with pytest.raises(SystemExit):
        import_module(command.module).main([*([name] if command.is_one_of_several else []), "--help"])
    by_module = " ".join(capsys.readouterr().out.split())
    own_name = "credit-risk" if command.is_one_of_several else f"credit-risk {name}"
    assert shown.startswith(f"usage: credit-risk {name} [-h]")
    assert shown == re.sub(r"python -m credit_risk_model[\w.]*", own_name, by_module)


def test_unknown_command_is_reported_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown or missing command exits with 2."""
    for arguments in (["guess"], []):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert "usage: credit-risk COMMAND ..." in capsys.readouterr().err


def test_exit_codes_pass_through(archive_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scoring, joining and comparing end as they do by `python -m`, and do the same."""
    loans, part, scores = tmp_path / "loans.parquet", tmp_path / "part.parquet", tmp_path / "scores.csv"
    pq.write_table(made_up_loans(2000), loans)
    assert main(["score", str(loans), "--output", str(part), "--archive", str(archive_path)]) == 0
    assert main(["join", str(part), "--output", str(scores)]) == 0
    assert len(scores.read_text().splitlines()) == 2001
    assert main(["join", str(loans), "--output", str(scores)]) == 1
    capsys.readouterr()
    assert main(["drift", str(loans), "--archive", str(archive_path)]) == 3
    assert json.loads(capsys.readouterr().out)["drifted"] is True


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [("pyarrow", "score", "[scoring]"), ("tqdm", "score", "[scoring]"), ("sklearn", "train", "[training]")],
)
def test_missing_package_is_reported_with_what_to_install(package: str, command: str, extra: str) -> None:
    """A package that is not installed is one line with the extra that brings it."""
    done = run_without(package, command, "--help")
    assert (done.returncode, done.stderr) == (
        1,
        f"credit-risk {command} needs the package {package}, which is not installed: "
        f"pip install 'credit-risk-model{extra}'.\n",
    )


def run_module_without(package: str, module: str) -> "subprocess.CompletedProcess[str]":
    """Run `python -m` where a package is not installed."""
    program = f"""
import runpy, sys
sys.modules[{package!r}] = None
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize("package", ["fastapi", "rest_model_service", "uvicorn", "yaml"])
def test_missing_server_is_reported_with_what_to_install(package: str) -> None:
    """Serving without the HTTP server ends in one line, by either command."""
    module = "credit_risk_model.service"
    expected = f"needs the package {package}, which is not installed: pip install 'credit-risk-model[service]'.\n"
    for done, prog in (
        (run_without(package, "serve"), "credit-risk serve"),
        (run_module_without(package, module), f"python -m {module}"),
    ):
        assert (done.returncode, done.stderr) == (1, f"{prog} {expected}")


@pytest.mark.parametrize(
    ("module", "package"),
    [
        *((module, package) for module in ("scoring", "scoring.convert") for package in ("pyarrow", "numpy", "tqdm")),
        ("scoring.join", "pyarrow"),  # which is all that it needs of the extra
    ],
)
def test_scoring_module_reports_a_missing_package_with_what_to_install(module: str, package: str) -> None:
    """`python -m` of a scoring module ends in one line if a package is missing, as `credit-risk` does."""
    done = run_module_without(package, f"credit_risk_model.{module}")

    assert (done.returncode, done.stderr) == (
        1,
        f"python -m credit_risk_model.{module} needs the package {package}, which is not installed: "
        "pip install 'credit-risk-model[scoring]'.\n",
    )


def test_table_without_its_packages_is_reported(tmp_path: Path) -> None:
    """Comparing logs needs no Arrow; comparing a table does, and a missing Arrow is reported in one line."""
    (tmp_path / "loans.csv").touch()
    done = run_without("pyarrow", "drift", os.fspath(tmp_path / "loans.csv"))
    assert (done.returncode, done.stderr) == (
        1,
        "loans.csv: reading a table needs packages that are not installed: pip install 'credit-risk-model[scoring]'.\n",
    )


def test_commands_import_only_what_they_need() -> None:
    """The list of commands imports nothing of the package's needs, and what reads logs nothing of the scoring's."""
    heavy = {"numpy", "pyarrow", "pandas", "sklearn", "lightgbm", "pydantic", "uvicorn"}
    for arguments, allowed in ((["--help"], set()), (["verify", "--help"], {"pydantic"})):
        program = f"""
import sys
from credit_risk_model.command import main
try:
    main({arguments})
finally:
    print(*set(sys.modules) & {heavy}, file=sys.stderr)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
        assert set(done.stderr.split()) == allowed
