import dataclasses
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from conftest import HYPERPARAMETERS

from credit_risk_model import archive
from credit_risk_model.booster import Booster
from credit_risk_model.errors import ConfigurationError, DataError, ModelRefusedError
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.training import gate, pipeline
from credit_risk_model.training.fitting import Split
from credit_risk_model.training.pipeline import Settings, Training
from credit_risk_model.training.validation import CheckOutcome

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(book_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, Path]:
    """A whole training of the small book, and its archive."""
    folder = tmp_path_factory.mktemp("trained")
    training = Training(
        Settings(
            data=book_path,
            output=folder / "1.zip",
            max_iter=2,
            max_trees=40,
            max_leaves=31,
            search_log=folder / "search.log",
        )
    )
    return training, training.run()


def repackage(trained: Training, **settings: Any) -> Training:
    """The same trained model, to be packaged under other settings."""
    other = Training(dataclasses.replace(trained.settings, **settings))
    kept = {name: value for name, value in vars(trained).items() if name != "settings"}
    other.__dict__.update(kept | {"done": set(trained.done), "metrics": dict(trained.metrics)})
    return other


def test_archive_gives_the_fitted_models_own_probabilities(trained: tuple[Training, Path]) -> None:
    """Read back through the served model, the test set's loans get the fitted estimator's probabilities."""
    training, path = trained
    loans = training.test_loans()
    model = CreditRiskModel(archive=str(path))
    served = np.array([model.predict(loan).risk_probability for loan in loans])
    np.testing.assert_allclose(served, training.predict_loans(loans), rtol=0, atol=1e-12)
    assert len(loans) == len(training.split.test)
    assert len(set(served)) > 100


