"""Scores a file: reads chunks in order, scores them on all cores, and writes them in order."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from credit_risk_model import archive as archives
from credit_risk_model.archive import Archive
from credit_risk_model.cores import count_cores
from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.prediction.model import valid_cut_off, valid_digest
from credit_risk_model.scoring.provenance import Run, fingerprint
from credit_risk_model.scoring.scorer import Scorer
from credit_risk_model.scoring.served import choose_archive
from credit_risk_model.scoring.summary import Summary
from credit_risk_model.scoring.writing import (
    ROW_GROUP_ROWS,
    Rejects,
    check_apart,
    check_output,
    open_scores,
    open_whole_files,
)
from credit_risk_model.tables.places import Place, get_name, get_suffix, with_suffix
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.scale import refuse_wrong_scales
from credit_risk_model.tables.source import Shard, Source
from credit_risk_model.tables.stores import on_this_machine
from credit_risk_model.tables.threads import map_in_order

logger = logging.getLogger(__name__)

REJECTS = 3
"""Exit code if rows were rejected and `max_rejects` is not set; all others were scored. 2 is argparse's."""


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Attributes:
        source: CSV (plain, gzip or zip) or Parquet, or a folder of such files, in Kaggle's columns or the contract's.
        output: Scores to write, `.parquet` or `.csv`.
        rejects: CSV file of the rows that violate the contract; by default `<output's stem>.rejects.csv` beside it.
        summary: JSON file for the run's summary; None to write none.
        ids: Columns of the source to write before each score; if empty, the row's number is written.
        max_rejects: Maximum number of rejected rows; None for no limit.
        as_of: Month in which the loans were recorded, as 2016-01, for files that don't say it.
        archive: The model; None for the one that the service's configuration serves.
        cut_off: A loan is risky from this probability on; None for the configuration's, or the one that training chose.
        shard: The part of the source to score.
        threads: Number of chunks that are scored at once.
        accepted_scales: Fields to score even if their values seem to be in another unit.
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
        """Where rejected rows are written."""
        return self.rejects or with_suffix(self.output, ".rejects.csv")

    @property
    def paths(self) -> list[Place]:
        """All files to write, the scores last."""
        return [self.rejects_path, *([] if self.summary is None else [self.summary]), self.output]


@dataclass(frozen=True, slots=True)
class _Model:
    """The model of a run: its archive, where that is, and its cut-off."""

    archive: Archive
    place: Place
    cut_off: float


def score(settings: Settings, progress: Callable[[int, float], object] = lambda rows, done: None) -> Summary:
    """Score a file of loans.

    Args:
        settings: What to score, and how.
        progress: Called after each chunk with its number of rows and the share of the work that is done.

    Raises:
        DataError: The source can't be read, a column is in another unit, an output can't be written, or too many rows
            violate the contract. Nothing is written then.
        ConfigurationError: A setting is invalid.
        ModelArchiveError: The archive is missing or damaged.
    """
    begin = time.monotonic()
    _check(settings)
    model = _load_model(settings)
    source = open_source(settings.source, settings.ids, settings.shard, settings.as_of, settings.threads)
    _warn_of_idle_shards(settings, source)
    summary = _begin_summary(settings, model, source)
    scorer = Scorer(model.archive, model.cut_off, source.ids, counts_drift=settings.summary is not None)
    schema = _describe_run(settings, model, source).added_to(scorer.schema)
    # The scores are published last: once they exist, the other files do, too.
    with (
        open_whole_files(*settings.paths) as (rejects_file, *summary_files, file),
        open_scores(file, settings.output, schema) as scores,
    ):
        rejects = Rejects(rejects_file, source.ids.names, header=settings.shard.number == 1)
        small: Counter[tuple[str, str]] = Counter()
        for scored in map_in_order(scorer, source.tasks(), settings.threads):
            first_row = source.rows_before + summary.rows + 1
            summary.add(scored)
            _refuse_too_many(settings, summary)
            small += scored.small
            rejects.write({first_row + place: reject for place, reject in scored.rejected.items()})
            if len(scored.places):
                scores.write(scorer.table(scored, first_row))
            progress(scored.rows, scored.done)
        refuse_wrong_scales(get_name(settings.source), small, settings.accepted_scales, "--accept-scale {}")
        summary.seconds = time.monotonic() - begin
        summary.exit_code = REJECTS if summary.rejected and settings.max_rejects is None else 0
        for summary_file in summary_files:
            summary_file.write(summary.to_json())
    return summary


