"""Scoring a file: chunks are read in order, scored on all cores, and written in order."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from credit_risk_model import archive as archives
from credit_risk_model.archive import Archive
from credit_risk_model.cores import count_cores
from credit_risk_model.drift.counting import Counts
from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.prediction.model import valid_cut_off, valid_digest
from credit_risk_model.prediction.tables import (
    CAUTION_TEXTS,
    add_counts,
    count_cautions,
    count_loans,
    largest_in_training,
    predict_table,
)
from credit_risk_model.schemas import CreditRisk
from credit_risk_model.scoring.provenance import Run, fingerprint
from credit_risk_model.scoring.served import choose_archive
from credit_risk_model.scoring.summary import Summary
from credit_risk_model.scoring.writing import (
    ROW_GROUP_ROWS,
    Rejects,
    check_apart,
    check_output,
    open_scores,
    whole_files,
)
from credit_risk_model.tables.checking import check
from credit_risk_model.tables.places import Place, name_of, suffix_of, with_suffix
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.scale import count_small_values, refuse_wrong_scales
from credit_risk_model.tables.source import Shard, Source, Task
from credit_risk_model.tables.stores import on_this_machine
from credit_risk_model.tables.threads import map_in_order

logger = logging.getLogger(__name__)

REJECTS = 3
"""Exit code where rows were rejected and nobody said how many may be; all others were scored. 2 is argparse's."""


@dataclass(frozen=True)
class Settings:
    """What a run may be told.

    Attributes:
        source: CSV (plain, gzip or zip) or Parquet, or a folder of such files, in Kaggle's columns or the contract's.
        output: Scores to write, `.parquet` or `.csv`.
        rejects: CSV file of the rows that break the contract; by default `<output's stem>.rejects.csv` beside it.
        summary: JSON file of what the run did; None for none.
        ids: Columns of the source to write before each score; without any, the row's number.
        max_rejects: How many such rows are tolerated; None for all.
        as_of: Month in which the loans were recorded, as 2016-01, for files that don't say it.
        archive: The model; None for the one that the service's configuration serves.
        cut_off: Risky from this probability on; None for the configuration's, or the one that training chose.
        shard: The part of the source to score.
        threads: How many chunks are scored at once.
        accepted_scales: Fields whose values are scored although they seem to be in another unit.
    """

    source: Place
    output: Place
    rejects: Place | None = None
    summary: Place | None = None
    ids: tuple[str, ...] = ()
    max_rejects: int | None = None
    as_of: str | None = None
    archive: str | None = None
    cut_off: float | None = None
    shard: Shard = field(default_factory=Shard)
    threads: int = field(default_factory=count_cores)
    accepted_scales: tuple[str, ...] = ()

    @property
    def rejects_path(self) -> Place:
        """Where the rows go that break the contract."""
        return self.rejects or with_suffix(self.output, ".rejects.csv")

    @property
    def paths(self) -> list[Place]:
        """All files to write, the scores last."""
        return [self.rejects_path, *([] if self.summary is None else [self.summary]), self.output]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A chunk's outcome.

    Attributes:
        rows: Its rows.
        columns: The scored rows' ids, probability, decision, cautions and model version.
        places: The scored rows' places in the chunk, counted from 0.
        rejected: The others' ids, and what is wrong with them, by place.
        reasons: How many rows each reason holds for.
        cautions: How many scored rows each caution holds for.
        converted: How many values were converted.
        counts: The scored rows by the bins of the archive's references.
        small: How many values may be in another unit, as `count_small_values` counts them.
        done: Share of the work that is done with it.
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


