"""What the repository ships is what issue and card promise."""

import os
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import CONFIGURATION, ROOT, SHIPPED

from credit_risk_model import archive
from credit_risk_model.training.loans import file_sha256
from credit_risk_model.training.pipeline import Settings, Training


@pytest.fixture(scope="module")
def shipped() -> archive.Archive:
    """The archive that ships, verified."""
    return archive.read(SHIPPED)


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
    """Mean of three splits: AUC at least 0.987, risky F1 at the cut-off at least 0.872, Brier score at most 0.027."""
    mean = shipped.metadata.metrics["split_seeds"]["mean"]
    assert mean["auc"] >= 0.987
    assert mean["risky_f1_at_cut_off"] >= 0.872
    assert mean["brier"] <= 0.027


def test_search_was_bounded(shipped: archive.Archive) -> None:
    """It keeps to the training's default bounds of trees and leaves: they are what a prediction costs."""
    hyperparameters = shipped.metadata.hyperparameters
    assert int(hyperparameters["n_estimators"]) <= Settings.max_trees
    assert int(hyperparameters["num_leaves"]) <= Settings.max_leaves


def test_card_states_the_limit_with_figures(shipped: archive.Archive) -> None:
    """The card gives the out-of-time figures beside the words on a loan's age."""
    with zipfile.ZipFile(SHIPPED) as contents:
        card = contents.read(archive.CARD).decode()
    found = shipped.metadata.metrics["out_of_time"]
    assert f"AUC {found['auc']:.3f}" in card
    assert f"{found['mean_probability']:.2f} where {found['risky_share']:.2f} are risky" in card


def test_recorded_figures_are_measured_anew(shipped: archive.Archive) -> None:
    """On the file of the shipped training, where it is at hand, the archive ranks the test set as it records."""
    path = Path(os.environ.get("LOAN_DATA", ""))
    if not (ROOT / path).is_file() or file_sha256(ROOT / path) != shipped.metadata.data.sha256:
        pytest.skip("LOAN_DATA does not name the file of the shipped training")
    training = Training(Settings(data=ROOT / path))
    training.read()
    training.clean()
    training.draw_test_set()
    assert training._test_auc_of(shipped) == pytest.approx(shipped.metadata.metrics["test"]["auc"], abs=1e-12)
    # And the hyper-parameters that it records lead there: another machine's sums may differ in their last bits.
    training.hyperparameters = shipped.metadata.hyperparameters
    training.fit()
    for figure in ("auc", "out_of_fold_auc", "brier"):
        assert training.metrics["test"][figure] == pytest.approx(shipped.metadata.metrics["test"][figure], abs=0.001)
