import dataclasses
import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from credit_risk_model import archive
from credit_risk_model.booster import Booster
from credit_risk_model.training.former import Former


def test_model_of_other_data_is_compared_on_the_same_loans(loans: pd.DataFrame, archive_path: Path) -> None:
    """A former model of another file is measured on these loans, not by its own record."""
    former = Former("1.zip", archive.read(archive_path))
    other = former.archive.metadata.data.model_copy(update={"sha256": "another"})
    assert former.archive.metadata.metrics == {}
    found = former.measure(loans, other)
    assert found is not None
    # It was trained on these very loans, whole: it must rank them well.
    rankings = found.rankings()
    assert 0.9 < rankings["age_known", "all"].auc < 1
    assert 0.8 < rankings["age_withheld", "all"].auc < 1


def test_model_of_the_same_data_is_compared_by_its_record(loans: pd.DataFrame, archive_path: Path) -> None:
    """On the same file, a former model's recorded out-of-fold figures are used, if there are any."""
    found = archive.read(archive_path)
    recorded = {"out_of_fold": {"age_withheld": {"all": {"auc": 0.75, "brier": 0.1}}}}
    for metrics, expected in ((recorded, 0.75), ({}, None), ({"out_of_fold": {"age_withheld": "high"}}, None)):
        metadata = found.metadata.model_copy(update={"metrics": metrics})
        former = Former("1.zip", dataclasses.replace(found, metadata=metadata))
        figures = former.measure(loans, metadata.data)
        assert (None if figures is None else figures.rankings()["age_withheld", "all"].auc) == expected


def test_former_model_that_gives_no_number_is_not_compared_with(
    loans: pd.DataFrame, archive_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A former archive that answers NaN is named in one line, and does not stop the training that follows it."""
    found = archive.read(archive_path)
    with zipfile.ZipFile(archive_path) as source:
        text = source.read(archive.MODEL_WITHOUT_AGE).decode()
    spoilt = Booster(re.sub(r"(?<=leaf_value=)\S+", "nan", re.sub(r"\ntree_sizes=.*", "", text)))
    model = dataclasses.replace(found.without_age, booster=spoilt)
    former = Former("1.zip", dataclasses.replace(found, without_age=model))
    other = found.metadata.data.model_copy(update={"sha256": "another"})
    assert former.measure(loans, other) is None
    assert "can't be compared with 1.zip, which it follows: The model's output is nan" in caplog.text
