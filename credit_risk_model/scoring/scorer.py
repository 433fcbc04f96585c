"""Scores one chunk of a file."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from credit_risk_model.archive import Archive
from credit_risk_model.drift.counting import Counts
from credit_risk_model.prediction.tables import (
    CAUTION_TEXTS,
    count_cautions,
    count_loans,
    largest_in_training,
    predict_table,
)
from credit_risk_model.schemas import CreditRisk
from credit_risk_model.tables.checking import check
from credit_risk_model.tables.scale import count_small_values
from credit_risk_model.tables.source import Task


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """The result of scoring a chunk.

    Attributes:
        rows: Number of its rows.
        columns: The scored rows' ids, probability, decision, cautions and model version.
        places: The scored rows' positions in the chunk, counted from 0.
        rejected: The rejected rows' ids and reasons, by position.
        reasons: Number of rejected rows by reason.
        cautions: Number of scored rows by caution.
        converted: Number of converted values by field and conversion.
        counts: The scored rows by the bins of the archive's references; empty if nobody wants them.
        small: How many values may be in another unit, as `count_small_values` counts them.
        done: Share of the work that is done after this chunk.
    """

    rows: int
    columns: list[pa.Array]
    places: pa.Array
    rejected: dict[int, tuple[list[str], str]]
    reasons: Counter[str]
    cautions: Counter[str]
    converted: Counter[str]
    counts: Counts
    small: Counter[tuple[str, str]]
    done: float


class Scorer:
    """Scores chunks; safe to call from many threads.

    Attributes:
        schema: The columns of the scores.
    """

    def __init__(self, archive: Archive, cut_off: float, ids: pa.Schema, *, counts_drift: bool) -> None:
        self._counts_drift = counts_drift
        self._archive, self._cut_off, self._ids = archive, cut_off, ids.names
        self._contract, self._largest = archive.metadata.contract, largest_in_training(archive)
        columns = list(ids) or [pa.field("row", pa.int64())]
        scores = {
            "risk_probability": pa.float64(),
            "credit_risk": pa.string(),
            "cautions": pa.string(),
            "model_version": pa.string(),
        }
        self.schema = pa.schema([*columns, *(pa.field(name, kind) for name, kind in scores.items())])

    def __call__(self, task: Task) -> ScoredChunk:
        """Parse, check and score a chunk."""
        chunk = task.parse()
        checked = check(chunk.table, self._contract)
        good, places = pa.array(checked.good), chunk.places
        probability, cautions = predict_table(self._archive, checked)
        risky = pa.array(probability >= self._cut_off)
        ids = chunk.table.select(self._ids).filter(good)
        scores = [
            *ids.columns,
            pa.array(probability),
            pc.if_else(risky, CreditRisk.RISKY.value, CreditRisk.SAFE.value),
            CAUTION_TEXTS.take(pa.array(cautions)),
            pa.repeat(self._archive.metadata.model_version, len(probability)),
        ]
        rows = sorted(checked.reasons)
        bad_ids = _to_texts(chunk.table.select(self._ids), rows)
        rejected = {
            int(places[row]): (ids, "; ".join(checked.reasons[row])) for row, ids in zip(rows, bad_ids, strict=True)
        }
        # Unparsable rows have no ids.
        rejected |= {place: ([""] * len(self._ids), reason) for place, reason in chunk.broken.items()}
        return ScoredChunk(
            rows=chunk.rows,
            columns=scores,
            places=pa.array(places).filter(good),
            rejected=rejected,
            reasons=checked.counts + Counter(chunk.broken.values()),
            cautions=count_cautions(cautions),
            converted=chunk.converted + checked.converted,
            counts=count_loans(self._archive, checked, probability) if self._counts_drift else {},
            small=count_small_values(checked.columns, self._largest),
            done=task.done,
        )

    def table(self, scored: ScoredChunk, first_row: int) -> pa.Table:
        """Make the table of a chunk's scores; `first_row` is the number of the chunk's first row."""
        numbers = [] if self._ids else [pc.add(scored.places, first_row)]
        return pa.table(numbers + scored.columns, schema=self.schema)


def _to_texts(ids: pa.Table, rows: list[int]) -> list[list[str]]:
    """Return the ids of some rows as text; a missing id is empty."""
    places = pa.array(rows, pa.int64())
    columns = [pc.fill_null(pc.cast(column.take(places), pa.string()), "").to_pylist() for column in ids.columns]
    return [[column[place] for column in columns] for place in range(len(rows))]
