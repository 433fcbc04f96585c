"""Archives whose digests fit, with models that LightGBM never wrote."""

import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from conftest import ROOT, SHIPPED
from processes import Service

from credit_risk_model import archive, features, trial
from credit_risk_model.booster import Booster
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.prediction.batch import CreditRiskBatch
from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import CreditRiskBatchInput, CreditRiskExplanationInput, CreditRiskModelInput
from credit_risk_model.scoring.command_line import FAILED, main
from credit_risk_model.trees import check_trees

Contents = dict[str, bytes]

LINES = (
    *("num_class", "num_tree_per_iteration", "max_feature_idx", "objective", "feature_infos", "tree_sizes"),
    *("num_leaves", "num_cat", "split_feature", "threshold", "decision_type", "left_child", "right_child"),
    *("leaf_value", "leaf_count", "internal_count", "cat_boundaries", "cat_threshold", "is_linear"),
)
"""What LightGBM takes sizes, places and answers from."""

DAMAGES: dict[str, Callable[[list[str]], list[str]]] = {
    "nan": lambda values: ["nan", *values[1:]],
    "negative": lambda values: ["-7", *values[1:]],
    "beyond": lambda values: [*values[:-1], "999999"],
    "huge": lambda values: ["2147483647"] * len(values),
    "none": lambda values: [],
    "short": lambda values: values[: len(values) // 2],
}


def contents_of(path: Path) -> Contents:
    """The files of an archive."""
    with zipfile.ZipFile(path) as source:
        return {name: source.read(name) for name in source.namelist()}


def pack(path: Path, contents: Contents) -> Path:
    """Write an archive whatever it holds, with the digests as they should be."""
    metadata = json.loads(contents[archive.METADATA])
    metadata["files"] = {name: archive.sha256(text) for name, text in contents.items() if name != archive.METADATA}
    with zipfile.ZipFile(path, "w") as target:
        for name in archive.CONTENTS:
            target.writestr(name, json.dumps(metadata) if name == archive.METADATA else contents[name])
    return path


def change_line(model: str, name: str, change: Callable[[list[str]], list[str]]) -> str:
    """Change the first line of a name, and the first tree's size as it should then be."""
    start = model.index(f"\n{name}=") + len(name) + 2
    end = model.index("\n", start)
    changed = model[:start] + " ".join(change(model[start:end].split(" "))) + model[end:]
    if start < model.index("\nTree=0\n"):
        return changed
    longer = len(changed) - len(model)
    return change_line(changed, "tree_sizes", lambda sizes: [str(int(sizes[0]) + longer), *sizes[1:]])


def crafted(model: str) -> Iterator[tuple[str, str]]:
    """Models that are damaged in one place each, with what was done."""
    for name in LINES:
        for damage, change in DAMAGES.items():
            yield f"{name}: {damage}", change_line(model, name, change)
    for name in ("tree_sizes", "num_leaves", "left_child", "leaf_value", "cat_threshold"):
        yield f"{name}: no such line", model.replace(f"\n{name}=", f"\nno_{name}=", 1)
    yield "a circle of nodes", change_line(model, "left_child", lambda nodes: ["0", *nodes[1:]])
    yield "leaves in the wrong order", change_line(model, "right_child", lambda nodes: nodes[::-1])
    yield "one leaf of many", change_line(model, "num_leaves", lambda _: ["1"])
    yield "linear without coefficients", change_line(model, "is_linear", lambda _: ["1"])
    yield "wrong size", change_line(model, "tree_sizes", lambda sizes: sizes[::-1])
    yield "no end", model.replace("\nend of trees\n", "\n")
    yield "no trees", model[: model.index("\nTree=0\n")] + model[model.index("\nend of trees\n") :]
    yield "an empty tree", model[: model.index("\nnum_leaves=")] + model[model.index("\n\nTree=1\n") :]


@pytest.fixture(scope="module")
def contents() -> Contents:
    """A valid archive's files, whose models have two trees each, with categories."""
    found = contents_of(SHIPPED) | dict.fromkeys(archive.CONTENTS[4:], b"")
    shipped = archive.read(SHIPPED)
    loans = [golden.loan for golden in shipped.golden]
    boosters = {}
    for wanted, file in archive.MODELS.items():
        text = lgb.Booster(model_str=found[file].decode()).model_to_string(num_iteration=2)
        found[file], boosters[wanted] = text.encode(), Booster(text)
    models = [shipped.model_for(loan).features for loan in loans]
    probabilities = [
        boosters[model.name].predict_row(model.encode_loan(loan)) for model, loan in zip(models, loans, strict=True)
    ]
    return found | {archive.GOLDEN: archive.golden_json(loans, probabilities)}


def with_model(contents: Contents, change: Callable[[str], str]) -> Contents:
    """The files with another model for loans of known age."""
    return contents | {archive.MODEL: change(contents[archive.MODEL].decode()).encode()}


def test_no_crafted_model_takes_the_process_along(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with a model: reading refuses it in one line, or it answers with probabilities."""
    monkeypatch.setattr(trial, "LIMIT", 20.0)
    rows = np.random.default_rng(1).choice(
        [-1.0, 0.0, 1.0, 7.0, 1e5, float("nan")], (50, len(features.AGE_KNOWN.names))
    )

    def read(number: int, model: str) -> tuple[str, archive.Archive | None]:
        path = pack(tmp_path / f"{number}.zip", with_model(contents, lambda _: model))
        try:
            return "", archive.read(path)
        except ModelArchiveError as error:
            return str(error).removeprefix(f"{path.name}: "), None

    kinds, models = zip(*crafted(contents[archive.MODEL].decode()), strict=True)
    with ThreadPoolExecutor(4) as pool:
        outcomes = dict(zip(kinds, pool.map(read, range(len(models)), models), strict=True))
    for message, found in outcomes.values():
        if found is None:
            assert message
            assert "\n" not in message
            assert message.endswith("released.") or "train again" in message
        else:
            assert found.with_age is not None
            for row in rows.tolist():
                assert 0 <= found.with_age.booster.predict_row(row) <= 1
                assert np.isfinite(found.with_age.booster.contributions(row)).all()
    messages = {kind: message for kind, (message, _) in outcomes.items()}
    assert messages["no trees"].startswith("model.txt has no trees. ")
    assert messages["leaf_value: nan"].startswith("model.txt has wrong leaf_value in tree 0. ")
    assert messages["wrong size"].startswith("model.txt has trees whose sizes differ from tree_sizes. ")
    assert messages["a circle of nodes"].startswith("model.txt has wrong left_child or right_child in tree 0. ")
    assert messages["linear without coefficients"].startswith("model.txt has wrong is_linear in tree 0. ")
    assert messages["max_feature_idx: short"].startswith("LightGBM refuses the model: Wrong size of feature_names. ")
    assert messages["num_tree_per_iteration: negative"].startswith("LightGBM crashes on its models (SIG")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "NAN", "1e999", "infinity", "x", "0x1p3", "1_0"])
@pytest.mark.parametrize("pinned", [True, False])
def test_leaf_that_is_no_finite_number_is_refused(
    number: str, pinned: bool, contents: Contents, tmp_path: Path
) -> None:
    """A leaf's value is a finite number, also of a leaf that no golden loan gets to, and in a pinned archive."""
    changed = with_model(contents, lambda text: change_line(text, "leaf_value", lambda values: [*values[:-1], number]))
    path = pack(tmp_path / "1.zip", changed)
    with pytest.raises(
        ModelArchiveError, match=r"^1\.zip: model\.txt has wrong (leaf_value|lines) in tree 0\. Train and"
    ):
        archive.read(path, archive.sha256(path.read_bytes()) if pinned else None)


def test_line_that_is_there_twice_is_refused(contents: Contents, tmp_path: Path) -> None:
    """Of two lines of one name nobody knows which one LightGBM takes."""
    changed = with_model(
        contents, lambda text: change_line(text, "shrinkage", lambda values: [*values, "\nleaf_value =nan"])
    )
    with pytest.raises(ModelArchiveError, match=r"model\.txt has wrong lines in tree 0"):
        archive.read(pack(tmp_path / "1.zip", changed))


def test_threshold_may_be_infinite_but_not_nan(contents: Contents, tmp_path: Path) -> None:
    """LightGBM tells known from unknown by an infinite threshold, and writes it; NaN it never writes."""
    assert b" inf " in contents_of(SHIPPED)[archive.MODEL]
    changed = with_model(contents, lambda text: change_line(text, "threshold", lambda values: [*values[:-1], "nan"]))
    with pytest.raises(ModelArchiveError, match="has wrong threshold in tree 0"):
        archive.read(pack(tmp_path / "1.zip", changed))


def test_tree_of_one_leaf_is_a_tree() -> None:
    """A training that finds nothing to split writes trees of one leaf, which are sound."""
    data = lgb.Dataset(np.zeros((50, 2)), np.arange(50) % 2, params={"feature_pre_filter": False})
    constant = lgb.train({"objective": "binary", "verbose": -1}, data, 2).model_to_string().encode()
    assert b"num_leaves=1\n" in constant
    check_trees(constant, 2)


def test_model_that_gives_no_probabilities_is_refused(contents: Contents, tmp_path: Path) -> None:
    """Another objective's answers may be any number."""
    changed = with_model(contents, lambda text: text.replace("objective=binary sigmoid:1", "objective=regression"))
    with pytest.raises(ModelArchiveError, match=r"model\.txt is not a binary classifier"):
        archive.read(pack(tmp_path / "1.zip", changed))


def test_trial_has_an_end(contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that LightGBM does not get done with are refused in one line."""
    monkeypatch.setattr(trial, "LIMIT", 0.01)
    other = with_model(contents, lambda text: text.replace("learning_rate: ", "learning_rate: 0"))
    with pytest.raises(ModelArchiveError, match=r"^1\.zip: LightGBM takes more than 0\.01 seconds for its models\."):
        archive.read(pack(tmp_path / "1.zip", other))


def test_trial_needs_a_process(contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be started, an archive that is not pinned is refused in one line, and a pinned one is read."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    other = with_model(contents, lambda text: text.replace("learning_rate: ", "learning_rate: 00"))
    path = pack(tmp_path / "1.zip", other)
    with pytest.raises(ModelArchiveError, match=r"^1\.zip: The process that tries its models can't be started \(No"):
        archive.read(path)
    assert archive.read(path, archive.sha256(path.read_bytes())).golden


def test_trial_imports_no_more_than_it_needs() -> None:
    """The child process does without pydantic and all that the parent needs beside LightGBM's library."""
    program = (
        "import sys; from credit_risk_model import trial; print(*{'pydantic', 'numpy', 'lightgbm'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("left_child", lambda nodes: ["0", *nodes[1:]]),
        ("right_child", lambda nodes: ["0"] * len(nodes)),
        ("split_feature", lambda columns: ["2147483647"] * len(columns)),
        ("num_leaves", lambda _: ["2000000000"]),
    ],
)
def test_crash_stays_in_the_child(line: str, change: Callable[[list[str]], list[str]], contents: Contents) -> None:
    """What the texts are not checked for and LightGBM crashes on ends the child alone, with the signal's name."""
    text = change_line(contents[archive.MODEL].decode(), line, change)
    with pytest.raises(ModelArchiveError, match=r"^LightGBM crashes on its models \(SIG\w+\)\. Train and package"):
        trial.try_models([(text, [])])


def test_child_tries_what_golden_loans_do_not_reach(contents: Contents) -> None:
    """A leaf that gives no number is found by the contributions, which go through every node."""
    text = change_line(contents[archive.MODEL].decode(), "leaf_count", lambda counts: ["0"] * len(counts))
    with pytest.raises(ModelArchiveError, match=r"^The model's output is nan, not a finite number\. Train and package"):
        trial.try_models([(text, [])])


def test_archives_can_be_tried_by_many_threads(contents: Contents, tmp_path: Path) -> None:
    """Eight threads that read a crashing archive and a good one each get the right outcome."""
    good = pack(tmp_path / "1.zip", contents)
    crashing = with_model(contents, lambda text: change_line(text, "num_tree_per_iteration", lambda _: ["-7"]))
    bad = pack(tmp_path / "2.zip", crashing)
    together = threading.Barrier(8)

    def read(number: int) -> bool:
        together.wait()
        try:
            return bool(archive.read(bad if number % 2 else good).golden)
        except ModelArchiveError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [True, False] * 4


@pytest.fixture
def answerless(contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive that gives NaN to any loan: no check lets one in, so what is read has its boosters exchanged."""
    path = pack(tmp_path / "1.zip", contents)
    sound = archive.read(path)

    def spoil(model: archive.LoadedModel) -> archive.LoadedModel:
        text = contents[archive.MODELS[model.features.name]].decode()
        leaves = change_line(text, "leaf_value", lambda values: ["nan"] * len(values))
        return replace(model, booster=Booster(leaves))

    assert sound.with_age is not None
    spoilt = replace(sound, with_age=spoil(sound.with_age), without_age=spoil(sound.without_age))
    for name in ("read", "read_shared"):
        monkeypatch.setattr(archive, name, lambda *_: spoilt)
    return path


def test_no_answer_is_given_that_is_no_number(answerless: Path) -> None:
    """A loan, its reasons and a batch end with an error, which a service answers as any fault, and not with a NaN."""
    loan = CreditRiskModelInput.model_validate(EXAMPLE_LOAN)
    questions: tuple[tuple[Any, Any], ...] = (
        (CreditRiskModel(str(answerless)), loan),
        (CreditRiskExplanation(archive=str(answerless)), CreditRiskExplanationInput.model_validate(EXAMPLE_LOAN)),
        (CreditRiskBatch(archive=str(answerless)), CreditRiskBatchInput(loans=(loan,) * 300)),
    )
    for model, question in questions:
        with pytest.raises(
            ModelArchiveError, match=r"^The model's output is nan, not a finite number\. Train and package"
        ):
            model.predict(question)


def test_no_file_is_written_of_what_is_no_number(
    answerless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Scoring a file ends in one line and the exit code of an error, and leaves no file."""
    source = tmp_path / "loans.csv"
    source.write_text(",".join(EXAMPLE_LOAN) + "\n" + ",".join(map(str, EXAMPLE_LOAN.values())) + "\n")
    output = tmp_path / "scores.csv"
    assert main([str(source), "--output", str(output), "--archive", str(answerless)]) == FAILED
    assert [record.getMessage() for record in caplog.records] == [
        "The model's output is nan, not a finite number. "
        "Train and package it again, or restore it from where it was released."
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.zip", "loans.csv"]


def test_contributions_are_numbers(contents: Contents) -> None:
    """What would lead to a NaN among the reasons is an error."""
    text = change_line(contents[archive.MODEL].decode(), "internal_count", lambda counts: ["0"] * len(counts))
    booster = Booster(text)
    row = [0.0] * booster.feature_count
    assert 0 < booster.predict_row(row) < 1
    with pytest.raises(ModelArchiveError, match="The model's output is nan, not a finite number"):
        booster.contributions(row)


def test_service_does_not_start_with_a_crashing_archive(
    contents: Contents, tmp_path: Path, start_service: Callable[..., Service]
) -> None:
    """A whole service stays alive and not ready, and says in one line why."""
    crashing = with_model(contents, lambda text: change_line(text, "num_tree_per_iteration", lambda _: ["-7"]))
    service = start_service(archive=str(pack(tmp_path / "1.zip", crashing)))
    service.wait_for("/api/health", status=503)
    assert (
        "The model credit_risk_model is not loaded: 1.zip: LightGBM crashes on its models (SIG"
        in service.log.read_text()
    )
    assert service.get("/api/health/ready")[0] == 503
    assert service.process.poll() is None
