"""Runs a scoring command for `python -m`, and reports a missing package in one line."""

import sys
from importlib import import_module
from typing import NoReturn

from credit_risk_model.errors import MissingPackageError


def run(module: str, prog: str) -> NoReturn:
    """Run the `main` of a module in this folder, and exit with its code.

    Args:
        module: Imported only here, because it imports the packages of the extra `scoring`.
        prog: The command's name in its help and its errors.
    """
    try:
        command = import_module(f"{__package__}.{module}")
    except ModuleNotFoundError as error:
        sys.exit(str(MissingPackageError.of(f"{prog} needs", error, "scoring")))
    sys.exit(command.main(prog=prog))
