"""Reads an archive: verifies it and reproduces its golden loans before it is used."""

import io
import json
import stat
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from weakref import WeakValueDictionary

from pydantic import ValidationError

from credit_risk_model import features
from credit_risk_model.archive.format import (
    CONTENTS,
    FORMATS,
    GOLDEN,
    GOLDEN_TOLERANCE,
    METADATA,
    MODEL,
    MODEL_WITHOUT_AGE,
    MODELS,
    GoldenLoan,
    Metadata,
    ModelRecord,
    current_name,
    first_error,
    golden_loans,
    sha256,
)
from credit_risk_model.archive.loaded import Archive, LoadedModel
from credit_risk_model.booster import CURE, Booster
from credit_risk_model.contract import Contract
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.trees import check_trees
from credit_risk_model.trial import try_models

_PREDICTION_FILES = (METADATA, MODEL, MODEL_WITHOUT_AGE, GOLDEN)
"""The files that are read from a pinned archive."""

_MAX_BYTES = 100_000_000  # bytes, unpacked: several times the size after training on the full file
_MAX_METADATA_BYTES = 10_000_000


def read(path: Path, pinned: str | None = None) -> Archive:
    """Read an archive, verify it, and reproduce the trained model's predictions.

    Args:
        path: The archive.
        pinned: SHA-256 of the expected archive, in hexadecimal; any other is refused before it is parsed. The digest
            covers every byte. So files that predictions do not use (reports, estimator) are not unpacked, and no child
            process tries the models, which takes most of the time of reading.

    Raises:
        ModelArchiveError: The archive is missing, not the expected one, damaged, of an unknown format or inconsistent
            with the contract, crashes LightGBM, or does not reproduce its golden loans' probabilities here.
    """
    content = _load(path)
    return verify(path, content, _check_pin(path, content, pinned), trusted=pinned is not None)


def read_contract(path: Path) -> Contract:
    """Read the contract of an archive from its metadata; the other files are not verified.

    Raises:
        ModelArchiveError: The metadata can't be read.
    """
    return _parse_metadata(path, _unpack(path, _load(path), (METADATA,))[METADATA]).contract


_shared: WeakValueDictionary[str, Archive] = WeakValueDictionary()
_shared_lock = threading.Lock()


def read_shared(path: Path, pinned: str | None = None) -> Archive:
    """Read an archive as `read` does, or return it if this process has read it and still uses it.

    The file's content decides, not its name: a replaced file is read again.

    Raises:
        ModelArchiveError: As from `read`.
    """
    with _shared_lock:
        content = _load(path)
        digest = _check_pin(path, content, pinned)
        archive = _shared.get(digest)
        if archive is None:
            archive = _shared[digest] = verify(path, content, digest, trusted=pinned is not None)
        return archive


def _load(path: Path) -> bytes:
    """Return the file's content. All checks use these bytes, even if the file changes afterwards."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ModelArchiveError(f"{path.name}: no such file. Name one that exists, or run `make train`.") from None
    except OSError as error:
        raise ModelArchiveError(f"{path.name}: can't be read ({error.strerror or error}).") from None
    if len(content) > _MAX_BYTES:
        raise ModelArchiveError(f"{path.name}: larger than {_MAX_BYTES:,} bytes. {CURE}")
    return content


def _check_pin(path: Path, content: bytes, pinned: str | None) -> str:
    """Return the content's digest, after comparing it with the pinned one."""
    digest = sha256(content)
    if pinned is not None and digest != pinned.lower():
        raise ModelArchiveError(
            f"{path.name}: its SHA-256 is {digest}, but the configuration pins {pinned[:64]}. "
            "Restore the expected archive, or pin this one if you trust it."
        )
    return digest


