"""The command line: `python -m credit_risk_model.monitoring drift|verify|replay|outcomes|erase`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from credit_risk_model import archive as archives
from credit_risk_model import decisions
from credit_risk_model.decisions import DecisionLogError
from credit_risk_model.drift.counting import Counts
from credit_risk_model.drift.judging import compare
from credit_risk_model.errors import CreditRiskError, ModelArchiveError
from credit_risk_model.monitoring import drift, outcomes, replay
from credit_risk_model.monitoring.page import render_page
from credit_risk_model.tables.places import Place, get_name, to_place
from credit_risk_model.whole_file import write_whole

FAILED = 1
FOUND_WRONG = 3
"""Exit code if the log is not intact or not reproduced, or loans drifted. 2 is argparse's."""
_MAX_LISTED = 20


def main(arguments: list[str] | None = None, prog: str = "python -m credit_risk_model.monitoring") -> int:
    """Run a command; return the exit code."""
    options = _parse(arguments, prog)
    try:
        code: int = options.run(options)
    except CreditRiskError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    return code


def _parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Any, words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=words)
        # Logs must be on this machine. Tables may be in object stores.
        kind, scores = (to_place, ", or a file of loans or scores") if name == "drift" else (Path, "")
        command.add_argument("log", type=kind, help=f"the decision log that `decisions.file` names{scores}")
        command.set_defaults(run=run)
        return command

    one = add("drift", find_drift, "Compare loans with the training's loans, or with another file.")
    one.add_argument("--against", type=to_place, help="log or file to compare with (default: the archive's reference)")
    one.add_argument(
        "--as-of", help="month in which a file's loans were recorded (2016-01), if the file does not say it"
    )
    one.add_argument("--archive", type=to_place, help="model archive (default: the package's newest)")
    one.add_argument("--html", type=Path, help="page to write")
    one = add("verify", verify, "Check that no line of a decision log was changed, lost or added.")
    one.add_argument("--key-file", type=Path, required=True, help="file with the log's key")
    one.add_argument("--head", metavar="LINE:NUMBER", help="scraped values of credit_risk_decision_log_lines and _head")
    one = add("replay", replay_log, "Score a decision log's loans again, and compare the results.")
    one.add_argument("--archive", type=Path, help="another archive, to see what it would have decided")
    one.add_argument("--archives", type=Path, nargs="*", default=[], help="archives that the log names, if not shipped")
    one.add_argument("--html", type=Path, help="page to write")
    one = add("outcomes", join_outcomes, "Evaluate a decision log against the loans' outcomes.")
    one.add_argument("outcomes", type=Path, help="CSV with the columns reference and outcome (risky or safe)")
    one.add_argument("--html", type=Path, help="page to write")
    one = add("erase", erase, "Remove a person's fields from all closed files of a log; the chain stays valid.")
    one.add_argument("reference", help="the caller's reference, as in the log")
    one.add_argument("--key-file", type=Path, required=True, help="file with the log's key")
    return parser.parse_args(arguments)


def verify(options: argparse.Namespace) -> int:
    """Verify the chain of a log."""
    head = None
    if options.head is not None:
        try:
            line, number = (int(float(part)) for part in options.head.split(":"))
        except ValueError:
            raise DecisionLogError(f"--head {options.head}: must be two numbers, as in 12:3456.") from None
        head = line, number
    found = decisions.verify(_files(options.log), decisions.read_key(options.key_file), head)
    _print(
        {
            "lines": found.lines,
            "decisions": found.decisions,
            "erased": found.erased,
            "last_line": found.number,
            "head": decisions.head_number(found.mac),
            "faults": found.faults[:_MAX_LISTED],
            "more_faults": max(len(found.faults) - _MAX_LISTED, 0),
        }
    )
    return FOUND_WRONG if found.faults else 0


