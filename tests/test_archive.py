import json
import pickle
import re
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from conftest import HYPERPARAMETERS, Service

from credit_risk_model import archive
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.training.fitting import Fitted, fit
from credit_risk_model.training.packaging import make_model_files, predict_requests

Contents = tuple[dict[str, Any], dict[str, bytes]]


def rewrite(path: Path, target: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """Copy an archive with changed contents, so that only what `change` did is wrong with it."""
    with zipfile.ZipFile(path) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    change(contents)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for name, content in contents.items():
            copy.writestr(name, content)
    return target


def change_metadata(contents: dict[str, bytes], **changes: Any) -> None:
    """Change fields of the metadata, with the digests as they should then be."""
    metadata = json.loads(contents[archive.METADATA]) | changes
    metadata["files"] = {name: archive.sha256(text) for name, text in contents.items() if name != archive.METADATA}
    contents[archive.METADATA] = json.dumps(metadata).encode()


def change_models(contents: dict[str, bytes], change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the metadata's records of the models."""
    models = json.loads(contents[archive.METADATA])["models"]
    change(models)
    change_metadata(contents, models=models)


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


def test_same_content_gives_the_same_bytes(archive_contents: Contents, archive_path: Path, tmp_path: Path) -> None:
    """An archive's bytes depend on its content alone."""
    archive.write(tmp_path / "again.zip", *archive_contents)
    assert (tmp_path / "again.zip").read_bytes() == archive_path.read_bytes()


def test_failed_write_leaves_what_was_there(archive_contents: Contents, archive_path: Path, tmp_path: Path) -> None:
    """An archive that can't be read back is not written, and the one that was there stays."""
    metadata, files = archive_contents
    target = tmp_path / "1.zip"
    target.write_bytes(archive_path.read_bytes())
    golden = json.loads(files[archive.GOLDEN])
    golden[0]["risk_probability"] += 1e-9
    with pytest.raises(ModelArchiveError, match="golden loan 0 gets"):
        archive.write(target, metadata, {**files, archive.GOLDEN: json.dumps(golden).encode()})
    assert target.read_bytes() == archive_path.read_bytes()
    assert list(tmp_path.iterdir()) == [target]


def test_incomplete_content_is_not_written(archive_contents: Contents, tmp_path: Path) -> None:
    """A missing file or field stops the writing before anything is there."""
    metadata, files = archive_contents
    with pytest.raises(ModelArchiveError, match="lists other files than the archive has"):
        archive.write(tmp_path / "1.zip", metadata, {name: files[name] for name in files if name != archive.CARD})
    with pytest.raises(ModelArchiveError, match="metadata is not valid: cut_off"):
        archive.write(tmp_path / "1.zip", {**metadata, "cut_off": 1.0}, files)
    assert not list(tmp_path.iterdir())


def test_other_users_can_read_it(archive_path: Path) -> None:
    """The service may run as another user than the training."""
    assert archive_path.stat().st_mode & 0o777 == 0o644


def test_pinned_archive_is_read(archive_path: Path) -> None:
    """The archive whose digest is pinned is read, and says its digest, in whatever case it is pinned."""
    digest = archive.sha256(archive_path.read_bytes())
    assert archive.read(archive_path, digest.upper()).sha256 == digest
    assert archive.read_shared(archive_path, digest).sha256 == digest


@pytest.mark.parametrize("name", archive.CONTENTS[4:])
def test_pin_vouches_for_what_no_answer_comes_from(name: str, archive_path: Path, tmp_path: Path) -> None:
    """Reports and estimator of a pinned archive are not unpacked: its digest is that of every byte."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({name: b"other"}))
    pin = archive.sha256(path.read_bytes())
    assert archive.read(path, pin).sha256 == archive.read_shared(path, pin).sha256 == pin
    with pytest.raises(ModelArchiveError, match=f"{name} is not the file that was packaged"):
        archive.read(path)


@pytest.mark.parametrize("name", [archive.MODEL, archive.MODEL_WITHOUT_AGE, archive.GOLDEN])
def test_what_answers_come_from_is_checked_under_a_pin_too(name: str, archive_path: Path, tmp_path: Path) -> None:
    """A pinned archive was not packaged by us because of that: its model must be the one that its metadata names."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({name: b"other"}))
    with pytest.raises(ModelArchiveError, match=f"{name} is not the file that was packaged"):
        archive.read(path, archive.sha256(path.read_bytes()))


@pytest.mark.parametrize("read", [archive.read, archive.read_shared])
def test_archive_that_is_not_the_pinned_one_is_refused_unread(
    read: Any, archive_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other archive, also a valid one that was read before, is refused before anything in it is parsed."""
    archive.read_shared(archive_path)
    for content in (archive_path.read_bytes(), b"anything"):
        path = tmp_path / "1.zip"
        path.write_bytes(content)
        with monkeypatch.context() as patch:
            patch.delattr("zipfile.ZipFile")
            with pytest.raises(ModelArchiveError, match=rf"SHA-256 is {archive.sha256(content)}.* pins {'0' * 64}"):
                read(path, "0" * 64)


def test_file_larger_than_any_archive_is_refused(archive_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that no archive is as large as is not read to its end."""
    monkeypatch.setattr("credit_risk_model.archive.reading._MAX_BYTES", 1000)
    with pytest.raises(ModelArchiveError, match=r"1\.zip: larger than 1,000 bytes"):
        archive.read(archive_path)


def test_missing_archive_is_named(tmp_path: Path) -> None:
    """The error names the file and what to do."""
    with pytest.raises(ModelArchiveError, match=r"7\.zip: no such file.*make train"):
        archive.read(tmp_path / "7.zip")


def test_folder_is_no_archive(tmp_path: Path) -> None:
    """A folder in the archive's place is an error, not a crash."""
    with pytest.raises(ModelArchiveError, match="can't be read"):
        archive.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip", b"\x00" * 1000])
def test_file_that_is_no_zip_is_refused(content: bytes, tmp_path: Path) -> None:
    """Anything that is not a zip file is refused as such."""
    (tmp_path / "1.zip").write_bytes(content)
    with pytest.raises(ModelArchiveError, match="damaged, or not a zip file"):
        archive.read(tmp_path / "1.zip")


@pytest.mark.parametrize("name", archive.CONTENTS)
def test_missing_file_is_named(name: str, archive_path: Path, tmp_path: Path) -> None:
    """An archive without one of its files is refused with the file's name."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.pop(name))
    with pytest.raises(ModelArchiveError, match=f"missing, unknown or repeated: {name}"):
        archive.read(path)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "..\\evil", "C:\\evil", "./model.txt", "a/../model.txt", "MODEL.TXT", "more/"]
)
def test_unknown_file_is_refused(name: str, archive_path: Path, tmp_path: Path) -> None:
    """A file that no archive has is refused with its name, wherever it would lead, and none is written anywhere."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({name: b""}))
    with pytest.raises(ModelArchiveError, match=f"unknown or repeated: {re.escape(name)}"):
        archive.read(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["../model.txt", "/model.txt", "model.txt/", "model.txt "])
def test_file_under_another_name_is_refused(name: str, archive_path: Path, tmp_path: Path) -> None:
    """A name that only resembles that of a file is not that file."""
    path = rewrite(
        archive_path, tmp_path / "1.zip", lambda contents: contents.update({name: contents.pop(archive.MODEL)})
    )
    with pytest.raises(ModelArchiveError, match="missing, unknown or repeated"):
        archive.read(path)


def test_link_is_refused(archive_path: Path, tmp_path: Path) -> None:
    """A symbolic link in a file's place is refused, even where the metadata vouches for where it leads."""
    path = rewrite(archive_path, tmp_path / "1.zip", change_metadata)
    with zipfile.ZipFile(path) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    contents[archive.CARD] = b"/etc/passwd"
    change_metadata(contents)
    with zipfile.ZipFile(path, "w") as target:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name)
            if name == archive.CARD:
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            target.writestr(entry, content)
    with pytest.raises(ModelArchiveError, match=r"model_card\.md is a link"):
        archive.read(path)


def test_unknown_packing_is_refused(archive_path: Path, tmp_path: Path) -> None:
    """Only what the archive is written with, deflate, or nothing at all is unpacked."""
    path = tmp_path / "1.zip"
    with zipfile.ZipFile(archive_path) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(ModelArchiveError, match=r"metadata\.json has an unsupported compression"):
        archive.read(path)


def test_bomb_that_lies_about_its_size_is_refused(
    archive_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that unpacks to more than it states is refused, and no more of it is unpacked than it states."""
    monkeypatch.setattr("credit_risk_model.archive.reading._MAX_BYTES", 1_000_000)
    bomb = b"\0" * 200_000_000
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({archive.CARD: bomb}))
    size = len(bomb).to_bytes(4, "little")
    assert path.read_bytes().count(size) == 2  # in the file's own header, and in the directory
    path.write_bytes(path.read_bytes().replace(size, (1000).to_bytes(4, "little")))
    tracemalloc.start()
    try:
        with pytest.raises(ModelArchiveError, match="damaged, or not a zip file"):
            archive.read(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_repeated_file_is_refused(archive_path: Path, tmp_path: Path) -> None:
    """Two files of one name are refused: readers differ in which one they take."""
    path = tmp_path / "1.zip"
    path.write_bytes(archive_path.read_bytes())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as target:
        target.writestr(archive.CARD, b"another")
    with pytest.raises(ModelArchiveError, match="repeated: a file twice"):
        archive.read(path)


def test_bomb_is_refused_before_it_is_unpacked(
    archive_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file larger than any real one is refused by its stated size."""
    monkeypatch.setattr("credit_risk_model.archive.reading._MAX_BYTES", 1_000_000)
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({archive.CARD: b"0" * 1_000_001}))
    with pytest.raises(ModelArchiveError, match="unpacked larger than 1,000,000 bytes"):
        archive.read(path)


@pytest.mark.parametrize("name", [name for name in archive.CONTENTS if name != archive.METADATA])
def test_altered_file_is_named(name: str, archive_path: Path, tmp_path: Path) -> None:
    """Any file that differs from the packaged one, if only by a byte at its end, is refused by its digest."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({name: contents[name] + b" "}))
    with pytest.raises(ModelArchiveError, match=f"{name} is not the file that was packaged"):
        archive.read(path)


def test_unknown_format_is_named(archive_path: Path, tmp_path: Path) -> None:
    """An archive of another format number, as of a former release, is refused with both numbers and the cure."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: change_metadata(contents, format=1))
    with pytest.raises(
        ModelArchiveError, match=r"has format '1', but this release reads 2 and 3\. Train again \(`make train`\)"
    ):
        archive.read(path)


def test_archive_of_a_former_release_is_refused_by_its_format(archive_path: Path, tmp_path: Path) -> None:
    """An archive of format 1 holds other files; what is said is its format and the cure, not what is missing."""

    def make_old(contents: dict[str, bytes]) -> None:
        del contents[archive.MODEL_WITHOUT_AGE]
        change_metadata(contents, format=1)

    with pytest.raises(ModelArchiveError, match=r"has format '1', but this release reads 2 and 3\. Train again"):
        archive.read(rewrite(archive_path, tmp_path / "1.zip", make_old))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_damaged_metadata_is_refused(content: bytes, archive_path: Path, tmp_path: Path) -> None:
    """Metadata that is no JSON object with a format is damaged."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: contents.update({archive.METADATA: content}))
    with pytest.raises(ModelArchiveError, match=r"metadata\.json is damaged"):
        archive.read(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cut_off": "0.5x"}, "not valid: cut_off"),
        ({"surprise": 1}, "not valid: surprise"),
        ({"models": {}}, "has no model|does not describe"),
        ({"models": {"age_unknown": {"features": [], "hyperparameters": {}}}}, "does not describe"),
    ],
)
def test_wrong_metadata_is_refused(changes: dict[str, Any], words: str, archive_path: Path, tmp_path: Path) -> None:
    """A wrong, unknown or missing field of the metadata is named."""
    path = rewrite(archive_path, tmp_path / "1.zip", lambda contents: change_metadata(contents, **changes))
    with pytest.raises(ModelArchiveError, match=words):
        archive.read(path)


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


def structure(path: Path) -> tuple[list[int], dict[str, range]]:
    """Give the places of the zip's own structure in an archive's file, and of each content's packed bytes."""
    with zipfile.ZipFile(path) as source:
        packed = {}
        for entry in source.infolist():
            start = entry.header_offset + 30 + len(entry.filename)  # the header's fixed part has 30 bytes
            packed[entry.filename] = range(start, start + entry.compress_size)
    contents = {place for places in packed.values() for place in places}
    return [place for place in range(path.stat().st_size) if place not in contents], packed


def test_any_damaged_byte_is_refused_or_harmless(archive_path: Path, tmp_path: Path) -> None:
    """Whichever byte of the file is damaged: the archive is refused, or answers as before; nothing else is raised."""
    whole = archive_path.read_bytes()
    undamaged = archive.read(archive_path)
    answers = [undamaged.evaluate(golden.loan) for golden in undamaged.golden]
    path = tmp_path / "1.zip"
    rng = np.random.default_rng(1)
    headers, packed = structure(archive_path)
    assert len(headers) > 10 * (30 + 46) + 22  # ten files' headers, each twice, and the end
    assert list(packed) == list(archive.CONTENTS)
    places = [*headers]
    for content in packed.values():
        places += rng.choice(content, min(len(content), 50), replace=False).tolist()
    refused = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            found = archive.read(path)
        except ModelArchiveError as error:
            assert str(error).startswith("1.zip: ")  # noqa: PT017  # either outcome is right
            refused += 1
        else:
            assert [found.evaluate(golden.loan) for golden in found.golden] == answers
            assert found.metadata == undamaged.metadata
    assert refused > len(places) / 2


def test_truncated_archive_is_refused(archive_path: Path, tmp_path: Path) -> None:
    """An archive cut off anywhere is refused."""
    whole = archive_path.read_bytes()
    path = tmp_path / "1.zip"
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelArchiveError, match=r"1\.zip: damaged, or not a zip file"):
            archive.read(path)


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


def test_newest_archive_has_the_highest_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are compared as numbers, other names don't count, and the next one is free."""
    monkeypatch.setattr("credit_risk_model.archive.format.MODEL_FILES", tmp_path)
    assert archive.next_free(tmp_path) == tmp_path / "1.zip"
    with pytest.raises(ModelArchiveError, match="make train"):
        archive.newest()
    for name in ("2.zip", "10.zip", "010.zip", "11.txt", "x.zip"):
        (tmp_path / name).touch()
    assert archive.newest() == tmp_path / "10.zip"
    assert archive.next_free(tmp_path) == tmp_path / "11.zip"
