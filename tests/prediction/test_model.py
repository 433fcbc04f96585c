import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import HYPERPARAMETERS
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_base import MLModel

from credit_risk_model import __version__, archive
from credit_risk_model.errors import ConfigurationError, ModelArchiveError
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import Caution, CreditRiskModelInput, CreditRiskModelOutput
from credit_risk_model.training.fitting import fit
from credit_risk_model.training.packaging import make_model_files


@pytest.fixture(scope="module")
def model(archive_path: Path) -> CreditRiskModel:
    """The served model on the small archive."""
    return CreditRiskModel(archive=str(archive_path))


def test_model_says_what_it_is(model: CreditRiskModel) -> None:
    """Names, description, version and schemas are those that the framework publishes."""
    assert isinstance(model, MLModel)
    assert (model.display_name, model.qualified_name) == ("Credit Risk Model", "credit_risk_model")
    assert model.version == __version__
    assert model.description
    assert model.input_schema is CreditRiskModelInput
    assert model.output_schema is CreditRiskModelOutput


def test_golden_loans_get_their_probabilities(model: CreditRiskModel, archive_path: Path) -> None:
    """The model answers with the trained model's probabilities, risky from the cut-off on."""
    golden = archive.read(archive_path).golden
    answers = [model.predict(example.loan) for example in golden]
    assert [answer.risk_probability for answer in answers] == [example.risk_probability for example in golden]
    decisions = {(answer.risk_probability >= 0.3, answer.credit_risk.value) for answer in answers}
    assert decisions == {(True, "risky"), (False, "safe")}


def test_cut_off_decides(archive_path: Path, loan: dict[str, Any]) -> None:
    """A probability that reaches the cut-off is risky; just below it, safe."""
    request = CreditRiskModelInput.model_validate(loan)
    probability = CreditRiskModel(str(archive_path)).predict(request).risk_probability
    at, above = (CreditRiskModel(str(archive_path), cut_off=probability + step) for step in (0, 1e-12))
    assert at.predict(request).credit_risk.value == "risky"
    assert above.predict(request).credit_risk.value == "safe"


@pytest.mark.parametrize("cut_off", [0, 1, -0.1, 1.5, float("nan"), "0.5", True])
def test_impossible_cut_off_is_refused(cut_off: Any, archive_path: Path) -> None:
    """A cut-off is a number above 0 and below 1."""
    with pytest.raises(ConfigurationError, match=r"cut_off is .*: set a probability above 0 and below 1"):
        CreditRiskModel(archive=str(archive_path), cut_off=cut_off)


@pytest.mark.parametrize("sha256", ["", "0" * 63, "g" * 64, 12345, "0" * 64 + "\n"])
def test_digest_that_is_none_is_refused(sha256: Any, archive_path: Path) -> None:
    """A pinned SHA-256 has 64 hexadecimal digits."""
    with pytest.raises(ConfigurationError, match=r"sha256 is .*: set the 64 digits"):
        CreditRiskModel(archive=str(archive_path), sha256=sha256)


def test_archive_that_is_not_the_pinned_one_is_not_served(archive_path: Path) -> None:
    """A model with a pinned digest answers from that archive alone."""
    digest = archive.sha256(archive_path.read_bytes())
    assert CreditRiskModel(archive=str(archive_path), sha256=digest).archive.sha256 == digest
    with pytest.raises(ModelArchiveError, match="the configuration pins"):
        CreditRiskModel(archive=str(archive_path), sha256="0" * 64)


def test_refused_archive_is_one_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong with the archive stands in one line of the log."""
    with caplog.at_level(logging.ERROR), pytest.raises(ModelArchiveError):
        CreditRiskModel(archive=str(tmp_path / "9.zip"))
    (record,) = caplog.records
    assert record.getMessage() == (
        "The model credit_risk_model is not loaded: 9.zip: no such file. Name one that exists, or run `make train`."
    )


def test_answer_without_the_age_says_so(model: CreditRiskModel, loan: dict[str, Any]) -> None:
    """A request that does not say how many instalments were due gets an answer with a caution."""
    assert model.predict(CreditRiskModelInput.model_validate(loan)).cautions == ()
    without = CreditRiskModelInput.model_validate(loan | {"instalments_due": None})
    assert model.predict(without).cautions == (Caution.INSTALMENTS_DUE_MISSING,)


def test_age_that_an_archive_can_not_use_is_said(
    archive_contents: tuple[dict[str, Any], dict[str, bytes]], loans: pd.DataFrame, tmp_path: Path, loan: dict[str, Any]
) -> None:
    """An archive of loans without age answers a loan as if its age were not known, and says that it did."""
    metadata, files = archive_contents
    ageless = fit(loans.assign(instalments_due=float("nan")), HYPERPARAMETERS, seed=1)
    records = {"age_unknown": metadata["models"]["age_unknown"]}
    archive.write(tmp_path / "1.zip", {**metadata, "models": records}, files | make_model_files(ageless, seed=3))
    model = CreditRiskModel(archive=str(tmp_path / "1.zip"))
    known = model.predict(CreditRiskModelInput.model_validate(loan))
    unknown = model.predict(CreditRiskModelInput.model_validate(loan | {"instalments_due": None}))
    assert known.risk_probability == unknown.risk_probability
    assert known.cautions == (Caution.INSTALMENTS_DUE_UNUSED,)
    assert unknown.cautions == (Caution.INSTALMENTS_DUE_MISSING,)


@settings(max_examples=60)
@given(due=st.integers(0, 35), paid=st.floats(0, 36), last=st.floats(0, 3), rate=st.floats(5.32, 28.99))
def test_more_instalments_due_never_lower_the_risk(
    model: CreditRiskModel, due: int, paid: float, last: float, rate: float
) -> None:
    """All else equal, a loan that owes more is not safer, until its term is over."""
    loan = EXAMPLE_LOAN | {
        "interest_rate": rate,
        "total_payments_to_date": paid * 407.0,
        "last_payment_amount": last * 407.0,
    }
    probabilities = [
        model.predict(CreditRiskModelInput.model_validate(loan | {"instalments_due": due})).risk_probability
        for due in range(due, 36)
    ]
    assert probabilities == sorted(probabilities)


def test_many_threads_get_the_same_answers(model: CreditRiskModel, archive_path: Path) -> None:
    """Requests on many threads at once are answered as one after the other."""
    golden = archive.read(archive_path).golden * 20
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(model.predict, [example.loan for example in golden]))
    assert [answer.risk_probability for answer in answers] == [example.risk_probability for example in golden]


def test_newest_archive_is_the_default(archive_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the package's own archive with the highest number is served."""
    (tmp_path / "9.zip").write_bytes(archive.newest().read_bytes())
    (tmp_path / "10.zip").write_bytes(archive_path.read_bytes())
    monkeypatch.setattr("credit_risk_model.archive.format.MODEL_FILES", tmp_path)
    assert CreditRiskModel().archive.sha256 == archive.sha256(archive_path.read_bytes())