def _load_model(settings: Settings) -> _Model:
    choice = choose_archive(settings.archive)
    with on_this_machine(choice.path) as path:
        archive = archives.read(path, valid_digest(choice.sha256))
    cut_offs = (settings.cut_off, choice.cut_off, archive.metadata.cut_off)
    cut_off = valid_cut_off(next(each for each in cut_offs if each is not None))
    logger.info(
        "Model version %s from %s, %s. Risky from %g on.",
        archive.metadata.model_version,
        get_name(choice.path),
        choice.reason,
        cut_off,
    )
    return _Model(archive, choice.path, cut_off)


def _begin_summary(settings: Settings, model: _Model, source: Source) -> Summary:
    metadata = model.archive.metadata
    return Summary(
        source=get_name(settings.source),
        output=get_name(settings.output),
        shard=f"{settings.shard.number}/{settings.shard.count}",
        archive=get_name(model.place),
        archive_sha256=model.archive.sha256,
        model_version=metadata.model_version,
        cut_off=model.cut_off,
        age=source.age,
        notes=source.notes,
        lines_before=source.lines_before,
        references=metadata.reference,
    )


def _describe_run(settings: Settings, model: _Model, source: Source) -> Run:
    return Run(
        source=get_name(settings.source),
        fingerprint=fingerprint(source.files),
        archive=model.archive.sha256,
        cut_off=model.cut_off,
        shard=settings.shard.number,
        shards=settings.shard.count,
    )


def _check(settings: Settings) -> None:
    check_output(settings.output)
    check_apart(settings.source, settings.paths)
    if not 1 <= settings.shard.number <= settings.shard.count:
        raise ConfigurationError(
            f"shard {settings.shard.number}/{settings.shard.count}: the first number must be between 1 and the second."
        )
    if settings.shard.count > 1 and get_suffix(settings.output) == ".csv":
        raise ConfigurationError(
            f"{get_name(settings.output)}: a shard's scores must be Parquet, which also stores the run they belong to. "
            "Name an output that ends in .parquet; the join can write CSV."
        )
    if settings.threads < 1:
        raise ConfigurationError(f"threads is {settings.threads}, but must be at least 1.")


def _warn_of_idle_shards(settings: Settings, source: Source) -> None:
    """Warn before the run if some shards have nothing to do, or read more than their part."""
    name, shards = get_name(settings.source), settings.shard.count
    if source.pieces < shards:
        logger.warning(
            "%s has only %d pieces for %d shards: the others have nothing to do. Use fewer shards, or make pieces of "
            "%s rows with: credit-risk convert %s OUTPUT.parquet",
            name,
            source.pieces,
            shards,
            f"{ROW_GROUP_ROWS:,}",
            name,
        )
    elif shards > 1 and source.is_read_from_its_beginning:
        logger.warning(
            "%s is CSV, so each shard also reads everything before its own part. Convert it to Parquet to avoid that: "
            "credit-risk convert %s OUTPUT.parquet",
            name,
            name,
        )


def _refuse_too_many(settings: Settings, summary: Summary) -> None:
    if settings.max_rejects is not None and summary.rejected > settings.max_rejects:
        ((reason, _),) = summary.reasons.most_common(1)
        raise DataError(
            f"{get_name(settings.source)}: more than {settings.max_rejects} of the first {summary.rows} rows violate "
            f"the contract, most often by {reason}. Nothing was written. Fix the rows, or raise --max-rejects."
        )
