"""The command line: `python -m credit_risk_model.training.synthetic --rows 887379 --output data/synthetic/loan.csv`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from credit_risk_model.training.synthetic.writing import write_synthetic_loan_book


def _at_least(lowest: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{value} is too small: give {lowest} or more")
        return value

    return whole_number


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a synthetic loan book from the command line.

    Args:
        arguments: The command line without the program's name; by default the process's own.

    Raises:
        SystemExit: With code 2 for a wrong argument, with 1 if the file cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m credit_risk_model.training.synthetic",
        description="Write a synthetic loan book in the 74-column layout of Kaggle's loan.csv.",
    )
    parser.add_argument("--rows", type=_at_least(1), default=887_379, help="number of loans (default: %(default)s)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("data/synthetic/loan.csv"),
        help="file to write, compressed if it ends in .gz (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=_at_least(0), default=42, help="the same seed gives the same loans (default: 42)"
    )
    options = parser.parse_args(arguments)
    # disable=None: a bar only where the error stream is a terminal.
    with tqdm(total=options.rows, unit="loans", disable=None) as bar:
        try:
            write_synthetic_loan_book(options.output, options.rows, options.seed, progress=bar.update)
        except OSError as error:
            parser.exit(1, f"{parser.prog}: cannot write {options.output}: {error.strerror or error}\n")


if __name__ == "__main__":
    main()