def score(settings: Settings, progress: Callable[[int, float], object] = lambda rows, done: None) -> Summary:
    """Score a file of loans.

    Args:
        settings: What to score, and how.
        progress: Called after each chunk with its number of rows and the share of the work that is done.

    Raises:
        DataError: The source can't be read, a column is in another unit, an output can't be written, or too many rows
            break the contract; nothing is written then.
        ConfigurationError: A setting is impossible.
        ModelArchiveError: The archive can't be trusted.
    """
    begin = time.monotonic()
    _check(settings)
    choice = choose_archive(settings.archive)
    with on_this_machine(choice.path) as path:
        archive = archives.read(path, valid_digest(choice.sha256))
    cut_offs = (settings.cut_off, choice.cut_off, archive.metadata.cut_off)
    cut_off = valid_cut_off(next(each for each in cut_offs if each is not None))
    logger.info(
        "Model version %s from %s, %s. Risky from %g on.",
        archive.metadata.model_version,
        name_of(choice.path),
        choice.reason,
        cut_off,
    )
    source = open_source(settings.source, settings.ids, settings.shard, settings.as_of, settings.threads)
    _warn_of_idle_shards(settings, source)
    scorer = _Scorer(archive, cut_off, source.ids)
    shard = settings.shard
    run = Run(
        source=name_of(settings.source),
        fingerprint=fingerprint(source.files),
        archive=archive.sha256,
        cut_off=cut_off,
        shard=shard.number,
        shards=shard.count,
    )
    small: Counter[tuple[str, str]] = Counter()
    summary = Summary(
        source=name_of(settings.source),
        output=name_of(settings.output),
        shard=f"{shard.number}/{shard.count}",
        archive=name_of(choice.path),
        archive_sha256=archive.sha256,
        model_version=archive.metadata.model_version,
        cut_off=cut_off,
        age=source.age,
        notes=source.notes,
        lines_before=source.lines_before,
        references=archive.metadata.reference,
    )
    # The scores get their name last: where they are, the other files are, too.
    with (
        whole_files(*settings.paths) as (rejects_file, *summary_files, file),
        open_scores(file, settings.output, run.added_to(scorer.schema)) as scores,
    ):
        rejects = Rejects(rejects_file, source.ids.names, header=shard.number == 1)
        for scored in map_in_order(scorer, source.tasks(), settings.threads):
            first_row = source.rows_before + summary.rows + 1
            summary.scored += len(scored.places)
            summary.rejected += len(scored.rejected)
            summary.skipped += scored.rows - len(scored.places) - len(scored.rejected)
            summary.reasons += scored.reasons
            summary.cautions += scored.cautions
            summary.converted += scored.converted
            summary.counts = add_counts(summary.counts, scored.counts)
            _refuse_too_many(settings, summary)
            small += scored.small
            rejects.write({first_row + place: told for place, told in scored.rejected.items()})
            if len(scored.places):
                scores.write(scorer.table(scored, first_row))
            progress(scored.rows, scored.done)
        refuse_wrong_scales(name_of(settings.source), small, settings.accepted_scales, "--accept-scale {}")
        summary.seconds = time.monotonic() - begin
        summary.exit_code = REJECTS if summary.rejected and settings.max_rejects is None else 0
        for summary_file in summary_files:
            summary_file.write(summary.to_json())
    return summary


def _check(settings: Settings) -> None:
    check_output(settings.output)
    check_apart(settings.source, settings.paths)
    if not 1 <= settings.shard.number <= settings.shard.count:
        raise ConfigurationError(
            f"shard {settings.shard.number}/{settings.shard.count}: shards are counted from 1 to their number."
        )
    if settings.shard.count > 1 and suffix_of(settings.output) == ".csv":
        raise ConfigurationError(
            f"{name_of(settings.output)}: a shard's scores are written as Parquet, which says of which run they are. "
            "Name an output that ends in .parquet; the join writes CSV."
        )
    if settings.threads < 1:
        raise ConfigurationError(f"threads is {settings.threads}: at least 1 is needed.")


def _warn_of_idle_shards(settings: Settings, source: Source) -> None:
    """Say before the run where shards do less than they could, with the cure."""
    name, shards = name_of(settings.source), settings.shard.count
    if source.pieces < shards:
        logger.warning(
            "%s has pieces for %d of %d shards: the others have nothing to do. Make pieces of %s rows with: "
            "credit-risk convert %s OUTPUT.parquet. Or use fewer shards.",
            name,
            source.pieces,
            shards,
            f"{ROW_GROUP_ROWS:,}",
            name,
        )
    elif shards > 1 and source.is_read_from_its_beginning:
        logger.warning(
            "%s is CSV, of which each shard reads all that comes before it, too. Of Parquet each reads its own part "
            "only: credit-risk convert %s OUTPUT.parquet",
            name,
            name,
        )


def _refuse_too_many(settings: Settings, summary: Summary) -> None:
    if settings.max_rejects is not None and summary.rejected > settings.max_rejects:
        ((reason, _),) = summary.reasons.most_common(1)
        raise DataError(
            f"{name_of(settings.source)}: more than {settings.max_rejects} of the first {summary.rows} rows break the "
            f"contract, most of them by {reason}. Nothing was written: mend them, or tolerate more."
        )


class _Scorer:
    """Turns chunks into scores; safe to call from many threads.

    Attributes:
        schema: The columns of the scores.
    """

    def __init__(self, archive: Archive, cut_off: float, ids: pa.Schema) -> None:
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

    def __call__(self, task: Task) -> _Scored:
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
        # What was no row has no ids.
        rejected |= {place: ([""] * len(self._ids), reason) for place, reason in chunk.broken.items()}
        return _Scored(
            rows=chunk.rows,
            columns=scores,
            places=pa.array(places).filter(good),
            rejected=rejected,
            reasons=checked.counts + Counter(chunk.broken.values()),
            cautions=count_cautions(cautions),
            converted=chunk.converted + checked.converted,
            counts=count_loans(self._archive, checked, probability),
            small=count_small_values(checked.columns, self._largest),
            done=task.done,
        )

    def table(self, scored: _Scored, first_row: int) -> pa.Table:
        """Give the scores of a chunk whose first row has this number."""
        numbers = [] if self._ids else [pc.add(scored.places, first_row)]
        return pa.table(numbers + scored.columns, schema=self.schema)


def _to_texts(ids: pa.Table, rows: list[int]) -> list[list[str]]:
    """Give some rows' ids as text; empty where there is none."""
    places = pa.array(rows, pa.int64())
    columns = [pc.fill_null(pc.cast(column.take(places), pa.string()), "").to_pylist() for column in ids.columns]
    return [[column[place] for column in columns] for place in range(len(rows))]
