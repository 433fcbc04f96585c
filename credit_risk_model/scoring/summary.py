"""The summary of a run: words for the log, JSON for programs."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from credit_risk_model.drift.counting import Counts
from credit_risk_model.drift.judging import compare
from credit_risk_model.drift.reference import Reference
from credit_risk_model.prediction.tables import add_counts
from credit_risk_model.scoring.scorer import ScoredChunk


@dataclass
class Summary:
    """The summary of a run.

    Attributes:
        source, output, shard: What was read and written.
        archive, archive_sha256, model_version: The model that scored the loans.
        cut_off: A loan is risky from this probability on.
        age: Where the loans' age was taken from, in words.
        notes: What is unusual about the file's format, in words.
        lines_before: Number of lines before its header.
        references: Distributions of the training's loans; empty if the archive has none.
        scored, rejected, skipped: Numbers of rows; skipped rows are not loans.
        reasons: Number of rejected rows by reason.
        cautions: Number of scored rows by caution.
        converted: Number of converted values by field and conversion.
        counts: The scored rows by the references' bins.
        seconds: Duration of the run.
        exit_code: The command's exit code.
    """

    source: str
    output: str
    shard: str
    archive: str
    archive_sha256: str
    model_version: str
    cut_off: float
    age: str
    notes: tuple[str, ...]
    lines_before: int
    references: tuple[Reference, ...]
    scored: int = 0
    rejected: int = 0
    skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    cautions: Counter[str] = field(default_factory=Counter)
    converted: Counter[str] = field(default_factory=Counter)
    counts: Counts = field(default_factory=dict)
    seconds: float = 0.0
    exit_code: int = 0

    def add(self, scored: ScoredChunk) -> None:
        """Add a chunk's counts."""
        self.scored += len(scored.places)
        self.rejected += len(scored.rejected)
        self.skipped += scored.rows - len(scored.places) - len(scored.rejected)
        self.reasons += scored.reasons
        self.cautions += scored.cautions
        self.converted += scored.converted
        self.counts = add_counts(self.counts, scored.counts)

    @property
    def rows(self) -> int:
        """Number of rows that were read."""
        return self.scored + self.rejected + self.skipped

    @property
    def adjustments(self) -> str:
        """What was skipped, converted or read in an unusual format, in words; empty if nothing was."""
        lines = {"before the header": self.lines_before, "without a loan": self.skipped}
        parts = {
            "read": self.notes,
            "skipped": [f"{count:,} line{'s' * (count > 1)} {which}" for which, count in lines.items() if count],
            "converted": [f"{what} ({count:,})" for what, count in sorted(self.converted.items())],
        }
        return "; ".join(f"{what}: {', '.join(found)}" for what, found in parts.items() if found)

    def to_json(self) -> bytes:
        """Return the content of the file that `--summary` names."""
        content = {
            "source": self.source,
            "output": self.output,
            "shard": self.shard,
            "rows": self.rows,
            "scored": self.scored,
            "rejected": self.rejected,
            "skipped": self.skipped,
            "rejected_by_reason": dict(self.reasons.most_common()),
            "converted": dict(sorted(self.converted.items())),
            "cautions": dict(self.cautions.most_common()),
            "age": self.age,
            "notes": self.notes,
            "lines_before_header": self.lines_before,
            "archive": self.archive,
            "archive_sha256": self.archive_sha256,
            "model_version": self.model_version,
            "cut_off": self.cut_off,
            "drift": self._drift(),
            "seconds": round(self.seconds, 3),
            "exit_code": self.exit_code,
        }
        return f"{json.dumps(content, indent=1)}\n".encode()

    def _drift(self) -> dict[str, Any] | None:
        """Compare the scored rows with the training's; return None if the archive has no references."""
        if not self.references:
            return None
        compared = compare(self.references, self.counts)
        rows = [finding.describe(reference.age) for reference, findings in compared for finding in findings]
        return {"drifted": any(row["drifted"] is True for row in rows), "features": rows}
