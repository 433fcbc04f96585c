import dataclasses
from typing import Any

import pytest

from credit_risk_model.errors import ModelRefusedError
from credit_risk_model.training import gate

FIGURES = {
    "age_known": {"running": {"auc": 0.96, "brier": 0.007}, "all": {"auc": 0.99, "brier": 0.014}},
    "age_withheld": {"running": {"auc": 0.9, "brier": 0.02}, "all": {"auc": 0.988, "brier": 0.024}},
}
GOOD = gate.Evidence(
    done=frozenset(gate.STEPS),
    rows=gate.NOISE_ROWS,
    out_of_fold=FIGURES,
    baseline=FIGURES,
    rule={"auc": 0.94, "brier": 0.0072},
    former=FIGURES,
    former_name="2.zip",
    dollar={"loans": 100, "flipped_share": 0.001},
    perfect_payers={"loans": 100, "called_risky": 0},
    calibration=1.0,
    unexplained=(),
)


def changed(answer: str, loans: str, figure: str, value: float) -> dict[str, Any]:
    """The figures with one of them changed."""
    return {**FIGURES, answer: {**FIGURES[answer], loans: {**FIGURES[answer][loans], figure: value}}}


def test_model_that_holds_all_passes() -> None:
    """A model as good as all that it is compared with is packaged."""
    gate.judge(GOOD)


@pytest.mark.parametrize("step", gate.STEPS)
def test_step_that_was_left_out_is_a_refusal(step: str) -> None:
    """Not to have looked is no pass."""
    with pytest.raises(ModelRefusedError, match=f"the step {step} was left out"):
        gate.judge(dataclasses.replace(GOOD, done=GOOD.done - {step}))


@pytest.mark.parametrize("against", ["baseline", "former"])
@pytest.mark.parametrize("answer", ["age_known", "age_withheld"])
@pytest.mark.parametrize("loans", ["running", "all"])
@pytest.mark.parametrize(("figure", "worse"), [("auc", -0.004), ("brier", 0.0006)])
def test_worse_figure_is_named(against: str, answer: str, loans: str, figure: str, worse: float) -> None:
    """AUC and Brier score, on running and on all loans, with and without the age, must not be worse."""
    value = FIGURES[answer][loans][figure] + worse
    name = {"baseline": "LightGBM's defaults with the derived features", "former": "2.zip"}[against]
    unaffected = {"baseline", "former"} - {against}
    evidence = dataclasses.replace(
        GOOD,
        out_of_fold=changed(answer, loans, figure, value),
        rule=None,
        **{other: {} for other in unaffected},
    )
    title = {"auc": "AUC", "brier": "Brier score"}[figure]
    words = answer.replace("_", " ")
    with pytest.raises(ModelRefusedError, match=rf"its {title} on {loans} loans \({words}, .*that of {name}"):
        gate.judge(evidence)


@pytest.mark.parametrize(("figure", "value"), [("auc", 0.93), ("brier", 0.008)])
def test_model_worse_than_the_rule_on_running_loans_is_refused(figure: str, value: float) -> None:
    """A model must do at least what needs no model."""
    figures = changed("age_known", "running", figure, value)
    with pytest.raises(ModelRefusedError, match="that of the arrears rule"):
        gate.judge(dataclasses.replace(GOOD, out_of_fold=figures, baseline={}, former=None))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dollar": {"flipped_share": 0.0011}}, r"a dollar more or less flips 0\.0011 of the decisions"),
        ({"perfect_payers": {"loans": 100, "called_risky": 1}}, "1 of 100 made-up loans that paid each instalment"),
        ({"calibration": 0.69}, r"the mean probability is 0\.69 times the share"),
        ({"calibration": 1.41}, r"the mean probability is 1\.41 times the share"),
        ({"unexplained": ("Label Drift",)}, "the check Label Drift failed and nobody said why"),
    ],
)
def test_what_must_hold_is_judged(change: dict[str, Any], words: str) -> None:
    """A dollar that flips decisions, a payer called risky, a wrong calibration, an unexplained check are refused."""
    with pytest.raises(ModelRefusedError, match=words):
        gate.judge(dataclasses.replace(GOOD, **change))


def test_few_loans_allow_more_noise() -> None:
    """The figures of a quarter of the loans are twice as unsure."""
    figures = changed("age_known", "all", "auc", FIGURES["age_known"]["all"]["auc"] - 0.005)
    evidence = dataclasses.replace(GOOD, out_of_fold=figures, rows=gate.NOISE_ROWS // 4)
    gate.judge(evidence)
    with pytest.raises(ModelRefusedError, match="its AUC on all loans"):
        gate.judge(dataclasses.replace(evidence, rows=gate.NOISE_ROWS))


def test_all_that_falls_short_is_named_at_once() -> None:
    """Whoever mends one fault should know the others."""
    with pytest.raises(ModelRefusedError, match=r"the step fit was left out; .* 0\.50 times"):
        gate.judge(dataclasses.replace(GOOD, done=GOOD.done - {"fit"}, calibration=0.5))


def test_what_can_not_be_measured_is_not_judged() -> None:
    """Without an age or a former archive there is nothing to compare, and that is no fault."""
    ageless = {"age_withheld": FIGURES["age_withheld"]}
    gate.judge(
        dataclasses.replace(
            GOOD, out_of_fold=ageless, rule=None, former=None, dollar=None, perfect_payers=None, calibration=None
        )
    )
