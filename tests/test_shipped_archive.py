"""What the repository ships is what issue and card promise."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import CONFIGURATION, RELEASED, ROOT, SHIPPED, rounded

from credit_risk_model import archive
from credit_risk_model.examples import EXAMPLE_ANSWER, EXAMPLE_EXPLANATION, EXAMPLE_LOAN
from credit_risk_model.features import compute_instalments
from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import CreditRiskExplanationInput, CreditRiskModelInput, Term
from credit_risk_model.training import fitting
from credit_risk_model.training.archived_models import ArchivedModels
from credit_risk_model.training.loans import hash_file
from credit_risk_model.training.pipeline import Settings, Training
from credit_risk_model.training.segments import measure_segments


@pytest.fixture(scope="module")
def shipped() -> archive.Archive:
    """The archive that ships, verified."""
    found = archive.read(SHIPPED)
    if found.sha256 != RELEASED:
        pytest.skip("the configuration names another archive than the released one")
    return found


def test_archive_is_of_real_loans_and_small(shipped: archive.Archive) -> None:
    """It was trained on loans, not on made-up ones, and takes at most 20 MB."""
    assert shipped.metadata.data.kind == "loans"
    assert SHIPPED.stat().st_size <= 20_000_000


def test_configuration_pins_it() -> None:
    """Every model of the shipped configuration answers from this archive, and from no other in its place."""
    models = yaml.safe_load(CONFIGURATION.read_text())["models"]
    assert len(models) == 3
    for model in models:
        assert ROOT / model["configuration"]["archive"] == SHIPPED
        assert model["configuration"]["sha256"] == archive.sha256(SHIPPED.read_bytes())


def test_figures_reach_what_is_promised(shipped: archive.Archive) -> None:
    """What docs/explanation/model.md promises: of running loans, over three splits, out of time, a source left out."""
    metrics = shipped.metadata.metrics
    mean = metrics["split_seeds"]["mean"]
    assert mean["auc"] >= 0.994
    assert mean["brier"] <= 0.014
    assert mean["running_auc"] >= 0.970
    assert mean["running_f1"] >= 0.89
    assert mean["running_brier"] <= 0.0080
    assert mean["age_withheld_auc"] >= 0.988
    later = metrics["out_of_time"]["segments"]
    assert later["all"]["auc"] >= 0.988
    assert later["all"]["brier"] <= 0.013
    assert later["all"]["f1"] >= 0.95
    assert later["running"]["auc"] >= 0.95
    other = metrics["source_left_out"]["segments"]
    assert other["all"]["auc"] >= 0.980
    assert other["all"]["brier"] <= 0.0115
    assert other["running"]["auc"] >= 0.960
    assert 0.7 <= other["running"]["mean_probability"] / other["running"]["risky_share"] <= 1.3


def test_what_must_hold_was_measured(shipped: archive.Archive) -> None:
    """A dollar flips no decision worth speaking of, and no loan that paid in time is called risky."""
    metrics = shipped.metadata.metrics
    assert metrics["dollar"]["loans"] > 2000
    assert metrics["dollar"]["flipped_share"] <= 0.001
    assert metrics["dollar"]["largest_change_quantile"] <= 0.05
    assert metrics["perfect_payers"]["called_risky"] == 0


@pytest.mark.usefixtures("shipped")
def test_young_book_that_paid_in_time_is_safe() -> None:
    """Of 300 made-up loans that paid their first 3 to 15 instalments in time none is called risky."""
    model = CreditRiskModel(archive=str(SHIPPED))
    rng = np.random.default_rng(1)
    answers = []
    for _ in range(300):
        due = int(rng.integers(3, 16))
        loan = EXAMPLE_LOAN | {
            "loan_amount": int(rng.integers(20, 1400)) * 25,
            "interest_rate": round(float(rng.uniform(5.32, 28.99)), 2),
            "term": str(rng.choice([term.value for term in Term])),
            "annual_income": int(rng.integers(20_000, 150_000)),
            "instalments_due": due,
        }
        table = {name: np.array([value], dtype=object) for name, value in loan.items()}
        instalment = round(float(compute_instalments(table)[0]), 2)
        loan |= {"last_payment_amount": instalment, "total_payments_to_date": round(due * instalment, 2)}
        answers.append(model.predict(model.input_schema.model_validate(loan)))
    assert {answer.credit_risk.value for answer in answers} == {"safe"}
    assert np.mean([answer.risk_probability for answer in answers]) <= 0.05


def test_examples_are_the_shipped_archives_answers(shipped: archive.Archive) -> None:
    """The contract's worked examples are what the shipped model answers."""
    model, explanation = CreditRiskModel(archive=str(SHIPPED)), CreditRiskExplanation(archive=str(SHIPPED))
    answer = model.predict(CreditRiskModelInput.model_validate(EXAMPLE_LOAN))
    assert rounded(answer.model_dump(mode="json")) == rounded(EXAMPLE_ANSWER)
    request = CreditRiskExplanationInput.model_validate({**EXAMPLE_LOAN, "max_reasons": 2})
    assert rounded(explanation.predict(request).model_dump(mode="json")) == rounded(EXAMPLE_EXPLANATION)
    assert shipped.model_for(CreditRiskModelInput.model_validate(EXAMPLE_LOAN)) is shipped.with_age


