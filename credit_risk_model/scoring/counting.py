"""Counts a file's loans by the bins of an archive's references, without writing scores."""

from credit_risk_model.archive import Archive
from credit_risk_model.cores import count_cores
from credit_risk_model.drift.counting import Counts
from credit_risk_model.prediction.tables import add_counts, count_loans, predict_table
from credit_risk_model.tables.checking import check
from credit_risk_model.tables.places import Place
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Task
from credit_risk_model.tables.threads import map_in_order


def count_file(place: Place, archive: Archive, as_of: str | None = None) -> Counts:
    """Score a file's loans on all cores, and count their fields and probabilities; skip rows that violate the contract.

    Raises:
        DataError: The file can't be read, or lacks a column.
        ConfigurationError: `as_of` is not a month.
    """

    def count(task: Task) -> Counts:
        checked = check(task.parse().table, archive.metadata.contract)
        return count_loans(archive, checked, predict_table(archive, checked)[0])

    threads, counts = count_cores(), Counts()
    for more in map_in_order(count, open_source(place, as_of=as_of, threads=threads).tasks(), threads):
        counts = add_counts(counts, more)
    return counts
