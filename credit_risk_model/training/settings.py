"""The settings of a training."""

from dataclasses import dataclass
from pathlib import Path

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.loan_age import parse_as_of
from credit_risk_model.training.search import Bounds


@dataclass(frozen=True)
class Settings:
    """The settings of a training.

    Attributes:
        data: A loan.csv, plain, `.gz` or `.zip`; None for the environment's LOAN_DATA, else `data/loan/loan.csv`, else
            a new synthetic loan book.
        output: Archive to write; None for the next free number in the package's folder, or in `build/` if the data is
            synthetic.
        as_of: Month in which the loans were recorded, as 2016-01, for files that don't say it.
        widen_bounds: Whether to widen the archive's bounds to hold all loans that the cleaning leaves.
        backdated: Whether to add ended loans to the training set as they stood in earlier months.
        cost_ratio: Cost of a missed risky loan in false alarms, to choose the cut-off by; None to use the best F1.
        time_budget: Seconds for the search.
        max_iter: Number of models that the search fits for each feature set; None for as many as the budget allows.
        max_trees, max_leaves: The search's bounds: they determine a prediction's cost.
        seed: Seed of the split, the backdating, the search, the folds, the fit and the golden loans.
        synthetic_rows: Number of loans to make up if there is no data.
        search_log: File for the search's log.
        owner, approved_by: Who owns the model and who approved its use, for the card.
    """

    data: Path | None = None
    output: Path | None = None
    as_of: str | None = None
    widen_bounds: bool = False
    backdated: bool = True
    cost_ratio: float | None = None
    time_budget: float = 1200
    max_iter: int | None = None
    max_trees: int = 100
    max_leaves: int = 63
    seed: int = 42
    synthetic_rows: int = 100_000
    search_log: Path = Path("build/search.log")
    owner: str | None = None
    approved_by: str | None = None

    @property
    def bounds(self) -> Bounds:
        """The bounds of the search."""
        return Bounds(self.time_budget, self.max_iter, self.max_trees, self.max_leaves)

    def check(self) -> None:
        """Refuse invalid settings before the work starts.

        Raises:
            ConfigurationError: A setting is invalid.
        """
        self.bounds.check()
        parse_as_of(self.as_of)
        if self.widen_bounds not in (True, False):
            raise ConfigurationError(f"widen_bounds is {self.widen_bounds!r}: set True, or leave it out.")
        if self.cost_ratio is not None and not (isinstance(self.cost_ratio, int | float) and self.cost_ratio > 0):
            raise ConfigurationError(f"cost_ratio is {self.cost_ratio!r}: set a number above 0, or leave it out.")
