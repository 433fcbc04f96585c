import dataclasses
import re
import zipfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from credit_risk_model import archive
from credit_risk_model.errors import ModelRefusedError
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.training import fitting, gate, packaging
from credit_risk_model.training.figures import OutOfFoldFigures, Ranking
from credit_risk_model.training.former import find_former
from credit_risk_model.training.model_card import People
from credit_risk_model.training.pipeline import Settings, Training, run
from credit_risk_model.training.reports import CheckOutcome
from credit_risk_model.training.trained import Trained

NOBODY = People(None, None)


def package(output: Path, trained: Trained, people: People = NOBODY) -> Path:
    """Judge and package what was trained, as the last step does."""
    former = find_former(output, trained.data)
    verdict = gate.judge(trained.gather_evidence(former))
    return packaging.package(output, trained, verdict, people=people, former=former).path


def read_card(path: Path) -> str:
    """An archive's model card."""
    with zipfile.ZipFile(path) as contents:
        return contents.read(archive.CARD).decode()


def test_archive_gives_the_fitted_models_own_probabilities(finished: tuple[Training, Path]) -> None:
    """Read back through the served model, the test set's loans get the fitted estimator's probabilities."""
    training, path = finished
    loans = training.test_loans()
    model = CreditRiskModel(archive=str(path))
    served = np.array([model.predict(loan).risk_probability for loan in loans])
    np.testing.assert_allclose(served, training.predict_loans(loans), rtol=0, atol=1e-12)
    assert len(loans) == len(training.split.test)
    assert len(set(served)) > 100


def test_archive_says_what_it_was_made_from(finished: tuple[Training, Path], trained: Trained, book_path: Path) -> None:
    """The metadata holds data, seed, cleaning, ranges, cut-off, figures, checks and versions."""
    training, path = finished
    metadata = archive.read(path).metadata
    assert metadata.data.model_dump() == {
        "kind": "synthetic",
        "file": book_path.name,
        "sha256": archive.sha256(book_path.read_bytes()),
        "rows": 4000,
        "age": training.age,
    }
    assert "2016-01, the latest last_credit_pull_d" in training.age
    assert (metadata.model_version, metadata.seed, metadata.cut_off) == ("1", 42, trained.fit.cut_off)
    assert metadata.cleaning == trained.cleaning
    column = trained.split.training["loan_amount"]
    for record in metadata.models.values():
        amounts = next(feature for feature in record.features if feature.name == "loan_amount")
        assert (amounts.minimum, amounts.maximum) == (column.min(), column.max())
    assert set(metadata.metrics) == {
        *("ended_share", "test", "test_running", "segments", "age_withheld", "baseline", "rule", "out_of_fold"),
        *("cut_offs", "cost_ratio", "dollar", "perfect_payers", "out_of_time", "source_left_out", "split_seeds"),
    }
    assert metadata.metrics["test"]["auc"] == trained.measure().test.auc
    assert set(metadata.metrics["split_seeds"]) == {"42", "1", "2", "mean"}
    assert set(metadata.checks) == {"data_integrity", "train_test_validation", "model_evaluation"}
    assert all(suite["passed"] > 0 for suite in metadata.checks.values())
    assert metadata.libraries["lightgbm"]
    hyperparameters = {name: record.hyperparameters for name, record in metadata.models.items()}
    assert hyperparameters == trained.fit.recipe.hyperparameters


