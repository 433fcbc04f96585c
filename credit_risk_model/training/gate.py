"""The gate: what a freshly trained model must hold before it is packaged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from credit_risk_model.errors import ModelRefusedError

NOISE = {"auc": 0.003, "brier": 0.0005}
"""What another seed changes in the same model's figures: so much a model may be behind another without being worse."""
NOISE_ROWS = 48_000
"""Training loans of which that is so; of fewer it is more, with the root of their number."""
FLIPPED_AT_MOST = 0.001
"""Share of running loans of which a dollar may flip the decision."""
CALIBRATION = (0.7, 1.4)
"""Mean probability out of time, as a multiple of the share that was risky."""
STEPS = (
    "profile",
    "check_data",
    "check_split",
    "fit_baselines",
    "search",
    "fit",
    "stability",
    "out_of_time",
    "source_left_out",
    "other_splits",
    "check_model",
)
"""The steps of a training that a model is judged by: one that was left out is a refusal."""


@dataclass(frozen=True)
class Evidence:
    """What the gate judges.

    Attributes:
        done: Names of the steps that were taken.
        rows: Loans of the training set.
        out_of_fold: AUC and Brier score on the training set, each loan by models that have not seen it: for the
            answers `age_known` and `age_withheld`, on `running` loans and on `all`; `age_known` is missing where no
            age is known, `running` where there are too few to rank.
        baseline: The same of LightGBM's defaults with the derived features.
        rule: AUC and Brier score of the arrears rule on the same running loans; None where it can't be applied.
        former: The same as `out_of_fold`, of the archive that the model would follow; None where there is none.
        former_name: That archive's name.
        dollar: What `stability.measure_dollar` found; None where no age is known.
        perfect_payers: What `stability.measure_perfect_payers` found; None where no age is known.
        calibration: Mean probability out of time over the share that was risky; None where it can't be measured.
        unexplained: Checks that failed without a reason why that is acceptable.
    """

    done: frozenset[str]
    rows: int
    out_of_fold: Mapping[str, Mapping[str, Mapping[str, float]]]
    baseline: Mapping[str, Mapping[str, Mapping[str, float]]]
    rule: Mapping[str, float] | None
    former: Mapping[str, Mapping[str, Mapping[str, float]]] | None
    former_name: str
    dollar: Mapping[str, float] | None
    perfect_payers: Mapping[str, float] | None
    calibration: float | None
    unexplained: tuple[str, ...]


def judge(evidence: Evidence) -> None:
    """Refuse a model that falls short, and name all in which it does.

    Raises:
        ModelRefusedError: It is not to be packaged.
    """
    noise = max(1.0, (NOISE_ROWS / evidence.rows) ** 0.5)
    short = [f"the step {step} was left out" for step in STEPS if step not in evidence.done]
    short += _worse(evidence.out_of_fold, evidence.baseline, "LightGBM's defaults with the derived features", noise)
    if evidence.former is not None:
        short += _worse(evidence.out_of_fold, evidence.former, evidence.former_name, noise)
    of_running = evidence.out_of_fold.get("age_known", {}).get("running")
    if evidence.rule is not None and of_running is not None:
        rule = {"age_known": {"running": evidence.rule}}
        short += _worse({"age_known": {"running": of_running}}, rule, "the arrears rule", noise)
    if evidence.dollar is not None and evidence.dollar["flipped_share"] > FLIPPED_AT_MOST:
        short.append(
            f"a dollar more or less flips {evidence.dollar['flipped_share']:.4f} of the decisions on running loans, "
            f"{FLIPPED_AT_MOST} are allowed"
        )
    if evidence.perfect_payers is not None and evidence.perfect_payers["called_risky"]:
        short.append(
            f"{evidence.perfect_payers['called_risky']} of {evidence.perfect_payers['loans']} made-up loans that paid "
            "each instalment in time are called risky"
        )
    if evidence.calibration is not None and not CALIBRATION[0] <= evidence.calibration <= CALIBRATION[1]:
        short.append(
            f"out of time the mean probability is {evidence.calibration:.2f} times the share that was risky, "
            f"{CALIBRATION[0]} to {CALIBRATION[1]} are allowed"
        )
    short += [f"the check {check} failed and nobody said why that is acceptable" for check in evidence.unexplained]
    if short:
        raise ModelRefusedError(
            f"The model is not packaged: {'; '.join(short)}. Look at the data, take the steps that are missing, or "
            "raise the time budget or the bounds of the search."
        )


def _worse(
    mine: Mapping[str, Mapping[str, Mapping[str, float]]],
    other: Mapping[str, Mapping[str, Mapping[str, float]]],
    name: str,
    noise: float,
) -> list[str]:
    """Name each figure in which a model is worse than another by more than noise, where both have it."""
    found: list[str] = []
    for answer, loans in [(answer, loans) for answer, segments in mine.items() for loans in segments]:
        compared: Mapping[str, Any] = other.get(answer, {}).get(loans, {})
        for figure, sign in (("auc", 1), ("brier", -1)):
            value, against = mine[answer][loans][figure], compared.get(figure)
            if against is not None and sign * (value - against) < -noise * NOISE[figure]:
                title = {"auc": "AUC", "brier": "Brier score"}[figure]
                found.append(
                    f"its {title} on {loans} loans ({answer.replace('_', ' ')}, out of fold) is {value:.4f}, "
                    f"{against:.4f} that of {name}"
                )
    return found