def verify(path: Path, content: bytes, digest: str, *, trusted: bool) -> Archive:
    """Verify an archive's bytes, and reproduce the trained model's predictions.

    Args:
        path: Its name, for error messages.
        content: The complete file.
        digest: Its SHA-256, in hexadecimal.
        trusted: Whether it is pinned. Then unused files are not unpacked, and no child process tries the models.

    Raises:
        ModelArchiveError: As from `read`.
    """
    wanted = _PREDICTION_FILES if trusted else CONTENTS
    contents = _unpack(path, content, wanted)
    metadata = _parse_metadata(path, contents[METADATA])
    if set(metadata.files) != set(CONTENTS) - {METADATA}:
        raise ModelArchiveError(f"{path.name}: {METADATA} lists other files than the archive has. {CURE}")
    for name in wanted:
        if name != METADATA and metadata.files.get(name) != sha256(contents[name]):
            raise ModelArchiveError(f"{path.name}: {name} is not the file that was packaged. {CURE}")
    present = [wanted for wanted in features.FEATURE_SETS if _check_model(path, metadata, wanted, contents)]
    if features.AGE_UNKNOWN not in present:
        raise ModelArchiveError(f"{path.name}: {METADATA} has no model for loans of unknown age. {CURE}")
    golden = _parse_golden(path, contents[GOLDEN], metadata.contract)
    texts = [contents[MODELS[wanted.name]].decode(errors="replace") for wanted in present]
    try:
        if not trusted:
            try_models([(text, _encode(wanted, golden)) for wanted, text in zip(present, texts, strict=True)])
        models = {wanted.name: _load_model(metadata, wanted, text) for wanted, text in zip(present, texts, strict=True)}
        archive = Archive(
            digest, metadata, models.get(features.AGE_KNOWN.name), models[features.AGE_UNKNOWN.name], golden
        )
        answers = [archive.evaluate(example.loan) for example in golden]
    except ModelArchiveError as error:
        raise ModelArchiveError(f"{path.name}: {error}") from None
    _compare_golden(path, golden, answers)
    return archive


def _check_model(path: Path, metadata: Metadata, wanted: features.FeatureSet, contents: Mapping[str, bytes]) -> bool:
    """Check the text of a feature set's model before LightGBM parses it; return False if there is no model."""
    record, name = metadata.models.get(wanted.name), MODELS[wanted.name]
    if record is None:
        if contents[name]:
            raise ModelArchiveError(f"{path.name}: {METADATA} does not describe {name}. {CURE}")
        return False
    _check_features(path, record, wanted, name, contents[name])
    try:
        check_trees(contents[name], len(wanted.features))
    except ModelArchiveError as error:
        raise ModelArchiveError(f"{path.name}: {name} {error}. {CURE}") from None
    return True


def _encode(wanted: features.FeatureSet, golden: Sequence[GoldenLoan]) -> list[tuple[float, ...]]:
    """Encode the golden loans for a feature set's model, without those that it can't predict."""
    loans = [example.loan for example in golden]
    return [
        wanted.encode_loan(loan) for loan in loans if wanted is features.AGE_UNKNOWN or loan.instalments_due is not None
    ]


def _load_model(metadata: Metadata, wanted: features.FeatureSet, text: str) -> LoadedModel:
    record = metadata.models[wanted.name]
    return LoadedModel(
        wanted,
        Booster(text),
        tuple(-inf if feature.minimum is None else feature.minimum for feature in record.features),
        tuple(inf if feature.maximum is None else feature.maximum for feature in record.features),
        metadata.contract,
    )


def _unpack(path: Path, content: bytes, wanted: Sequence[str]) -> dict[str, bytes]:
    """Unpack the wanted files; refuse a zip with anything but the expected plain files."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if sorted(names) != sorted(CONTENTS):
                _check_foreign_format(path, archive, names)
                wrong = sorted(set(CONTENTS).symmetric_difference(names)) or ["a file twice"]
                raise ModelArchiveError(f"{path.name}: missing, unknown or repeated: {', '.join(wrong)[:200]}. {CURE}")
            if sum(entry.file_size for entry in entries) > _MAX_BYTES:
                raise ModelArchiveError(f"{path.name}: unpacked larger than {_MAX_BYTES:,} bytes. {CURE}")
            for entry in entries:
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise ModelArchiveError(f"{path.name}: {entry.filename} is a link. {CURE}")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ModelArchiveError(f"{path.name}: {entry.filename} has an unsupported compression. {CURE}")
            return {entry.filename: _read_entry(archive, entry) for entry in entries if entry.filename in wanted}
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,
        NotImplementedError,
        MemoryError,
    ) as error:
        # What zipfile raises for damage: its own error, the decompressor's, a bad offset, or an encryption or
        # compression flag that `write` does not set.
        raise ModelArchiveError(f"{path.name}: damaged, or not a zip file ({error}). {CURE}") from None


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack a file, up to a byte beyond its stated size; `ZipFile.read` would unpack all of a larger one."""
    with archive.open(entry) as file:
        return file.read(entry.file_size + 1)


