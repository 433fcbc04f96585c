import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from changed_archives import change_metadata, change_models, rewrite

from credit_risk_model import archive
from credit_risk_model.errors import ModelArchiveError

CURE = "The archive has a different contract: use the release that packaged it, or train again."


def refuse(path: Path, target: Path, change: Callable[[dict[str, bytes]], None], words: str) -> None:
    """Expect an archive with changed contents to be refused in these words."""
    with pytest.raises(ModelArchiveError, match=f"^{re.escape(words)}"):
        archive.read(rewrite(path, target, change))


def test_features_of_another_contract_are_all_named(archive_path: Path, tmp_path: Path) -> None:
    """Features that are missing and features that the contract does not have are named, with the cure."""

    def rename(models: dict[str, Any]) -> None:
        first, second = models["age_unknown"]["features"][:2]
        first["name"], second["name"] = "income", "collections"

    names = "annual_income, collections, collections_in_last_12_months, income"
    words = f"1.zip: its features differ from the contract's in {names}. {CURE}"
    refuse(archive_path, tmp_path / "1.zip", lambda contents: change_models(contents, rename), words)


def test_feature_that_is_there_twice_is_refused(archive_path: Path, tmp_path: Path) -> None:
    """Of two records of one feature it is not known which one holds."""

    def repeat(models: dict[str, Any]) -> None:
        models["age_known"]["features"].append(models["age_known"]["features"][0])

    words = "1.zip: metadata.json names a feature twice."
    refuse(archive_path, tmp_path / "1.zip", lambda contents: change_models(contents, repeat), words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"objective=binary ", b"objective=regression ", f"model.txt is not a binary classifier. {CURE}"),
        (b"=annual_income ", b"=annual_income  ", f"the columns of model.txt are not the features in order. {CURE}"),
    ],
)
def test_model_of_another_kind_is_named(old: bytes, new: bytes, words: str, archive_path: Path, tmp_path: Path) -> None:
    """A model that predicts something else, or from other columns, is refused with its file's name and the cure."""

    def exchange(contents: dict[str, bytes]) -> None:
        assert contents[archive.MODEL].count(old) == 1
        contents[archive.MODEL] = contents[archive.MODEL].replace(old, new)
        change_metadata(contents)

    refuse(archive_path, tmp_path / "1.zip", exchange, f"1.zip: {words}")


def test_damaged_trees_are_told_with_their_file(archive_path: Path, tmp_path: Path) -> None:
    """A leaf that is no number is refused before LightGBM sees it."""

    def exchange(contents: dict[str, bytes]) -> None:
        text = contents[archive.MODEL_WITHOUT_AGE]
        contents[archive.MODEL_WITHOUT_AGE] = re.sub(rb"leaf_value=\S+", b"leaf_value=nan", text, count=1)
        change_metadata(contents)

    refuse(archive_path, tmp_path / "1.zip", exchange, "1.zip: model_without_age.txt ")