def find_drift(options: argparse.Namespace) -> int:
    """Find drift in the loans of a log, or of a file of loans or scores."""
    archive = drift.read_archive(options.archive or archives.newest())
    if not archive.metadata.reference:
        raise ModelArchiveError("The archive has no reference to compare with. Train a new one: make train.")

    def count(place: Place) -> Counts:
        if drift.is_table(place):
            return drift.count_table(place, archive, options.as_of)
        return drift.count_log(decisions.records(_files(Path(place))), archive)

    counts = count(options.log)
    against = None if options.against is None else count(options.against)
    compared = compare(archive.metadata.reference, counts, against)
    rows = [finding.describe(reference.age) for reference, findings in compared for finding in findings]
    drifted = [finding for _, findings in compared for finding in findings if finding.drifted]
    if not rows:
        raise DecisionLogError(f"{get_name(options.log)}: has no loans to compare.")
    _print({"drifted": bool(drifted), "model_version": archive.metadata.model_version, "features": rows})
    words = f"archive {archive.metadata.model_version}" if options.against is None else get_name(options.against)
    sentence = (
        f"{len(drifted)} of {len(rows)} comparisons found drift. The statistic shows whether there is drift, PSI how "
        "much."
    )
    pictures = [
        drift.draw_bins(reference, counts[reference.age], None if against is None else against[reference.age])
        for reference, _ in compared
    ]
    _write_page(options.html, f"{get_name(options.log)}, compared with {words}", [sentence], rows, pictures)
    return FOUND_WRONG if drifted else 0


def replay_log(options: argparse.Namespace) -> int:
    """Prove a log, or compare it with another archive's answers."""
    records = decisions.records(_files(options.log))
    if options.archive is None:
        found = replay.prove(records, [*archives.MODEL_FILES.glob("*.zip"), *options.archives])
        rows: list[dict[str, Any]] = found.differing[:_MAX_LISTED]
    else:
        found = replay.compare(records, archives.read(options.archive))
        rows = [
            {"segment": f"{name} {value}", **segment.describe()} for (name, value), segment in found.segments.items()
        ]
    result = {
        "decisions": found.decisions,
        "equal": found.equal,
        "erased": found.erased,
        "refused": found.refused,
        "different": len(found.differing),
        "of_unknown_archives": found.unknown,
        "differing" if options.archive is None else "segments": rows,
    }
    _print(result)
    compared = "the archives that it names" if options.archive is None else options.archive.name
    sentence = f"{found.decisions:,} decisions; {found.equal:,} probabilities are equal to the last bit."
    _write_page(options.html, f"{options.log.name}, replayed with {compared}", [sentence], rows)
    return FOUND_WRONG if found.differing or found.unknown else 0


def join_outcomes(options: argparse.Namespace) -> int:
    """Evaluate a log against outcomes."""
    found = outcomes.join(decisions.records(_files(options.log)), outcomes.read_outcomes(options.outcomes))
    rows = [
        {"month": month, "model_version": version, **outcomes.describe(group)}
        for (month, version), group in found.groups.items()
    ]
    _print({"outcomes_unused": found.unused, "decisions_without_reference": found.unnamed, "groups": rows})
    sentences = [
        "Each figure has its 95 % interval.",
        f"{found.unnamed:,} decisions have no reference; {found.unused:,} outcomes match no decision.",
    ]
    _write_page(options.html, f"{options.log.name}, by outcome", sentences, rows)
    return 0


def erase(options: argparse.Namespace) -> int:
    """Erase a person's fields."""
    key, files = decisions.read_key(options.key_file), _files(options.log)
    if not decisions.is_sealed(files[-1]):
        written = files.pop()
        if any(record["personal"].get("reference") == options.reference for record in decisions.records([written])):
            raise DecisionLogError(
                f"{written}: is still being written and holds {options.reference}. Run this again once the service "
                "writes to a new file: tomorrow, or after a restart. Nothing was erased yet."
            )
    _print({"erased": sum(decisions.erase(path, key, options.reference) for path in files)})
    return 0


def _files(log: Path) -> list[Path]:
    found = decisions.find_files(log)
    if not found:
        raise DecisionLogError(f"{log}: no such decision log.")
    return found


def _print(result: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(result, indent=1)}\n")


def _write_page(
    path: Path | None, title: str, sentences: list[str], rows: list[dict[str, Any]], pictures: Sequence[str] = ()
) -> None:
    if path is None:
        return
    try:
        write_whole(path, render_page(title, sentences, rows, pictures).encode())
    except OSError as error:
        raise DecisionLogError(f"{path}: can't be written ({error.strerror}).") from None


if __name__ == "__main__":
    sys.exit(main())
