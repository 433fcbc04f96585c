"""Scores frames of loans; it needs NumPy and Arrow, as `tables` does."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from credit_risk_model.archive import Archive
from credit_risk_model.contract import Contract
from credit_risk_model.cores import count_cores
from credit_risk_model.errors import DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.prediction.explanation import REASONS_FOR_A_DECISION, CreditRiskExplanation
from credit_risk_model.prediction.tables import CAUTION_TEXTS, largest_in_training, predict_table
from credit_risk_model.schemas import CreditRisk, CreditRiskExplanationInput
from credit_risk_model.tables.checking import CheckedLoans, check
from credit_risk_model.tables.frames import Frame, keep_columns, open_frame, read_frame
from credit_risk_model.tables.scale import FACTORS, count_small_values, refuse_wrong_scales
from credit_risk_model.tables.threads import map_in_order

logger = logging.getLogger(__name__)

_CHUNK_ROWS = 16_384
_CHUNK_ROWS_EXPLAINED = 64  # each takes milliseconds
_REASONS = tuple(f"reason_{number}" for number in range(1, REASONS_FOR_A_DECISION + 1))


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `LoanModel.score` and `LoanModel.explain`, with the same names."""

    errors: str
    as_of: str | None
    accept_scale: Collection[str]


def score_frame(archive: Archive, cut_off: float, frame: Any, options: Options) -> Any:
    """Score a frame, as `LoanModel.score` does."""
    opened = open_frame(frame)
    return opened.like_it(_score_on_all_cores(archive, opened, partial(_score, archive, cut_off), _CHUNK_ROWS, options))


def explain_frame(explanation: CreditRiskExplanation, frame: Any, options: Options) -> Any:
    """Explain a frame, as `LoanModel.explain` does."""
    opened = open_frame(frame)
    answer = partial(_explain, explanation)
    return opened.like_it(_score_on_all_cores(explanation.archive, opened, answer, _CHUNK_ROWS_EXPLAINED, options))


def score_batches(
    archive: Archive, cut_off: float, batches: Iterable[Any], keep: Collection[str], as_of: str | None
) -> Iterator[Any]:
    """Score parts of a table on the calling thread, as `LoanModel.score_batches` does."""
    total: Counter[str] = Counter()
    for batch in batches:
        frame = open_frame(batch)
        loans, converted = read_frame(frame, as_of, is_part=True)
        kept = keep_columns(frame, keep)
        answers, more = _score_chunks(archive, loans, partial(_score, archive, cut_off), _CHUNK_ROWS, threads=1)
        total += converted + more
        yield frame.like_it(pa.table({**kept, **dict(zip(answers.column_names, answers.columns, strict=True))}))
    _log_converted(total)


_ScoreChunk = Callable[[CheckedLoans], pa.Table]


def _score_on_all_cores(
    archive: Archive, frame: Frame, answer: _ScoreChunk, chunk_rows: int, options: Options
) -> pa.Table:
    """Score a frame's loans on all cores, and log the conversions."""
    loans, converted = read_frame(frame, options.as_of)
    _check_scales(archive, loans, options)
    answers, more = _score_chunks(archive, loans, answer, chunk_rows, count_cores())
    if options.errors == "raise":
        _refuse_rejected(answers["rejected"])
    _log_converted(converted + more)
    return answers


def _score_chunks(
    archive: Archive, loans: pa.Table, answer: _ScoreChunk, chunk_rows: int, threads: int
) -> tuple[pa.Table, Counter[str]]:
    """Score loans chunk by chunk, and count the conversions. With one thread, that is the caller's."""

    def score_chunk(start: int) -> tuple[pa.Table, Counter[str]]:
        checked = check(loans.slice(start, chunk_rows), archive.metadata.contract)
        return answer(checked), checked.converted

    starts = range(0, max(1, loans.num_rows), chunk_rows)
    chunks, converted = [], Counter[str]()
    for chunk, more in map(score_chunk, starts) if threads == 1 else map_in_order(score_chunk, starts, threads):
        chunks.append(chunk)
        converted += more
    return pa.concat_tables(chunks).combine_chunks(), converted


def _log_converted(converted: Counter[str]) -> None:
    if converted:
        logger.info("Converted: %s.", ", ".join(f"{what} ({count:,})" for what, count in sorted(converted.items())))


def _check_scales(archive: Archive, loans: pa.Table, options: Options) -> None:
    columns = {name: loans[name].fill_null(np.nan).to_numpy() for name in FACTORS}
    counts = count_small_values(columns, largest_in_training(archive))
    refuse_wrong_scales("The frame", counts, options.accept_scale, "accept_scale=['{}']")


def _refuse_rejected(rejected: pa.ChunkedArray) -> None:
    rows = pc.indices_nonzero(rejected.is_valid())
    if len(rows):
        first = rows[0].as_py()
        raise DataError(
            f"{len(rows):,} of {len(rejected):,} rows violate the contract; the first one is row {first + 1}: "
            f"{rejected[first].as_py()}. Correct them, or leave out errors='raise' to get them with their reasons."
        )


def _score(archive: Archive, cut_off: float, checked: CheckedLoans) -> pa.Table:
    good = checked.good
    probability, cautions = np.zeros(len(good)), np.zeros(len(good), dtype=np.int8)
    probability[good], cautions[good] = predict_table(archive, checked)
    probabilities = pa.array(probability, mask=~good)
    rejected = np.full(len(good), None, dtype=object)
    for row, reasons in checked.reasons.items():
        rejected[row] = "; ".join(reasons)
    return pa.table(
        {
            "risk_probability": probabilities,
            "credit_risk": pc.if_else(
                pc.greater_equal(probabilities, cut_off), CreditRisk.RISKY.value, CreditRisk.SAFE.value
            ),
            "cautions": CAUTION_TEXTS.take(pa.array(cautions, mask=~good)),
            "rejected": pa.array(rejected, pa.string()),
        }
    )


def _explain(explanation: CreditRiskExplanation, checked: CheckedLoans) -> pa.Table:
    contract = explanation.archive.metadata.contract
    texts: list[list[str | None]] = [[None] * len(_REASONS) for _ in checked.good]
    for row, loan in zip(np.flatnonzero(checked.good), _make_requests(checked, contract), strict=True):
        for place, reason in enumerate(explanation.predict(loan).reasons):
            texts[row][place] = reason.text
    answers = _score(explanation.archive, explanation.cut_off, checked)
    for place, name in enumerate(_REASONS):
        answers = answers.append_column(name, pa.array([row[place] for row in texts], pa.string()))
    return answers


def _make_requests(checked: CheckedLoans, contract: Contract) -> list[CreditRiskExplanationInput]:
    """Create the requests of the accepted loans: an explanation has the same input as in the service."""
    columns = []
    for feature in CONTRACT_FEATURES:
        values = pa.array(checked.columns[feature.name], from_pandas=True).to_pylist()
        levels = dict(enumerate(feature.levels)) | {None: None}
        columns.append([levels[value] for value in values] if feature.levels else values)
    names = [feature.name for feature in CONTRACT_FEATURES]
    return [
        contract.explanation(**dict(zip(names, row, strict=True)), max_reasons=REASONS_FOR_A_DECISION)
        for row in zip(*columns, strict=True)
    ]
