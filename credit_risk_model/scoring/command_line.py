"""The command line: `python -m credit_risk_model.scoring loans.parquet --output scores.parquet`."""

import argparse
import logging
import sys

from credit_risk_model.cores import count_cores
from credit_risk_model.errors import CreditRiskError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.scoring.attended import SIGNALLED, Interrupted, Progress, interruptible
from credit_risk_model.scoring.run import REJECTS, Settings, score
from credit_risk_model.scoring.summary import Summary
from credit_risk_model.tables.checking import UNKNOWN_LEVEL
from credit_risk_model.tables.places import to_place
from credit_risk_model.tables.scale import FACTORS
from credit_risk_model.tables.source import Shard

logger = logging.getLogger(__name__)

FAILED = 1


def main(arguments: list[str] | None = None, prog: str = "python -m credit_risk_model.scoring") -> int:
    """Score a file; return the exit code."""
    options = _parse(arguments, prog)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    progress = Progress()
    try:
        with interruptible(), progress:
            summary = score(Settings(**vars(options)), progress.update)
    except Interrupted as interruption:
        logger.error(
            "Interrupted after %s rows: nothing was written, and no temporary file is left. Run the same command "
            "again. To score in parts and keep the finished ones, use --shard 1/8 to 8/8.",
            f"{progress.rows:,}",
        )
        return SIGNALLED + interruption.number
    except CreditRiskError as error:
        logger.error("%s", error)
        return FAILED
    _report(summary)
    return summary.exit_code


def _report(summary: Summary) -> None:
    logger.info(
        "%s: %s rows in %.1f s (%s rows/s), %s scored by model version %s, %s rejected.",
        summary.output,
        f"{summary.rows:,}",
        summary.seconds,
        f"{summary.rows / summary.seconds:,.0f}",
        f"{summary.scored:,}",
        summary.model_version,
        f"{summary.rejected:,}",
    )
    logger.info("  age: %s.", summary.age)
    if summary.adjustments:
        logger.info("  %s.", summary.adjustments)
    for reason, count in summary.reasons.most_common():
        logger.info("  rejected for %s: %s", reason, f"{count:,}{_list_known_levels(reason)}")
    for caution, count in summary.cautions.most_common():
        logger.info("  caution %s: %s", caution, f"{count:,}")


def _list_known_levels(reason: str) -> str:
    """List the allowed levels if the reason is an unknown level."""
    for feature in CONTRACT_FEATURES:
        if reason == f"{feature.name}: {UNKNOWN_LEVEL}":
            return f" (known: {', '.join(map(repr, feature.levels))})"
    return ""


def _parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Score a file of loans on all cores. The columns may have Kaggle's names or the contract's.",
        epilog=f"Exit codes: 0 all rows were scored; {FAILED} an error, nothing was written; 2 a wrong option; "
        f"{REJECTS} some rows were rejected and the others scored (0 if --max-rejects allows them); 128 + the signal's "
        "number if a signal ended the run.",
    )
    _add_files(parser)
    _add_rules(parser)
    parser.add_argument(
        "--shard", type=_parse_shard, default=Shard(), metavar="K/N", help="score the K-th of N parts, counted from 1"
    )
    parser.add_argument("--threads", type=int, default=count_cores(), help="default: the cores, %(default)s")
    options = parser.parse_args(arguments)
    options.ids, options.accepted_scales = tuple(options.ids), tuple(options.accepted_scales)
    return options


def _add_files(parser: argparse.ArgumentParser) -> None:
    """Add the options that name what is read and written."""
    parser.add_argument("source", type=to_place, help="CSV (plain, gzip or zip) or Parquet, or a folder of such files")
    parser.add_argument("--output", type=to_place, required=True, help="scores to write: a name in .parquet or .csv")
    parser.add_argument(
        "--id",
        dest="ids",
        action="append",
        default=[],
        metavar="COLUMN",
        help="column to write before each score; can be given several times (default: the row's number)",
    )
    parser.add_argument(
        "--rejects", type=to_place, help="CSV file for rows that violate the contract (default: beside the output)"
    )
    parser.add_argument(
        "--summary", type=to_place, help="JSON file to write: the run's counts, drift, model and duration"
    )


def _add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the options that set how loans are read, accepted and judged."""
    parser.add_argument(
        "--max-rejects",
        type=_parse_count,
        help="number of rejected rows that still gives exit code 0; with more, nothing is written (default: everything "
        "is written)",
    )
    parser.add_argument("--as-of", help="month in which the loans were recorded (2016-01), if the file does not say it")
    parser.add_argument(
        "--accept-scale",
        dest="accepted_scales",
        action="append",
        default=[],
        choices=list(FACTORS),
        help="score a column even if its values seem to be in another unit; can be given several times",
    )
    parser.add_argument("--archive", help="model archive (default: the one that REST_CONFIG's YAML serves)")
    parser.add_argument(
        "--cut-off", type=float, help="a loan is risky from this probability on (default: the YAML's, or the model's)"
    )


def _parse_count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows")
    return int(text)


def _parse_shard(text: str) -> Shard:
    try:
        number, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard: write K/N, as in 1/8") from None
    return Shard(number, count)
