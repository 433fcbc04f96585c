import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from credit_risk_model import booster, features
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.training.fitting import Fitted, make_feature_frame


@pytest.fixture(scope="module")
def rows(loans: pd.DataFrame) -> list[list[float]]:
    """500 loans as the model's rows."""
    frame = make_feature_frame(loans, features.AGE_UNKNOWN).head(500)
    codes = {name: frame[name].cat.codes.where(frame[name].notna()) for name in features.AGE_UNKNOWN.categories}
    return frame.assign(**codes).to_numpy(float).tolist()


@pytest.fixture(scope="module")
def estimator(fitted: Fitted) -> lgb.LGBMClassifier:
    """One of the two small models."""
    return fitted.without_age


def test_probabilities_are_lightgbms_own(estimator: lgb.LGBMClassifier, rows: list[list[float]]) -> None:
    """Every row gets the very bits that LightGBM's Python package gives it."""
    own = booster.Booster(estimator.booster_.model_to_string())
    expected = estimator.booster_.predict(rows, num_threads=1)
    assert [own.predict_row(row) for row in rows] == np.asarray(expected).tolist()
    assert len(set(expected)) > 50


def test_threads_do_not_disturb_each_other(estimator: lgb.LGBMClassifier, rows: list[list[float]]) -> None:
    """Eight threads that predict at once get what one gets alone."""
    own = booster.Booster(estimator.booster_.model_to_string())
    alone = [own.predict_row(row) for row in rows]
    together = threading.Barrier(8)

    def predict() -> list[float]:
        together.wait()
        return [own.predict_row(row) for row in rows]

    with ThreadPoolExecutor(8) as pool:
        results = [future.result() for future in [pool.submit(predict) for _ in range(8)]]
    assert results == [alone] * 8


def test_text_that_is_no_model_is_refused() -> None:
    """LightGBM's own words on what is wrong with a model become the error."""
    with pytest.raises(ModelArchiveError, match="LightGBM refuses the model: Model file doesn't specify"):
        booster.Booster("tree\nnot a model")


def test_model_of_many_classes_is_refused(loans: pd.DataFrame) -> None:
    """A model with an output for each of several classes is no binary classifier."""
    frame = make_feature_frame(loans, features.AGE_UNKNOWN)
    model = lgb.LGBMClassifier(n_estimators=1, verbose=-1).fit(frame, frame["employment_length"].cat.codes % 3)
    with pytest.raises(ModelArchiveError, match="3 outputs: a binary classifier has one"):
        booster.Booster(model.booster_.model_to_string())


def test_library_is_found_without_importing_the_package() -> None:
    """LightGBM's compiled library lies where `booster` looks first; the fallback finds the same one."""
    found = Path(booster._library_path())
    assert found.parent == Path(lgb.__file__).parent / "lib"
    assert Path(lgb.libpath._LIB._name).resolve() == found.resolve()


def test_library_elsewhere_is_found_through_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library is not at its usual place, the package says where it is."""
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert booster._library_path() == lgb.libpath._LIB._name