def _check_foreign_format(path: Path, archive: zipfile.ZipFile, names: Sequence[str]) -> None:
    """Refuse an archive of another format by its number, if its files differ and its metadata is readable."""
    if names.count(METADATA) == 1:
        entry = archive.getinfo(METADATA)
        if entry.file_size <= _MAX_METADATA_BYTES and entry.compress_type == zipfile.ZIP_DEFLATED:
            _check_format(path, _read_entry(archive, entry))


def _check_format(path: Path, metadata: bytes) -> None:
    try:
        version = json.loads(metadata)["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelArchiveError(f"{path.name}: {METADATA} is damaged. {CURE}") from None
    if version not in FORMATS:
        raise ModelArchiveError(
            f"{path.name}: has format {str(version)[:20]!r}, but this release reads {' and '.join(map(str, FORMATS))}. "
            "Train again (`make train`), or use the release that packaged it."
        )


def _parse_metadata(path: Path, content: bytes) -> Metadata:
    _check_format(path, content)
    try:
        return Metadata.model_validate_json(content)
    except ValidationError as error:
        raise ModelArchiveError(f"{path.name}: {METADATA} is not valid: {first_error(error)}. {CURE}") from None


def _parse_golden(path: Path, content: bytes, contract: Contract) -> tuple[GoldenLoan, ...]:
    try:
        return golden_loans(contract).validate_json(content)
    except ValidationError as error:
        raise ModelArchiveError(f"{path.name}: {GOLDEN} is not valid: {first_error(error)}. {CURE}") from None


def _check_features(path: Path, record: ModelRecord, wanted: features.FeatureSet, file: str, model: bytes) -> None:
    """Compare a feature set's features and levels with those in the metadata and in the model itself."""
    expected = {feature.name: feature.levels for feature in wanted.features}
    recorded = {feature.name: feature.levels for feature in record.features}
    if len(recorded) != len(record.features):
        raise ModelArchiveError(f"{path.name}: {METADATA} names a feature twice. {CURE}")
    cure = "The archive has a different contract: use the release that packaged it, or train again."
    if list(recorded) != list(expected):
        wrong = sorted(set(expected).symmetric_difference(recorded)) or ["the order"]
        raise ModelArchiveError(f"{path.name}: its features differ from the contract's in {', '.join(wrong)}. {cure}")
    for name, levels in expected.items():
        if recorded[name] != levels:
            raise ModelArchiveError(f"{path.name}: the levels of {name} differ from the contract's. {cure}")
    # Lines of LightGBM's text format: column names, objective, and pandas' category levels by column.
    if [current_name(column) for column in _find_line(model, b"feature_names=").split(" ")] != list(expected):
        raise ModelArchiveError(f"{path.name}: the columns of {file} are not the features in order. {cure}")
    if _find_line(model, b"objective=").split(" ")[0] != "binary":
        raise ModelArchiveError(f"{path.name}: {file} is not a binary classifier. {cure}")
    expected_levels = json.dumps([list(levels) for levels in expected.values() if levels])
    if _find_line(model, b"pandas_categorical:") != expected_levels:
        raise ModelArchiveError(f"{path.name}: the category levels of {file} are not the contract's. {cure}")


def _find_line(model: bytes, start: bytes) -> str:
    """Return what follows `start` on its line, or an empty string."""
    return model.partition(b"\n" + start)[2].partition(b"\n")[0].decode(errors="replace")


def _compare_golden(path: Path, golden: Sequence[GoldenLoan], answers: Sequence[float]) -> None:
    """Compare this process's predictions of the golden loans with the trained model's."""
    for number, (example, probability) in enumerate(zip(golden, answers, strict=True)):
        if not abs(probability - example.risk_probability) <= GOLDEN_TOLERANCE:
            raise ModelArchiveError(
                f"{path.name}: golden loan {number} gets {probability!r} here, but the trained model gave "
                f"{example.risk_probability!r}. {CURE}"
            )
