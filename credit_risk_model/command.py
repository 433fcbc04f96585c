"""All commands under one name: `credit-risk score loans.parquet --output scores.parquet`.

Each command has the options and help of its `python -m` form, and imports only its own module.
"""

import argparse
import sys
from dataclasses import dataclass
from importlib import import_module

from credit_risk_model.errors import MissingPackageError


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        words: Its help text.
        module: The module whose `main` runs it.
        extra: The extra of the package that it needs; None for none.
        is_one_of_several: Whether `main` takes the command's name as its first argument.
    """

    words: str
    module: str
    extra: str | None = None
    is_one_of_several: bool = False


COMMANDS = {
    "train": Command("Train, validate and package a model.", "credit_risk_model.training.pipeline", "training"),
    "serve": Command("Serve models over HTTP.", "credit_risk_model.service.__main__", "service"),
    "score": Command("Score a file of loans.", "credit_risk_model.scoring.command_line", "scoring"),
    "convert": Command("Write a file of loans as Parquet.", "credit_risk_model.scoring.conversion", "scoring"),
    "join": Command("Join the scores of all shards.", "credit_risk_model.scoring.joining", "scoring"),
    **{
        name: Command(words, "credit_risk_model.monitoring.__main__", is_one_of_several=True)
        for name, words in {
            "drift": "Compare loans with the training's loans, or with another file.",
            "verify": "Check that no line of a decision log was changed, lost or added.",
            "replay": "Score a decision log's loans again, and compare the results.",
            "outcomes": "Evaluate a decision log against the loans' outcomes.",
            "erase": "Remove a person's fields from a decision log.",
        }.items()
    },
}

_PROGRAM = "credit-risk"


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    width = max(map(len, COMMANDS)) + 2
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Train a credit risk model, serve it, score files of loans, and monitor it.\n\ncommands:\n"
        + "\n".join(f"  {name:{width}}{command.words}" for name, command in COMMANDS.items()),
        epilog=f"`{_PROGRAM} COMMAND --help` explains a command. Example: {_PROGRAM} score loans.csv --output s.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s COMMAND ...",
    )
    parser.add_argument("command", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    command = COMMANDS[options.command]
    try:
        module = import_module(command.module)
    except ModuleNotFoundError as error:
        missing = MissingPackageError.of(f"{_PROGRAM} {options.command} needs", error, command.extra)
        sys.stderr.write(f"{missing}\n")
        return 1
    if command.is_one_of_several:
        code = module.main([options.command, *options.arguments], _PROGRAM)
    else:
        code = module.main(options.arguments, f"{_PROGRAM} {options.command}")
    return code or 0
