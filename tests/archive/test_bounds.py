import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from changed_archives import change_metadata, rewrite

from credit_risk_model import archive, contract
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import CreditRiskModelInput


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"loan_amount": [500, 30000]}, "loan_amount: 500 to 30000 is narrower than the contract's 500 to 35000"),
        ({"loan_amount": [600, 40000]}, "loan_amount: 600 to 40000 is narrower than the contract's 500 to 35000"),
        ({"loan_amount": [0, 40000]}, "loan_amount: 0 to 40000 is beyond 1 to 1000000000"),
        ({"interest_rate": [0, 28.99]}, "interest_rate: 0 to 28.99 is beyond 0.01 to 1000"),
        ({"annual_income": [-1, 273000]}, "annual_income: -1 to 273000 is beyond 0 to 1000000000"),
        ({"annual_income": [0, 1e300]}, "annual_income: 0 to 1e+300 is beyond 0 to 1000000000"),
        ({"annual_income": [0, 300000.5]}, "annual_income: 0 to 300000.5 are not whole numbers"),
        ({"instalments_due": [0, 72]}, "instalments_due has no bounds that may be widened"),
        ({"term": [0, 72]}, "term has no bounds that may be widened"),
        ({"zip_code": [0, 99999]}, "zip_code has no bounds that may be widened"),
        ({"loan_amount": [500, None]}, "Input should be a valid number"),
        ({"loan_amount": [500]}, "Field required"),
        ([], "Input should be an object"),
    ],
)
def test_bounds_that_cannot_be_are_refused(bounds: Any, words: str, archive_path: Path, tmp_path: Path) -> None:
    """Bounds that are narrower, foreign or impossible are refused in one line that names them."""

    def change(contents: dict[str, bytes]) -> None:
        change_metadata(contents, bounds=bounds)

    told = rf"^1\.zip: metadata\.json is not valid: bounds[^\n]*{re.escape(words)}"
    with pytest.raises(ModelArchiveError, match=told):
        archive.read(rewrite(archive_path, tmp_path / "1.zip", change))


def test_archive_without_bounds_has_the_shipped_classes(archive_path: Path) -> None:
    """Where nothing was widened, requests are the classes of `schemas`, and the metadata has no key that is new."""
    with zipfile.ZipFile(archive_path) as contents:
        assert "bounds" not in json.loads(contents.read(archive.METADATA))
    found = archive.read(archive_path).metadata.contract
    assert found is contract.SHIPPED is contract.widen({})
    assert CreditRiskModel(archive=str(archive_path)).input_schema is CreditRiskModelInput
