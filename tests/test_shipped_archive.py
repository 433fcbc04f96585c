"""What the repository ships is what issue and card promise."""

import os
import zipfile

import pytest
from conftest import ROOT

from credit_risk_model import archive
from credit_risk_model.training.loans import file_sha256

PATH = archive.MODEL_FILES / "1.zip"


@pytest.fixture(scope="module")
def shipped() -> archive.Archive:
    """The archive that ships, verified."""
    return archive.read(PATH)


def test_archive_is_of_real_loans_and_small(shipped: archive.Archive) -> None:
    """It was trained on loans, not on made-up ones, and takes at most 20 MB."""
    assert shipped.metadata.data.kind == "loans"
    assert PATH.stat().st_size <= 20_000_000


def test_figures_reach_what_is_promised(shipped: archive.Archive) -> None:
    """Mean of three splits: AUC at least 0.987, risky F1 at the cut-off at least 0.872, Brier score at most 0.027."""
    mean = shipped.metadata.metrics["split_seeds"]["mean"]
    assert mean["auc"] >= 0.987
    assert mean["risky_f1_at_cut_off"] >= 0.872
    assert mean["brier"] <= 0.027


def test_search_was_bounded(shipped: archive.Archive) -> None:
    """At most 500 trees of 31 leaves: they are what a prediction costs."""
    hyperparameters = shipped.metadata.hyperparameters
    assert int(hyperparameters["n_estimators"]) <= 500
    assert int(hyperparameters["num_leaves"]) <= 31


def test_card_states_the_limit_with_figures(shipped: archive.Archive) -> None:
    """The card gives the out-of-time figures beside the words on a loan's age."""
    with zipfile.ZipFile(PATH) as contents:
        card = contents.read(archive.CARD).decode()
    found = shipped.metadata.metrics["out_of_time"]
    assert f"AUC {found['auc']:.3f}" in card
    assert f"{found['mean_probability']:.2f} where {found['risky_share']:.2f} are risky" in card


@pytest.mark.skipif("LOAN_DATA" not in os.environ, reason="LOAN_DATA does not name the file of the shipped training")
def test_archive_was_trained_on_that_file(shipped: archive.Archive) -> None:
    """The digest in the metadata is that of the file that LOAN_DATA names."""
    assert shipped.metadata.data.sha256 == file_sha256(ROOT / os.environ["LOAN_DATA"])
