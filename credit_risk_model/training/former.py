"""Finds the archive that a new one would follow, and its figures to compare with."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from credit_risk_model import archive
from credit_risk_model.archive import Archive, DataRecord
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.training.archived_models import ArchivedModels
from credit_risk_model.training.figures import OutOfFoldFigures, SegmentFigures
from credit_risk_model.training.ranking import rank_out_of_fold

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Former:
    """A former archive of the same kind of data.

    Attributes:
        name: Its file's name.
    """

    name: str
    archive: Archive

    @property
    def segments(self) -> dict[str, SegmentFigures]:
        """Its recorded figures of running and all loans of its own test set."""
        recorded = self.archive.metadata.metrics.get("segments", {})
        try:
            found = {
                name: SegmentFigures.model_validate(recorded[name]) for name in ("running", "all") if name in recorded
            }
        except ValidationError:  # another release recorded other figures
            return {}
        return found

    def measure(self, training: pd.DataFrame, data: DataRecord) -> OutOfFoldFigures | None:
        """Look up or measure its figures on loans that it was not fitted on.

        If it was trained on the same file, it has recorded them out of fold. Otherwise the loans are new to it, and it
        is measured on them.

        Returns:
            Its figures; None if they can't be compared.
        """
        if self.archive.metadata.data.sha256 == data.sha256:
            try:
                return OutOfFoldFigures.model_validate(self.archive.metadata.metrics["out_of_fold"])
            except (KeyError, ValidationError):  # another release recorded other figures
                return None
        try:
            return rank_out_of_fold(training, ArchivedModels(self.archive).answer(training))
        except ModelArchiveError as error:
            _warn(self.name, error)
            return None


def find_former(output: Path, data: DataRecord) -> Former | None:
    """Find the archive that a new one would follow: the one that it replaces, or the newest in its folder.

    Args:
        output: The new archive's path.
        data: The new model's training data; an archive trained on another kind of data can't be compared.
    """
    path = _find_last_archive(output)
    if path is None:
        return None
    try:
        found = archive.read(path)
    except ModelArchiveError as error:
        _warn(path.name, error)
        return None
    return Former(path.name, found) if found.metadata.data.kind == data.kind else None


def _warn(name: str, error: ModelArchiveError) -> None:
    logger.warning("The model can't be compared with %s, which it follows: %s", name, error)


def _find_last_archive(output: Path) -> Path | None:
    if output.exists():
        return output
    following = archive.next_free(output.parent)
    last = following.with_name(f"{int(following.stem) - 1}.zip")
    return last if last.exists() else None
