"""An archive of later loans: its bounds, and whatever takes loans by them."""

import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from changed_archives import change_metadata, rewrite
from conftest import CONFIGURATION, ROOT, SHIPPED
from processes import FRAMEWORK, Service
from pyarrow import parquet

import credit_risk_model
from credit_risk_model import archive, contract
from credit_risk_model.decisions import DecisionLogError
from credit_risk_model.errors import DataError, ModelArchiveError
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.features import compute_instalments
from credit_risk_model.monitoring import replay
from credit_risk_model.monitoring.drift import count_log, count_table
from credit_risk_model.prediction.batch import CreditRiskBatch
from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.prediction.model import CreditRiskModel, decide
from credit_risk_model.schemas import Caution
from credit_risk_model.scoring.run import Settings as ScoringSettings
from credit_risk_model.scoring.run import score
from credit_risk_model.service.openapi import document
from credit_risk_model.service.settings import read_configuration
from credit_risk_model.tables.places import to_place
from credit_risk_model.training.pipeline import Settings, Training, run

LARGEST, SMALLEST_RATE, LARGEST_RATE = 40_000, 5.31, 30.99
LATER_LOAN: dict[str, Any] = {**EXAMPLE_LOAN, "loan_amount": LARGEST, "interest_rate": LARGEST_RATE}
MODELS = ("credit_risk_model", "credit_risk_explanation", "credit_risk_batch")
MORE_MODELS = (
    "credit_risk_model.prediction.explanation.CreditRiskExplanation",
    "credit_risk_model.prediction.batch.CreditRiskBatch",
)


