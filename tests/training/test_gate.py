import dataclasses
from typing import Any

import pytest

from credit_risk_model.errors import ModelRefusedError
from credit_risk_model.training import gate
from credit_risk_model.training.figures import DollarFigures, OutOfFoldFigures, PerfectPayerFigures, Ranking

_FIGURES = {
    "age_known": {"running": {"auc": 0.96, "brier": 0.007}, "all": {"auc": 0.99, "brier": 0.014}},
    "age_withheld": {"running": {"auc": 0.9, "brier": 0.02}, "all": {"auc": 0.988, "brier": 0.024}},
}
FIGURES = OutOfFoldFigures.model_validate(_FIGURES)
NONE = OutOfFoldFigures()
PAYERS = PerfectPayerFigures(loans=100, called_risky=0, mean_probability=0.01, largest_probability=0.1)
DOLLAR = DollarFigures(loans=100, flipped_share=0.001, largest_change_quantile=0.01, largest_change=0.02)
GOOD = gate.Evidence(
    rows=gate.NOISE_ROWS,
    out_of_fold=FIGURES,
    baseline=FIGURES,
    rule=Ranking(auc=0.94, brier=0.0072),
    former=FIGURES,
    former_name="2.zip",
    dollar=DOLLAR,
    perfect_payers=PAYERS,
    calibration=1.0,
    unexplained=(),
)


def changed(answer: str, loans: str, figure: str, value: float) -> OutOfFoldFigures:
    """The figures with one of them changed."""
    figures = {**_FIGURES[answer], loans: {**_FIGURES[answer][loans], figure: value}}
    return OutOfFoldFigures.model_validate({**_FIGURES, answer: figures})


def refuse(evidence: gate.Evidence, words: str) -> None:
    """Expect the verdict to be a refusal that says something."""
    with pytest.raises(ModelRefusedError, match=words):
        gate.judge(evidence).require_pass()


def test_model_that_holds_all_passes() -> None:
    """A model as good as all that it is compared with is packaged."""
    assert gate.judge(GOOD) == gate.Verdict(())
    gate.judge(GOOD).require_pass()


@pytest.mark.parametrize("part", [field.name for field in dataclasses.fields(gate.Evidence)])
def test_no_evidence_can_be_left_out(part: str) -> None:
    """Not to have looked is no pass: whoever leaves a part out has no evidence at all."""
    parts = {field.name: getattr(GOOD, field.name) for field in dataclasses.fields(GOOD) if field.name != part}
    with pytest.raises(TypeError, match=f"'{part}'"):
        gate.Evidence(**parts)


@pytest.mark.parametrize("against", ["baseline", "former"])
@pytest.mark.parametrize("answer", ["age_known", "age_withheld"])
@pytest.mark.parametrize("loans", ["running", "all"])
@pytest.mark.parametrize(("figure", "worse"), [("auc", -0.004), ("brier", 0.0006)])
def test_worse_figure_is_named(against: str, answer: str, loans: str, figure: str, worse: float) -> None:
    """AUC and Brier score, on running and on all loans, with and without the age, must not be worse."""
    value = _FIGURES[answer][loans][figure] + worse
    name = {"baseline": "LightGBM's defaults with the derived features", "former": "2.zip"}[against]
    evidence = dataclasses.replace(
        GOOD,
        out_of_fold=changed(answer, loans, figure, value),
        rule=None,
        baseline=FIGURES if against == "baseline" else NONE,
        former=FIGURES if against == "former" else NONE,
    )
    title = {"auc": "AUC", "brier": "Brier score"}[figure]
    words = answer.replace("_", " ")
    refuse(evidence, rf"its {title} on {loans} loans \({words}, .*that of {name}")


