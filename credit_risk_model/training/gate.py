"""The gate: the conditions that a new model must meet before it is packaged."""

from dataclasses import dataclass

from credit_risk_model.errors import ModelRefusedError
from credit_risk_model.training.figures import DollarFigures, OutOfFoldFigures, PerfectPayerFigures, Ranking

AUC_NOISE = 0.003
BRIER_NOISE = 0.0005
"""How much another seed changes a model's figures. A model that is worse by less than this passes."""
NOISE_ROWS = 48_000
"""The number of training loans that the noise was measured with. With fewer loans it grows as 1 / sqrt(loans)."""
MAX_FLIPPED_SHARE = 0.001
"""Largest allowed share of running loans whose decision a dollar flips."""
MIN_CALIBRATION, MAX_CALIBRATION = 0.7, 1.4
"""Allowed ratio of the mean probability to the risky share, out of time."""


@dataclass(frozen=True)
class Evidence:
    """What the gate judges. No part has a default, so that no step of a training can be skipped.

    Attributes:
        rows: Number of training loans.
        out_of_fold: The model's out-of-fold rankings of the training set.
        baseline: The same for LightGBM's defaults with the derived features.
        rule: The arrears rule's ranking of the same running loans; None if it can't be applied.
        former: The same as `out_of_fold` for the archive that the model would follow; None if there is none.
        former_name: That archive's name.
        dollar: Effects of a dollar; None if no age is known.
        perfect_payers: Predictions for perfect payers; None if no age is known.
        calibration: Mean probability divided by risky share, out of time; None if it can't be measured.
        unexplained: Failed checks without a reason why the failure is acceptable.
    """

    rows: int
    out_of_fold: OutOfFoldFigures
    baseline: OutOfFoldFigures
    rule: Ranking | None
    former: OutOfFoldFigures | None
    former_name: str
    dollar: DollarFigures | None
    perfect_payers: PerfectPayerFigures | None
    calibration: float | None
    unexplained: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict on a model.

    Attributes:
        shortcomings: Every condition that the model does not meet; empty if it may be packaged.
    """

    shortcomings: tuple[str, ...]

    def require_pass(self) -> None:
        """Refuse a model with shortcomings, and name all of them.

        Raises:
            ModelRefusedError: The model must not be packaged.
        """
        if self.shortcomings:
            raise ModelRefusedError(
                f"The model is not packaged: {'; '.join(self.shortcomings)}. Check the data, or raise the time "
                "budget or the bounds of the search."
            )


def judge(evidence: Evidence) -> Verdict:
    """Judge a model."""
    noise = max(1.0, (NOISE_ROWS / evidence.rows) ** 0.5)
    mine = evidence.out_of_fold.rankings()
    short = _find_worse(mine, evidence.baseline.rankings(), "LightGBM's defaults with the derived features", noise)
    if evidence.former is not None:
        short += _find_worse(mine, evidence.former.rankings(), evidence.former_name, noise)
    if evidence.rule is not None:
        short += _find_worse(mine, {("age_known", "running"): evidence.rule}, "the arrears rule", noise)
    if evidence.dollar is not None and evidence.dollar.flipped_share > MAX_FLIPPED_SHARE:
        short.append(
            f"a dollar more or less flips {evidence.dollar.flipped_share:.4f} of the decisions on running loans, "
            f"more than {MAX_FLIPPED_SHARE}"
        )
    payers = evidence.perfect_payers
    if payers is not None and payers.called_risky:
        short.append(
            f"{payers.called_risky} of {payers.loans} made-up loans with every instalment paid on time are called risky"
        )
    if evidence.calibration is not None and not MIN_CALIBRATION <= evidence.calibration <= MAX_CALIBRATION:
        short.append(
            f"out of time the mean probability is {evidence.calibration:.2f} times the share of risky loans, outside "
            f"{MIN_CALIBRATION} to {MAX_CALIBRATION}"
        )
    short += [
        f"the check {check} failed without a known reason why that is acceptable" for check in evidence.unexplained
    ]
    return Verdict(tuple(short))


_Rankings = dict[tuple[str, str], Ranking]


def _find_worse(mine: _Rankings, other: _Rankings, name: str, noise: float) -> list[str]:
    """Describe each figure that both models have and that is worse than the other's by more than noise."""
    found: list[str] = []
    for (answer, loans), ranking in mine.items():
        against = other.get((answer, loans))
        if against is None:
            continue
        where = f"on {loans} loans ({answer.replace('_', ' ')}, out of fold)"
        if ranking.auc - against.auc < -noise * AUC_NOISE:
            found.append(f"its AUC {where} is {ranking.auc:.4f}, but that of {name} is {against.auc:.4f}")
        if -(ranking.brier - against.brier) < -noise * BRIER_NOISE:
            found.append(f"its Brier score {where} is {ranking.brier:.4f}, but that of {name} is {against.brier:.4f}")
    return found