def test_archive_does_not_depend_on_the_machines_cores(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of a model that was fitted with other threads is the same to the last byte."""
    monkeypatch.setattr(fitting, "count_cores", lambda: 3)
    recipe = trained.fit.recipe
    again = fitting.fit(trained.split.training, recipe.hyperparameters, recipe.seed)
    files, others = (packaging.make_model_files(fitted, seed=1) for fitted in (trained.fit.fitted, again))
    for name in (archive.MODEL, archive.MODEL_WITHOUT_AGE, archive.GOLDEN):
        assert files[name] == others[name]


def test_nobody_takes_synthetic_data_for_real(finished: tuple[Training, Path]) -> None:
    """The card of a model of synthetic loans begins by saying so."""
    introduction = read_card(finished[1]).split("##")[0]
    assert "SYNTHETIC DATA. This model was trained on a made-up loan book" in introduction


def test_card_states_limits_and_figures(finished: tuple[Training, Path], trained: Trained) -> None:
    """The card starts with running loans, says what the model is not for, and has the metadata's figures."""
    card = read_card(finished[1])
    assert "how a running loan stands now. It does not forecast" in card
    assert "Do not use it to decide applications" in card
    assert card.index("running loans, random split") < card.index("all loans, random split")
    assert f"{trained.fit.segments['running'].auc:.4f}" in card
    assert f"A loan with a probability of {trained.fit.cut_off} or more is risky" in card
    assert "Owner: not named. Approved by: nobody yet." in card


def test_card_names_owner_approver_and_former_model(
    finished: tuple[Training, Path], trained: Trained, tmp_path: Path
) -> None:
    """Who owns the model and who approved it is in the card, and so are the figures of the model that it follows."""
    (tmp_path / "1.zip").write_bytes(finished[1].read_bytes())
    card = read_card(package(tmp_path / "2.zip", trained, People("Risk", "A. N. Other")))
    assert "Owner: Risk. Approved by: A. N. Other." in card
    assert "The former archive is 1.zip. Its figures on its own test set:" in card


def test_synthetic_warning_is_for_synthetic_data_only(trained: Trained, tmp_path: Path) -> None:
    """A card of real loans does not warn of synthetic ones."""
    passed = {
        name: dataclasses.replace(suite, outcomes=suite.passed)
        for name in ("integrity", "split", "model")
        for suite in (getattr(trained.reports, name),)
    }
    data = trained.data.model_copy(update={"kind": "loans"})
    real = dataclasses.replace(trained, data=data, reports=dataclasses.replace(trained.reports, **passed))
    assert "SYNTHETIC" not in read_card(package(tmp_path / "1.zip", real))


def test_reports_show_no_borrowers_row(finished: tuple[Training, Path]) -> None:
    """No page of the archive holds two amounts of the same loan, as the data has them, to the cent.

    One alone may be a quantile or an extreme of its column, which are aggregates.
    """
    with zipfile.ZipFile(finished[1]) as contents:
        texts = {name: contents.read(name).decode() for name in contents.namelist() if name.endswith((".html", ".md"))}
    assert len(texts) == 5
    amounts = finished[0].loans[["total_payments_to_date", "last_payment_amount"]]
    # Amounts with cents and three digits before them don't turn up by chance.
    telling = amounts[((amounts > 100) & (amounts * 10 % 1 > 0.05)).all(axis="columns")]
    telling = telling[telling.nunique(axis="columns") == 2].astype(str)
    assert len(telling) > 2000
    for name, text in texts.items():
        shown = set(re.findall(r"(?<![\d.])\d+\.\d+", unquote(text)))  # pages hold percent-encoded parts
        assert not telling.isin(shown).all(axis="columns").any(), name


def improve(figures: OutOfFoldFigures, answer: str, gain: float) -> OutOfFoldFigures:
    """Only a changed AUC on all loans."""
    ranking = figures.rankings()[answer, "all"]
    better = Ranking(auc=ranking.auc + gain, brier=ranking.brier)
    return OutOfFoldFigures.model_validate({answer: {"all": better.store()}})


def test_model_that_falls_short_is_refused(trained: Trained, tmp_path: Path) -> None:
    """A model worse than the defaults is not packaged, and nothing is written."""
    better = improve(trained.fit.out_of_fold, "age_known", 0.05)
    baseline = trained.baseline.model_copy(update={"out_of_fold": better})
    worse = dataclasses.replace(trained, baseline=baseline)
    with pytest.raises(ModelRefusedError, match=r"AUC on all loans .* of LightGBM's defaults"):
        package(tmp_path / "1.zip", worse)
    assert not list(tmp_path.iterdir())


def test_model_worse_than_the_one_it_follows_is_refused(
    finished: tuple[Training, Path], trained: Trained, tmp_path: Path
) -> None:
    """A model that is clearly worse than the last archive of its folder, on the same data, is not packaged."""
    (tmp_path / "4.zip").write_bytes(finished[1].read_bytes())
    baseline = trained.baseline.model_copy(update={"out_of_fold": OutOfFoldFigures()})
    for loss in (0.05, 0.002):
        lower = improve(trained.fit.out_of_fold, "age_withheld", -loss)
        worse = dataclasses.replace(trained, baseline=baseline, fit=dataclasses.replace(trained.fit, out_of_fold=lower))
        if loss > 0.01:
            with pytest.raises(ModelRefusedError, match=r"that of 4\.zip"):
                package(tmp_path / "5.zip", worse)
            assert sorted(file.name for file in tmp_path.iterdir()) == ["4.zip"]
        else:
            assert package(tmp_path / "5.zip", worse) == tmp_path / "5.zip"


def test_loans_without_age_train_and_say_so(book_path: Path, tmp_path: Path) -> None:
    """A file without the loans' age gives an archive with one model, and a card that says so."""
    ageless = pd.read_csv(book_path, dtype=str, keep_default_na=False).drop(columns=["issue_d"])
    ageless.to_csv(tmp_path / "loan.csv", index=False)
    settings = Settings(
        data=tmp_path / "loan.csv",
        output=tmp_path / "1.zip",
        search_log=tmp_path / "log",
        max_iter=1,
        max_trees=40,
        max_leaves=31,
    )
    found = archive.read(run(Training(settings)))
    assert found.with_age is None
    assert "not known: the file has no issue_d" in found.metadata.data.age
    assert "Not measured: no loan's age is known." in read_card(tmp_path / "1.zip")


def test_former_archive_that_can_not_be_compared_stops_nothing(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged former archive, or one of another kind of data, does not prevent packaging."""
    (tmp_path / "1.zip").write_bytes(b"damaged")
    assert package(tmp_path / "2.zip", trained) == tmp_path / "2.zip"
    assert "can't be compared with 1.zip" in caplog.text


def test_failed_checks_refuse_models_of_real_loans_only(trained: Trained) -> None:
    """Made-up loans correlate as they were made: what fails there without a reason is shown, and refuses nothing."""
    failed = CheckOutcome("data_integrity", "Feature Label Correlation", "PPS", "failed", "0.88")
    reports = dataclasses.replace(
        trained.reports, integrity=dataclasses.replace(trained.reports.integrity, outcomes=(failed,))
    )
    assert reports.unexplained
    made_up = dataclasses.replace(trained, reports=reports)
    assert made_up.gather_evidence(None).unexplained == ()
    real = dataclasses.replace(made_up, data=trained.data.model_copy(update={"kind": "loans"}))
    assert real.gather_evidence(None).unexplained == reports.unexplained