@pytest.mark.parametrize(("figure", "value"), [("auc", 0.93), ("brier", 0.008)])
def test_model_worse_than_the_rule_on_running_loans_is_refused(figure: str, value: float) -> None:
    """A model must do at least what needs no model."""
    figures = changed("age_known", "running", figure, value)
    refuse(dataclasses.replace(GOOD, out_of_fold=figures, baseline=NONE, former=None), "that of the arrears rule")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"dollar": DOLLAR.model_copy(update={"flipped_share": 0.0011})},
            r"a dollar more or less flips 0\.0011 of the decisions",
        ),
        (
            {"perfect_payers": PAYERS.model_copy(update={"called_risky": 1})},
            "1 of 100 made-up loans with every instalment paid on time",
        ),
        ({"calibration": 0.69}, r"the mean probability is 0\.69 times the share"),
        ({"calibration": 1.41}, r"the mean probability is 1\.41 times the share"),
        ({"unexplained": ("Label Drift",)}, "the check Label Drift failed without a known reason"),
    ],
)
def test_what_must_hold_is_judged(change: dict[str, Any], words: str) -> None:
    """A dollar that flips decisions, a payer called risky, a wrong calibration, an unexplained check are refused."""
    refuse(dataclasses.replace(GOOD, **change), words)


def test_few_loans_allow_more_noise() -> None:
    """The figures of a quarter of the loans are twice as unsure."""
    figures = changed("age_known", "all", "auc", _FIGURES["age_known"]["all"]["auc"] - 0.005)
    evidence = dataclasses.replace(GOOD, out_of_fold=figures, rows=gate.NOISE_ROWS // 4)
    gate.judge(evidence).require_pass()
    refuse(dataclasses.replace(evidence, rows=gate.NOISE_ROWS), "its AUC on all loans")


def test_noise_grows_with_the_root_and_never_shrinks() -> None:
    """A sixteenth of the loans allow four times the noise, and many loans no less than was measured."""
    auc = _FIGURES["age_known"]["all"]["auc"]
    for rows, times in ((gate.NOISE_ROWS // 16, 4), (gate.NOISE_ROWS * 16, 1)):
        for part, is_refused in ((0.99, False), (1.01, True)):
            figures = changed("age_known", "all", "auc", auc - part * times * gate.AUC_NOISE)
            verdict = gate.judge(dataclasses.replace(GOOD, out_of_fold=figures, rows=rows))
            assert bool(verdict.shortcomings) == is_refused


@pytest.mark.parametrize("calibration", [0.7, 1.4])
def test_calibration_may_be_at_its_bounds(calibration: float) -> None:
    """0.7 and 1.4 times the share that was risky are allowed."""
    gate.judge(dataclasses.replace(GOOD, calibration=calibration)).require_pass()


def test_figure_that_the_other_lacks_hides_no_other_figure() -> None:
    """Where a former archive knew no age, the answers without an age are compared all the same."""
    ageless = OutOfFoldFigures(age_withheld=FIGURES.age_withheld)
    worse = changed("age_withheld", "all", "auc", 0.9)
    refuse(dataclasses.replace(GOOD, out_of_fold=worse, baseline=NONE, former=ageless), "that of 2.zip")


def test_refusal_says_what_to_do() -> None:
    """The error is one line: what is wrong, and the cure."""
    with pytest.raises(ModelRefusedError) as raised:
        gate.judge(dataclasses.replace(GOOD, calibration=0.5)).require_pass()
    assert str(raised.value) == (
        "The model is not packaged: out of time the mean probability is 0.50 times the share of risky loans, outside "
        "0.7 to 1.4. Check the data, or raise the time budget or the bounds of the search."
    )


def test_all_that_falls_short_is_named_at_once() -> None:
    """Whoever mends one fault should know the others."""
    short = dataclasses.replace(GOOD, calibration=0.5, unexplained=("Label Drift",))
    refuse(short, r"0\.50 times .*; the check Label Drift failed")
    assert len(gate.judge(short).shortcomings) == 2


def test_what_can_not_be_measured_is_not_judged() -> None:
    """Without an age or a former archive there is nothing to compare, and that is no fault."""
    ageless = OutOfFoldFigures(age_withheld=FIGURES.age_withheld)
    evidence = dataclasses.replace(
        GOOD, out_of_fold=ageless, rule=None, former=None, dollar=None, perfect_payers=None, calibration=None
    )
    gate.judge(evidence).require_pass()