def test_nothing_is_chosen_by_the_test_set(trained: tuple[Training, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds and fit get no loan of the test set, in any of the splits."""
    seen: list[set[int]] = []

    def spy(name: str, position: int) -> None:
        real = getattr(pipeline.fitting, name)

        def call(*arguments: Any, **settings: Any) -> Any:
            seen.append(set(arguments[position].index))
            return real(*arguments, **settings)

        monkeypatch.setattr(pipeline.fitting, name, call)

    for name in ("predict_out_of_fold", "fit"):
        spy(name, position=0)
    training = repackage(trained[0])
    training.hyperparameters = HYPERPARAMETERS  # what is fitted does not matter here, but on which loans
    training.fit()
    assert len(seen) >= 2
    assert all(index == set(training.split.training.index) for index in (seen[0], seen[-1]))
    assert not set.union(*seen) & set(training.split.test.index)
    seen.clear()
    training.other_splits()
    for seed in pipeline.SPLIT_SEEDS:
        drawn = pipeline.fitting.split(training.loans, seed)
        assert set(drawn.training.index) in seen


def test_archive_says_what_it_was_made_from(trained: tuple[Training, Path], book_path: Path) -> None:
    """The metadata holds data, seed, cleaning, ranges, cut-off, figures, checks and versions."""
    training, path = trained
    metadata = archive.read(path).metadata
    assert metadata.data.model_dump() == {
        "kind": "synthetic",
        "file": book_path.name,
        "sha256": archive.sha256(book_path.read_bytes()),
        "rows": 4000,
        "age": training.age,
    }
    assert "2016-01, the latest last_credit_pull_d" in training.age
    assert (metadata.model_version, metadata.seed, metadata.cut_off) == ("1", 42, training.cut_off)
    assert [record.rows for record in metadata.cleaning] == training.steps["rows"].tolist()
    column = training.split.training["loan_amount"]
    for record in metadata.models.values():
        amounts = next(feature for feature in record.features if feature.name == "loan_amount")
        assert (amounts.minimum, amounts.maximum) == (column.min(), column.max())
    assert set(metadata.metrics) == {
        *("ended_share", "test", "test_running", "segments", "age_withheld", "baseline", "rule", "out_of_fold"),
        *("cut_offs", "cost_ratio", "dollar", "perfect_payers", "out_of_time", "source_left_out", "split_seeds"),
    }
    assert set(metadata.metrics["split_seeds"]) == {"42", "1", "2", "mean"}
    assert set(metadata.checks) == {"data_integrity", "train_test_validation", "model_evaluation"}
    assert all(suite["passed"] > 0 for suite in metadata.checks.values())
    assert metadata.libraries["lightgbm"]
    assert {name: record.hyperparameters for name, record in metadata.models.items()} == training.hyperparameters


def test_nobody_takes_synthetic_data_for_real(trained: tuple[Training, Path]) -> None:
    """The card of a model of synthetic loans begins by saying so."""
    with zipfile.ZipFile(trained[1]) as contents:
        card = contents.read(archive.CARD).decode()
    assert "SYNTHETIC DATA. This model was trained on a made-up loan book" in card.split("##")[0]


def test_card_states_limits_and_figures(trained: tuple[Training, Path]) -> None:
    """The card leads with running loans, says what the model is not for, and its figures are those of the metadata."""
    training, path = trained
    with zipfile.ZipFile(path) as contents:
        card = contents.read(archive.CARD).decode()
    assert "how a running loan stands now, not what will become of it" in card
    assert "It decides no applications" in card
    running = training.metrics["segments"]["running"]
    assert card.index("running loans, random split") < card.index("all loans, random split")
    assert f"{running['auc']:.4f}" in card
    assert f"A loan is risky from {training.cut_off} on" in card
    assert "Owner: not named. Approved by: nobody yet." in card


def test_card_names_owner_approver_and_former_model(trained: tuple[Training, Path], tmp_path: Path) -> None:
    """Who owns the model and who approved it is in the card, and so are the figures of the model that it follows."""
    (tmp_path / "1.zip").write_bytes(trained[1].read_bytes())
    following = repackage(trained[0], output=tmp_path / "2.zip", owner="Risk", approved_by="A. N. Other")
    with zipfile.ZipFile(following.package()) as contents:
        card = contents.read(archive.CARD).decode()
    assert "Owner: Risk. Approved by: A. N. Other." in card
    assert "It follows 1.zip, which recorded of its own test set:" in card


def test_synthetic_warning_is_for_synthetic_data_only(trained: tuple[Training, Path]) -> None:
    """A card of real loans does not warn of synthetic ones."""
    real = repackage(trained[0])
    real.synthetic = False
    assert "SYNTHETIC" not in real._card(real._metadata(trained[1]))


def test_reports_show_no_borrowers_row(trained: tuple[Training, Path], loans: pd.DataFrame) -> None:
    """No page of the archive holds two amounts of the same loan, as the data has them, to the cent.

    One alone may be a quantile or an extreme of its column, which are aggregates.
    """
    with zipfile.ZipFile(trained[1]) as contents:
        texts = {name: contents.read(name).decode() for name in contents.namelist() if name.endswith((".html", ".md"))}
    assert len(texts) == 5
    amounts = loans[["total_payments_to_date", "last_payment_amount"]]
    # Amounts with cents and three digits before them don't turn up by chance.
    telling = amounts[((amounts > 100) & (amounts * 10 % 1 > 0.05)).all(axis="columns")]
    telling = telling[telling.nunique(axis="columns") == 2].astype(str)
    assert len(telling) > 2000
    for name, text in texts.items():
        shown = set(re.findall(r"(?<![\d.])\d+\.\d+", unquote(text)))  # pages hold percent-encoded parts
        assert not telling.isin(shown).all(axis="columns").any(), name


def test_model_that_falls_short_is_refused(trained: tuple[Training, Path], tmp_path: Path) -> None:
    """A model worse than the defaults is not packaged, and nothing is written."""
    worse = repackage(trained[0], output=tmp_path / "1.zip")
    figures = worse.metrics["out_of_fold"]["age_known"]["all"]
    better = {"age_known": {"all": {**figures, "auc": figures["auc"] + 0.05}}}
    worse.metrics["baseline"] = {**worse.metrics["baseline"], "out_of_fold": better}
    with pytest.raises(ModelRefusedError, match=r"AUC on all loans .* of LightGBM's defaults"):
        worse.package()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", gate.STEPS)
def test_model_of_which_a_step_was_left_out_is_refused(
    step: str, trained: tuple[Training, Path], tmp_path: Path
) -> None:
    """What was not looked at does not pass."""
    hasty = repackage(trained[0], output=tmp_path / "1.zip")
    assert step in hasty.done
    hasty.done.remove(step)
    with pytest.raises(ModelRefusedError, match=f"the step {step} was left out"):
        hasty.package()


def test_model_worse_than_the_one_it_follows_is_refused(trained: tuple[Training, Path], tmp_path: Path) -> None:
    """A model that is clearly worse than the last archive of its folder, on the same data, is not packaged."""
    training, path = trained
    (tmp_path / "4.zip").write_bytes(path.read_bytes())
    following = repackage(training, output=tmp_path / "5.zip")
    figures = training.metrics["out_of_fold"]["age_withheld"]["all"]
    following.metrics["baseline"] = {**following.metrics["baseline"], "out_of_fold": {}}
    for loss in (0.05, 0.002):
        lower = {**figures, "auc": figures["auc"] - loss}
        following.metrics["out_of_fold"] = {**training.metrics["out_of_fold"], "age_withheld": {"all": lower}}
        if loss > 0.01:
            with pytest.raises(ModelRefusedError, match=r"that of 4\.zip"):
                following.package()
            assert sorted(file.name for file in tmp_path.iterdir()) == ["4.zip"]
    assert following.package() == tmp_path / "5.zip"


def test_model_of_other_data_is_compared_on_the_same_loans(trained: tuple[Training, Path], archive_path: Path) -> None:
    """A former model of another file is measured on these loans, not by its own record."""
    following = repackage(trained[0])
    following._former, following._former_name = archive.read(archive_path), "1.zip"
    assert following._former.metadata.metrics == {}
    found = following._figures_of_former()
    # It was trained on these very loans, whole: it must rank them well.
    assert 0.9 < found["age_known"]["all"]["auc"] < 1
    assert 0.8 < found["age_withheld"]["all"]["auc"] < 1


def test_former_model_that_gives_no_number_is_not_compared_with(
    trained: tuple[Training, Path], archive_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A former archive that answers NaN is named in one line, and does not stop the training that follows it."""
    following = repackage(trained[0])
    former = archive.read(archive_path)
    with zipfile.ZipFile(archive_path) as source:
        text = source.read(archive.MODEL_WITHOUT_AGE).decode()
    spoilt = Booster(re.sub(r"(?<=leaf_value=)\S+", "nan", re.sub(r"\ntree_sizes=.*", "", text)))
    model = dataclasses.replace(former.without_age, booster=spoilt)
    following._former = dataclasses.replace(former, without_age=model)
    following._former_name = "1.zip"
    assert following._figures_of_former() is None
    assert "can't be compared with 1.zip, which it follows: The model's answer is nan" in caplog.text


def test_end_of_a_training_says_what_to_do(trained: tuple[Training, Path]) -> None:
    """Path and digest stand in two lines of YAML, ready to paste, and the figures beside those of the arrears rule."""
    training, path = trained
    lines = training.next_steps().splitlines()
    assert f"      archive: {path}" in lines
    assert f"      sha256: {archive.sha256(path.read_bytes())}" in lines
    summary = training.summary()
    assert summary.columns.tolist()[:2] == ["1.zip", "arrears rule"]
    assert summary.loc["AUC, running loans", "1.zip"] == round(training.metrics["segments"]["running"]["auc"], 4)


def test_loans_without_age_train_and_say_so(book_path: Path, tmp_path: Path) -> None:
    """A file that does not tell the loans' age gives an archive with the one model, and a card that says it."""
    ageless = pd.read_csv(book_path, dtype=str, keep_default_na=False).drop(columns=["issue_d"])
    ageless.to_csv(tmp_path / "loan.csv", index=False)
    training = Training(
        Settings(
            data=tmp_path / "loan.csv",
            output=tmp_path / "1.zip",
            max_iter=1,
            max_trees=40,
            max_leaves=31,
            search_log=tmp_path / "log",
        )
    )
    found = archive.read(training.run())
    assert found.with_age is None
    assert "not known: the file has no issue_d" in found.metadata.data.age
    with zipfile.ZipFile(tmp_path / "1.zip") as contents:
        assert "Not measured: no loan's age is known." in contents.read(archive.CARD).decode()


def test_cut_off_by_cost_is_lower_where_missing_is_dear(trained: tuple[Training, Path]) -> None:
    """With a ratio of costs the cut-off is the cheapest one, and the table tells the cost of each."""
    dear = repackage(trained[0], cost_ratio=20)
    dear.fit()
    assert dear.cut_off <= trained[0].cut_off
    table = pd.DataFrame(dear.metrics["cut_offs"]).set_index("cut_off")["expected_cost"]
    assert table[dear.cut_off] == table.min()


@pytest.mark.parametrize("wrong", [{"cost_ratio": 0}, {"cost_ratio": "5"}, {"as_of": "soon"}, {"max_iter": 0}])
def test_impossible_setting_is_refused_before_the_work(wrong: dict[str, Any], book_path: Path) -> None:
    """A setting that can't be is refused when the training is made."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Training(Settings(data=book_path, **wrong))


def test_former_archive_that_can_not_be_compared_stops_nothing(
    trained: tuple[Training, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged archive beside it, or one of another kind of data, is no reason not to package."""
    (tmp_path / "1.zip").write_bytes(b"damaged")
    following = repackage(trained[0], output=tmp_path / "2.zip")
    assert following.package() == tmp_path / "2.zip"
    assert "can't be compared with 1.zip" in caplog.text


def test_missing_data_is_an_error_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the setting or LOAN_DATA names must exist; nothing else is taken in its place."""
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        Training(Settings(data=tmp_path / "none.csv")).read()
    monkeypatch.setenv("LOAN_DATA", str(tmp_path / "other.csv"))
    with pytest.raises(DataError, match=r"other\.csv: no such file"):
        Training(Settings()).read()


def test_without_data_a_synthetic_book_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there is no data file, the training says so and makes up a book."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOAN_DATA", raising=False)
    training = Training(Settings(synthetic_rows=500))
    assert "training on a SYNTHETIC loan book of 500 loans" in caplog.text
    training.read()
    assert training.synthetic
    assert len(training.loans) == 500
    assert training.data == pipeline.SYNTHETIC_DATA


def test_command_line_trains_and_reports_errors(tmp_path: Path) -> None:
    """The command's error is one line, and its exit code tells."""
    command = [sys.executable, "-m", "credit_risk_model.training.pipeline", "--data", str(tmp_path / "none.csv")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "python -m credit_risk_model.training.pipeline: none.csv: no such file. "
        "Run `make data`, or set LOAN_DATA to a loan.csv."
    )


def test_failed_checks_are_explained(trained: tuple[Training, Path]) -> None:
    """Every condition that did not pass comes with a reason why that is acceptable, or with a call to look."""
    few = repackage(trained[0])
    few.split = Split(few.split.training.head(600), few.split.test.head(200))
    shown = few.check_split()
    assert not shown.empty
    assert shown.columns[-1] == "why that is acceptable"


def test_reason_is_given_for_the_known_outcome_only() -> None:
    """A reason holds for one check on one data set with one status; the same check elsewhere is not excused."""
    outcome = CheckOutcome("model_evaluation", "Weak Segments Performance - Train Dataset", "", "error", "")
    assert "too few errors" in pipeline.why_acceptable(outcome)
    for change in ({"check": "Weak Segments Performance - Test Dataset"}, {"status": "failed"}):
        assert pipeline.why_acceptable(dataclasses.replace(outcome, **change)) == "Not known: look into it."
