"""What a run did: for the log in words, for programs as JSON."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from credit_risk_model.drift.counting import Counts
from credit_risk_model.drift.judging import compare
from credit_risk_model.drift.reference import Reference


@dataclass
class Summary:
    """What a run did.

    Attributes:
        source, output, shard: What was scored, and where to.
        archive, archive_sha256, model_version: The model that answered.
        cut_off: Risky from this probability on.
        age: Where the loans' age was taken from, in words.
        notes: What is unusual in the way that the file is written, in words.
        lines_before: How many lines come before its header.
        references: What the training's loans looked like; empty where the archive does not say.
        scored, rejected, skipped: Numbers of rows; what was skipped is no loan.
        reasons: How many rows each reason for a rejection holds for.
        cautions: How many scored rows each caution holds for.
        converted: How many values were converted, by field and what was done.
        counts: The scored rows by the references' bins.
        seconds: How long it took.
        exit_code: What the command ends with.
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

    @property
    def rows(self) -> int:
        """All rows that were read."""
        return self.scored + self.rejected + self.skipped

    @property
    def read_otherwise(self) -> str:
        """What was not read as it stands, in words; empty where all was."""
        lines = {"before the header": self.lines_before, "without a loan": self.skipped}
        parts = {
            "read": self.notes,
            "skipped": [f"{count:,} line{'s' * (count > 1)} {which}" for which, count in lines.items() if count],
            "converted": [f"{what} ({count:,})" for what, count in sorted(self.converted.items())],
        }
        return "; ".join(f"{what}: {', '.join(found)}" for what, found in parts.items() if found)

    def to_json(self) -> bytes:
        """Write it as `--summary` does."""
        told = {
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
        return f"{json.dumps(told, indent=1)}\n".encode()

    def _drift(self) -> dict[str, Any] | None:
        """Compare the scored rows with the training's; None where the archive does not say what these were."""
        if not self.references:
            return None
        compared = compare(self.references, self.counts)
        rows = [finding.describe(reference.age) for reference, findings in compared for finding in findings]
        return {"drifted": any(row["drifted"] is True for row in rows), "features": rows}