@pytest.mark.usefixtures("shipped")
def test_readme_shows_the_shipped_archives_answer() -> None:
    """The README's request is the contract's example, and the answer beside it is the shipped model's own."""
    readme = (ROOT / "README.md").read_text()
    body = readme.split("-d '")[1].split("'")[0]
    assert json.loads(body) == EXAMPLE_LOAN
    assert json.dumps(EXAMPLE_ANSWER, separators=(",", ":")) in readme


def test_search_was_bounded(shipped: archive.Archive) -> None:
    """It keeps to the training's default bounds of trees and leaves: they are what a prediction costs."""
    for record in shipped.metadata.models.values():
        assert int(record.hyperparameters["n_estimators"]) <= Settings.max_trees
        assert int(record.hyperparameters["num_leaves"]) <= Settings.max_leaves


def test_card_leads_with_running_loans(shipped: archive.Archive) -> None:
    """The first figures of the card are those of running loans, and the limits say what the model can't."""
    with zipfile.ZipFile(SHIPPED) as contents:
        card = contents.read(archive.CARD).decode()
    running = shipped.metadata.metrics["segments"]["running"]
    assert card.index("running loans, random split") < card.index("all loans, random split")
    assert f"{running['auc']:.4f}" in card
    assert "It does not forecast what will become of it" in card


def test_recorded_figures_are_measured_anew(shipped: archive.Archive) -> None:
    """On the file of the shipped training, where it is at hand, the archive ranks the test set as it records."""
    path = Path(os.environ.get("LOAN_DATA", ""))
    if not (ROOT / path).is_file() or hash_file(ROOT / path) != shipped.metadata.data.sha256:
        pytest.skip("LOAN_DATA does not name the file of the shipped training")
    training = Training(Settings(data=ROOT / path))
    training.read()
    training.clean()
    training.draw_test_set()
    recorded = shipped.metadata.metrics["segments"]
    packaged = ArchivedModels(shipped).predict(training.split.test)
    measured = measure_segments(training.split.test, packaged, shipped.metadata.cut_off)
    for loans in ("running", "all"):
        for figure in ("auc", "brier", "f1"):
            assert getattr(measured[loans], figure) == pytest.approx(recorded[loans][figure], abs=1e-12)
    # And the hyper-parameters that it records lead there: another machine's sums may differ in their last bits. AUC and
    # Brier score are the final fit's alone: no other fold has to be fitted for them.
    hyperparameters = {name: record.hyperparameters for name, record in shipped.metadata.models.items()}
    fitted = fitting.fit(training.split.training, hyperparameters, training.settings.seed)
    anew = measure_segments(training.split.test, fitted.predict(training.split.test), shipped.metadata.cut_off)
    assert anew["all"].auc == pytest.approx(recorded["all"]["auc"], abs=0.001)
    assert anew["running"].brier == pytest.approx(recorded["running"]["brier"], abs=0.001)
