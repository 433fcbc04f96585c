"""All commands under one name: `credit-risk score loans.parquet --output scores.parquet`.

Options and their help are those of `python -m credit_risk_model.scoring` and so on, which a command calls. Nothing else
is imported for it.
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
        words: What it does.
        module: Whose `main` does it.
        extra: What of the package's extras it needs; None for none.
        is_one_of_several: Whether `main` takes the command's name as its first argument.
    """

    words: str
    module: str
    extra: str | None = None
    is_one_of_several: bool = False


COMMANDS = {
    "train": Command("Train, validate and package a model.", "credit_risk_model.training.pipeline", "training"),
    "serve": Command("Serve models over HTTP.", "credit_risk_model.service.__main__", "service"),
    "score": Command("Score a file of loans.", "credit_risk_model.scoring.__main__", "scoring"),
    "convert": Command("Write a file of loans as Parquet.", "credit_risk_model.scoring.convert", "scoring"),
    "join": Command("Put the scores of all shards into one file.", "credit_risk_model.scoring.join", "scoring"),
    **{
        name: Command(words, "credit_risk_model.monitoring.__main__", is_one_of_several=True)
        for name, words in {
            "drift": "Compare loans with those of the training, or of another file.",
            "verify": "Check that no line of a decision log was changed, lost or added.",
            "replay": "Answer a decision log's loans again, and compare.",
            "outcomes": "Judge a decision log by what became of the loans.",
            "erase": "Take a person's fields out of a decision log.",
        }.items()
    },
}

_PROGRAM = "credit-risk"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    width = max(map(len, COMMANDS)) + 2
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Train a credit risk model, serve it, score files of loans, and see how it does.\n\ncommands:\n"
        + "\n".join(f"  {name:{width}}{command.words}" for name, command in COMMANDS.items()),
        epilog=f"`{_PROGRAM} COMMAND --help` explains a command. To begin: {_PROGRAM} score loans.csv --output s.csv",
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
        told = MissingPackageError.of(f"{_PROGRAM} {options.command} needs", error, command.extra)
        sys.stderr.write(f"{told}\n")
        return 1
    if command.is_one_of_several:
        code = module.main([options.command, *options.arguments], _PROGRAM)
    else:
        code = module.main(options.arguments, f"{_PROGRAM} {options.command}")
    return code or 0