@pytest.fixture(scope="module")
def later_book(book_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book, with amounts up to 40,000 and rates from 5.31 to 30.99; its payments keep to the instalments.

    One income is 9 million and one amount is below 0: neither may widen a bound.
    """
    book = pd.read_csv(book_path, low_memory=False)
    rng = np.random.default_rng(3)
    book.loc[::10, "loan_amnt"] = np.linspace(35_025, LARGEST, len(book.loc[::10])).round()
    book.loc[5::10, "int_rate"] = np.linspace(29, LARGEST_RATE, len(book.loc[5::10])).round(2)
    book.loc[7, "int_rate"] = SMALLEST_RATE
    names = {"loan_amount": "loan_amnt", "interest_rate": "int_rate", "term": "term"}
    instalment = compute_instalments({name: book[column] for name, column in names.items()}).round(2)
    for column in ("total_pymnt_inv", "last_pymnt_amnt"):
        book[column] = (book[column] * instalment / book["installment"]).round(2)
    book["installment"] = instalment
    whole, negative = rng.choice(np.flatnonzero(book["loan_status"] == "Current"), 2, replace=False)
    book.loc[whole, "annual_inc"] = 9_000_000
    book.loc[negative, "loan_amnt"] = -5
    path = tmp_path_factory.mktemp("later") / "loan.csv"
    book.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def training(later_book: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A whole training of the later loans that widens the bounds."""
    folder = tmp_path_factory.mktemp("trained")
    small: dict[str, Any] = {"max_iter": 2, "max_trees": 40, "max_leaves": 31, "search_log": folder / "search.log"}
    training = Training(Settings(data=later_book, output=folder / "1.zip", widen_bounds=True, **small))
    run(training)
    return training


@pytest.fixture(scope="module")
def wide(training: Training) -> Path:
    """Its archive."""
    assert training.settings.output
    return training.settings.output


@pytest.fixture(scope="module")
def service(wide: Path, start_service: Callable[..., Service]) -> Service:
    """A service of the three models with that archive."""
    models = tuple({"class_path": name, "configuration": {"archive": str(wide)}} for name in MORE_MODELS)
    service = start_service(archive=str(wide), more_models=models)
    service.wait_for("/api/health/ready")
    return service


def ask(service: Service, model: str, body: object) -> httpx.Response:
    """Ask a service's model."""
    return httpx.post(f"{service.address}/api/models/{model}/prediction", json=body, timeout=30)


def test_archive_records_the_extremes_of_its_loans(training: Training, wide: Path) -> None:
    """Amounts and rates are widened to what the cleaned loans have, to the digit, and no bound is narrower."""
    bounds = archive.read(wide).metadata.bounds
    assert bounds["loan_amount"] == (500, LARGEST)
    assert bounds["interest_rate"] == (SMALLEST_RATE, LARGEST_RATE)
    for name, (low, high) in bounds.items():
        least, most = contract.SHIPPED.bounds[name]
        assert (low, high) == (min(least, training.loans[name].min()), max(most, training.loans[name].max()))


def test_training_that_widens_nothing_warns(later_book: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without the setting the archive keeps the shipped bounds, and the training names the fields that lie beyond."""
    plain = Training(Settings(data=later_book, search_log=tmp_path / "log"))
    plain.read()
    plain.clean()
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any(words.endswith("Set widen_bounds to accept 5.31 to 30.99.") for words in warned)


def test_what_cannot_be_widens_nothing(training: Training, wide: Path) -> None:
    """An income of 9 million goes with the step that drops outliers, an amount below 0 with one of its own."""
    assert archive.read(wide).metadata.bounds.get("annual_income", (0, 0))[1] < 1_000_000
    last = training.trained().cleaning[-1]
    before = training.trained().cleaning[-2]
    assert (last.step.startswith("no impossible number"), before.rows - last.rows) == (True, 1)


def test_golden_loans_reach_the_wider_bounds(wide: Path) -> None:
    """The loans that are replayed before a service is ready lie beyond the shipped bounds, too."""
    golden = [example.loan for example in archive.read(wide).golden]
    assert max(loan.loan_amount for loan in golden) == LARGEST
    assert {min(loan.interest_rate for loan in golden), max(loan.interest_rate for loan in golden)} == {
        SMALLEST_RATE,
        LARGEST_RATE,
    }


def test_card_sets_the_wider_bounds_beside_the_shipped(wide: Path) -> None:
    """Whoever reads the card sees which bounds were widened, and what a request may hold."""
    with zipfile.ZipFile(wide) as contents:
        card = contents.read(archive.CARD).decode()
    assert "| loan_amount | 500 to 40000 | 500 to 35000 |" in card
    assert "| interest_rate | 5.31 to 30.99 | 5.32 to 28.99 |" in card
    assert "| Loan amount, in whole US dollars. | 500 to 40000 |" in card


def test_service_answers_later_loans(service: Service, wide: Path, start_service: Callable[..., Service]) -> None:
    """A loan of 40,000 is answered alone, explained and in a batch; the shipped archive refuses it."""
    body = to_bodies(LATER_LOAN)
    expected = expect(wide)
    for model in MODELS:
        answer = ask(service, model, body[model])
        assert (answer.status_code, answer.json()) == (200, expected[model])
    shipped = start_service(archive=str(SHIPPED), more_models=MORE_MODELS)
    shipped.wait_for("/api/health/ready")
    for model in MODELS:
        answer = ask(shipped, model, body[model])
        assert answer.status_code == 400
        assert any("loan_amount' has error 'less_than_equal'" in message for message in answer.json()["messages"])


def test_service_refuses_what_is_beyond_the_wider_bounds(service: Service) -> None:
    """The wider bounds are bounds: the error names the new one."""
    answer = ask(service, MODELS[0], LATER_LOAN | {"loan_amount": LARGEST + 1})
    assert (answer.status_code, answer.json()["messages"]) == (
        400,
        [f"Field 'body, loan_amount' has error 'less_than_equal', Input should be less than or equal to {LARGEST}."],
    )


def test_frameworks_own_application_takes_them(wide: Path, start_service: Callable[..., Service]) -> None:
    """Whoever serves the model by the framework alone has the wider bounds as well."""
    framework = start_service(archive=str(wide), command=FRAMEWORK)
    framework.wait_for("/api/health/ready")
    assert ask(framework, MODELS[0], LATER_LOAN).json() == expect(wide)[MODELS[0]]


def test_document_differs_in_the_bounds_alone(service: Service, wide: Path) -> None:
    """/openapi.json is service_contract.yaml with other numbers, and the command writes the same."""
    expected = yaml.safe_load((ROOT / "service_contract.yaml").read_text())
    schemas = expected["components"]["schemas"]
    for name, (low, high) in archive.read(wide).metadata.bounds.items():
        for model in ("CreditRiskModelInput", "CreditRiskExplanationInput"):
            described = schemas[model]["properties"][name]
            described.get("anyOf", [described])[0].update(minimum=low, maximum=high)
    assert httpx.get(f"{service.address}/openapi.json").json() == expected


def test_document_is_of_the_archive_that_is_loaded(
    wide: Path, start_service: Callable[..., Service], tmp_path: Path
) -> None:
    """Asked for after the file was replaced, the document has the bounds of the archive that answers."""
    shutil.copy(wide, tmp_path / "1.zip")
    service = start_service(archive=str(tmp_path / "1.zip"))
    service.wait_for("/api/health/ready")
    shutil.copy(SHIPPED, tmp_path / "1.zip")
    loan = httpx.get(f"{service.address}/openapi.json").json()["components"]["schemas"]["CreditRiskModelInput"]
    assert loan["properties"]["loan_amount"]["maximum"] == LARGEST


def test_archive_that_cannot_be_read_leaves_the_shipped_document(tmp_path: Path) -> None:
    """A service whose archive is damaged answers no loan, and describes itself as it ships."""
    (tmp_path / "1.zip").write_bytes(b"no zip")
    settings = yaml.safe_load(CONFIGURATION.read_text())
    for model in settings["models"]:
        model["configuration"] = {"archive": str(tmp_path / "1.zip")}
    configuration = tmp_path / "configuration.yaml"
    configuration.write_text(yaml.safe_dump(settings))
    assert document(read_configuration(configuration)) == document(read_configuration(CONFIGURATION))


def test_each_model_has_the_bounds_of_its_own_archive(wide: Path, start_service: Callable[..., Service]) -> None:
    """Served side by side, the challenger with wider bounds takes a loan that the shipped archive refuses."""
    settings = {"archive": str(wide), "model_name": "challenger"}
    challenger = {"class_path": "credit_risk_model.prediction.model.CreditRiskModel", "configuration": settings}
    both = start_service(archive=str(SHIPPED), more_models=(challenger,))
    both.wait_for("/api/health/ready")
    described = httpx.get(f"{both.address}/openapi.json").json()
    for model, status, largest in ((MODELS[0], 400, 35_000), ("challenger", 200, LARGEST)):
        assert ask(both, model, LATER_LOAN).status_code == status
        request = described["paths"][f"/api/models/{model}/prediction"]["post"]["requestBody"]
        reference = request["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert described["components"]["schemas"][reference]["properties"]["loan_amount"]["maximum"] == largest


def test_metadata_endpoint_names_what_was_widened(service: Service, wide: Path) -> None:
    """The answer has the widened bounds, and nothing of them where there are none."""
    told = httpx.get(f"{service.address}/api/models/{MODELS[0]}/metadata").json()
    assert told["archive"]["widened_bounds"]["loan_amount"] == [500, LARGEST]
    assert told["input_schema"]["properties"]["loan_amount"]["maximum"] == LARGEST
    assert set(told["archive"]["widened_bounds"]) == set(archive.read(wide).metadata.bounds)


def test_drift_counts_later_loans(wide: Path, start_service: Callable[..., Service], tmp_path: Path) -> None:
    """A later loan that the service answers is counted into the archive's bins, as is one of a file."""
    service = start_service(archive=str(wide))
    service.wait_for("/api/health/ready")
    assert ask(service, MODELS[0], LATER_LOAN).status_code == 200
    scraped = httpx.get(f"{service.address}/metrics").text
    counted = re.findall(r'^credit_risk_drift_loans_total\{.*feature="loan_amount".*\} (.+)$', scraped, re.MULTILINE)
    assert sum(map(float, counted)) == 1
    parquet.write_table(pa.Table.from_pylist([LATER_LOAN]), tmp_path / "loans.parquet")
    counts = count_table(tmp_path / "loans.parquet", archive.read(wide))
    assert sum(counted.loans for counted in counts.values()) == 1


def test_files_and_frames_give_the_services_bits(wide: Path, tmp_path: Path) -> None:
    """A later loan from a file, a frame, a dict and a request gets one probability; beyond the bounds none takes it."""
    beyond = LATER_LOAN | {"loan_amount": LARGEST + 1}
    loans = pa.Table.from_pylist([EXAMPLE_LOAN, LATER_LOAN, beyond])
    parquet.write_table(loans, tmp_path / "loans.parquet")
    scores = tmp_path / "scores.parquet"
    score(ScoringSettings(to_place(str(tmp_path / "loans.parquet")), to_place(str(scores)), archive=str(wide)))
    model = credit_risk_model.load(wide)
    expected = [model.predict(loan).risk_probability for loan in (EXAMPLE_LOAN, LATER_LOAN)]
    assert expected[1] == expect(wide)[MODELS[0]]["risk_probability"]
    assert parquet.read_table(scores)["risk_probability"].to_pylist() == expected
    framed = model.explain(loans.to_pandas())
    assert framed["risk_probability"].tolist()[:2] == expected
    assert framed["rejected"].tolist() == [None, None, f"loan_amount: above {LARGEST}"]
    with pytest.raises(DataError, match=f"loan_amount: Input should be less than or equal to {LARGEST}"):
        model.predict(beyond)


def test_value_beyond_the_training_carries_the_caution(wide: Path, training: Training, tmp_path: Path) -> None:
    """Wider bounds hold the test set's loans, too: what the training set has not seen is doubted all the same."""
    bounds = archive.read(wide).metadata.bounds | {"loan_amount": (500, LARGEST + 1000)}
    path = rewrite(wide, tmp_path / "1.zip", lambda contents: change_metadata(contents, bounds=bounds))
    model = CreditRiskModel(archive=str(path))
    seen = int(training.split.training["loan_amount"].max())
    for amount, cautions in ((seen, ()), (seen + 1, (Caution.OUTSIDE_TRAINING_RANGE,))):
        asked = model.input_schema.model_validate(LATER_LOAN | {"loan_amount": amount, "interest_rate": 13.5})
        assert model.predict(asked).cautions == cautions


def test_log_of_later_loans_is_replayed(wide: Path) -> None:
    """A logged loan is read by the contract of the archive that answered it; another archive may refuse it."""
    found = archive.read(wide)
    probability = found.evaluate(found.metadata.contract.loan.model_validate(LATER_LOAN))
    record = {
        "n": 2,
        "archive_sha256": found.sha256,
        "cut_off": found.metadata.cut_off,
        "risk_probability": probability,
        "credit_risk": decide(probability, found.metadata.cut_off).value,
        "personal": {"loan": LATER_LOAN},
    }
    assert replay.prove([record], [wide]).equal == 1
    assert sum(counted.loans for counted in count_log([record], found).values()) == 1
    shipped = archive.read(SHIPPED)
    compared = replay.compare([record], shipped)
    assert (compared.decisions, compared.refused, compared.segments) == (1, 1, {})
    words = "Line 2: the loan violates the contract of archive 3: interest_rate: Input should be less"
    with pytest.raises(DecisionLogError, match=words) as raised:
        count_log([record], shipped)
    assert str(LARGEST_RATE) not in str(raised.value)


def test_bounds_that_golden_loans_break_are_refused(wide: Path, tmp_path: Path) -> None:
    """Without its bounds the archive's own golden loans are foreign to it."""

    def change(contents: dict[str, bytes]) -> None:
        change_metadata(contents, bounds={})

    with pytest.raises(ModelArchiveError, match=r"golden\.json is not valid: \d+\.loan\."):
        archive.read(rewrite(wide, tmp_path / "1.zip", change))


def test_same_bounds_are_the_same_contract() -> None:
    """Archives with the same bounds share their classes, which are made once."""
    first, second = (contract.widen({"loan_amount": (500.0, float(high))}) for high in (LARGEST, LARGEST))
    assert first is second


def to_bodies(loan: dict[str, Any]) -> dict[str, Any]:
    """A loan as each model is asked for it."""
    return {MODELS[0]: loan, MODELS[1]: loan, MODELS[2]: {"loans": [EXAMPLE_LOAN, loan]}}


def expect(path: Path) -> dict[str, Any]:
    """What an archive's models answer to the later loan, as JSON."""
    models: tuple[Any, ...] = (CreditRiskModel(str(path)), CreditRiskExplanation(str(path)), CreditRiskBatch(str(path)))
    bodies = to_bodies(LATER_LOAN)
    return {
        model.qualified_name: model.predict(model.input_schema.model_validate(bodies[model.qualified_name])).model_dump(
            mode="json"
        )
        for model in models
    }
