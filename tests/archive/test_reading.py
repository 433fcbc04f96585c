import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from changed_archives import Contents, change_metadata, change_models, rewrite
from conftest import HYPERPARAMETERS
from processes import Service

from credit_risk_model import archive
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.training.fitting import Fitted, fit
from credit_risk_model.training.packaging import make_model_files, predict_requests


def test_what_is_written_is_read_back(archive_path: Path, fitted: Fitted) -> None:
    """The archive gives back its metadata, its golden loans and models that answer as the fitted ones did."""
    found = archive.read(archive_path)
    assert (found.metadata.model_version, found.metadata.cut_off) == ("test", 0.3)
    loans = [golden.loan for golden in found.golden]
    expected = predict_requests(fitted, loans)
    assert [golden.risk_probability for golden in found.golden] == expected.tolist()
    assert [found.evaluate(loan) for loan in loans] == expected.tolist()
    assert {found.model_for(loan) is found.with_age for loan in loans} == {True, False}


def test_archive_of_loans_without_age_has_one_model(
    archive_contents: Contents, loans: pd.DataFrame, tmp_path: Path
) -> None:
    """Where the training knew no age, every loan is answered by the model that needs none."""
    metadata, files = archive_contents
    ageless = fit(loans.assign(instalments_due=float("nan")), HYPERPARAMETERS, seed=1)
    records = {"age_unknown": metadata["models"]["age_unknown"]}
    archive.write(tmp_path / "1.zip", {**metadata, "models": records}, files | make_model_files(ageless, seed=3))
    found = archive.read(tmp_path / "1.zip")
    assert found.with_age is None
    assert [found.evaluate(golden.loan) for golden in found.golden] == [
        golden.risk_probability for golden in found.golden
    ]


def test_archive_needs_a_model_for_loans_of_unknown_age(archive_path: Path, tmp_path: Path) -> None:
    """A request may leave the age out, so that an archive that can't answer it is none."""

    def drop(contents: dict[str, bytes]) -> None:
        contents[archive.MODEL_WITHOUT_AGE] = b""
        change_models(contents, lambda models: models.pop("age_unknown"))

    with pytest.raises(ModelArchiveError, match="has no model for loans of unknown age"):
        archive.read(rewrite(archive_path, tmp_path / "1.zip", drop))


def test_model_that_the_metadata_does_not_describe_is_refused(archive_path: Path, tmp_path: Path) -> None:
    """A model without a record of its features can't be checked."""

    def drop(contents: dict[str, bytes]) -> None:
        change_models(contents, lambda models: models.pop("age_known"))

    with pytest.raises(ModelArchiveError, match=r"does not describe model\.txt"):
        archive.read(rewrite(archive_path, tmp_path / "1.zip", drop))


def test_features_in_another_order_are_refused(archive_path: Path, tmp_path: Path) -> None:
    """The metadata's features must be the contract's in its order."""

    def turn(contents: dict[str, bytes]) -> None:
        change_models(contents, lambda models: models["age_known"]["features"].reverse())

    with pytest.raises(ModelArchiveError, match="differ from the contract's in the order"):
        archive.read(rewrite(archive_path, tmp_path / "1.zip", turn))


def test_other_levels_are_refused(archive_path: Path, tmp_path: Path) -> None:
    """A level that the contract does not know, or in another place, makes a foreign archive."""

    def rename(contents: dict[str, bytes]) -> None:
        def reverse(models: dict[str, Any]) -> None:
            found = models["age_unknown"]["features"]
            next(feature for feature in found if feature["name"] == "term")["levels"].reverse()

        change_models(contents, reverse)

    with pytest.raises(ModelArchiveError, match="levels of term differ from the contract's"):
        archive.read(rewrite(archive_path, tmp_path / "1.zip", rename))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"feature_names=annual_income", b"feature_names=income", "columns of model.txt are not the features"),
        (b'["< 1 year", "1 year"', b'["1 year", "< 1 year"', "category levels of model.txt are not the contract's"),
        (b"pandas_categorical:", b"pandas_category:", "category levels of model.txt are not the contract's"),
        (b"pandas_categorical:[", b"pandas_categorical:[\xff", "category levels of model.txt are not the contract's"),
        (b"feature_names=", b"feature_names=\xff", "columns of model.txt are not the features"),
    ],
)
def test_foreign_model_is_refused(old: bytes, new: bytes, words: str, archive_path: Path, tmp_path: Path) -> None:
    """A model of other columns or levels is refused even where the metadata vouches for it."""

    def exchange(contents: dict[str, bytes]) -> None:
        assert old in contents[archive.MODEL]
        contents[archive.MODEL] = contents[archive.MODEL].replace(old, new)
        change_metadata(contents)

    with pytest.raises(ModelArchiveError, match=words):
        archive.read(rewrite(archive_path, tmp_path / "1.zip", exchange))


def test_model_that_answers_otherwise_is_refused(archive_path: Path, tmp_path: Path, fitted: Fitted) -> None:
    """A valid model that is not the one that gave the golden answers is refused by its own answers."""

    def exchange(contents: dict[str, bytes]) -> None:
        contents[archive.MODEL_WITHOUT_AGE] = fitted.without_age.booster_.model_to_string(num_iteration=19).encode()
        change_metadata(contents)

    with pytest.raises(ModelArchiveError, match=r"golden loan \d+ gets 0"):
        archive.read(rewrite(archive_path, tmp_path / "1.zip", exchange))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'[{"loan": {}, "risk_probability": 0.5}]'])
def test_wrong_golden_loans_are_refused(content: bytes, archive_path: Path, tmp_path: Path) -> None:
    """Golden loans must be there and be valid: without them nothing proves the model."""

    def exchange(contents: dict[str, bytes]) -> None:
        contents[archive.GOLDEN] = content
        change_metadata(contents)

    with pytest.raises(ModelArchiveError, match=r"golden\.json is not valid"):
        archive.read(rewrite(archive_path, tmp_path / "1.zip", exchange))


def test_poisoned_estimator_is_never_unpickled(archive_path: Path, tmp_path: Path) -> None:
    """A model.joblib that would run code when it is loaded runs none: reading does not unpickle."""
    trap = tmp_path / "trap"
    poison = f"cbuiltins\nopen\n(V{trap}\nVw\ntR.".encode()

    def exchange(contents: dict[str, bytes]) -> None:
        contents[archive.ESTIMATOR] = poison
        change_metadata(contents)

    archive.read(rewrite(archive_path, tmp_path / "1.zip", exchange))
    assert not trap.exists()


def test_service_does_not_unpickle_a_poisoned_estimator(
    archive_path: Path, tmp_path: Path, start_service: Callable[..., Service]
) -> None:
    """A whole service answers from an archive whose model.joblib is a trap, and the trap stays shut."""
    trap = tmp_path / "trap"
    poison = f"cbuiltins\nopen\n(V{trap}\nVw\ntR.".encode()

    def exchange(contents: dict[str, bytes]) -> None:
        contents[archive.ESTIMATOR] = poison
        change_metadata(contents)

    path = rewrite(archive_path, tmp_path / "1.zip", exchange)
    service = start_service(archive=str(path))
    service.wait_for("/api/health/ready")
    answer = httpx.post(f"{service.address}/api/models/credit_risk_model/prediction", json=EXAMPLE_LOAN)
    assert answer.status_code == 200
    assert not trap.exists()
    pickle.loads(poison).close()  # noqa: S301  # that it is a trap: loading it makes the file
    assert trap.exists()
