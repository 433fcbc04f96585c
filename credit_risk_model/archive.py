"""`model_files/<n>.zip`: a trained model with all that is needed to trust it, written whole and verified before use."""

import hashlib
import io
import json
import re
import stat
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from weakref import WeakValueDictionary

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from credit_risk_model import features
from credit_risk_model.booster import CURE, Booster
from credit_risk_model.drift import Reference
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.trees import check_trees
from credit_risk_model.trial import try_models
from credit_risk_model.whole_file import write_whole

MODEL = "model.txt"
MODEL_WITHOUT_AGE = "model_without_age.txt"
ESTIMATOR = "model.joblib"
METADATA = "metadata.json"
GOLDEN = "golden.json"
CARD = "model_card.md"
EXPLORATION_REPORT = "data_exploration_report.html"
INTEGRITY_REPORT = "deepchecks_data_integrity_results.html"
SPLIT_REPORT = "deepchecks_train_test_results.html"
MODEL_REPORT = "deepchecks_model_evaluation_results.html"

CONTENTS = (
    METADATA,
    MODEL,
    MODEL_WITHOUT_AGE,
    GOLDEN,
    CARD,
    ESTIMATOR,
    EXPLORATION_REPORT,
    INTEGRITY_REPORT,
    SPLIT_REPORT,
    MODEL_REPORT,
)
"""Every file of an archive, in the order in which they are written."""

MODELS = {features.AGE_KNOWN.name: MODEL, features.AGE_UNKNOWN.name: MODEL_WITHOUT_AGE}
"""The file of each feature set's model; that of `AGE_KNOWN` is empty where the loans of the training had no age."""

_ANSWERED_FROM = (METADATA, MODEL, MODEL_WITHOUT_AGE, GOLDEN)
"""What is read of an archive that is pinned."""

MODEL_FILES = Path(__file__).parent / "model_files"
FORMAT = 3
FORMATS = (2, FORMAT)
"""What can be read: an archive of format 2 has no reference for drift."""
GOLDEN_TOLERANCE = 1e-12
"""Largest difference between a golden loan's probability and its replay: exp() may differ by a bit between machines."""

_LARGEST = 100_000_000  # bytes, unpacked: several times what an archive of the full file's training has
_LARGEST_METADATA = 10_000_000
_EARLIEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same content, whenever they are written


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class FeatureRecord(_Record):
    """A feature as the model saw it in training."""

    name: str
    levels: tuple[str, ...] = Field(description="Category levels in the order of their codes; empty for a number.")
    minimum: float | None = Field(
        description="Smallest value in training; None for a category, or where none is known."
    )
    maximum: float | None = Field(description="Largest value in training; None for a category, or where none is known.")


class ModelRecord(_Record):
    """One of the archive's two models."""

    features: tuple[FeatureRecord, ...]
    hyperparameters: dict[str, int | float | str | bool]


class CleaningRecord(_Record):
    """What a cleaning step left."""

    step: str
    rows: int = Field(ge=0)


class DataRecord(_Record):
    """What the model was trained on."""

    kind: Literal["loans", "synthetic"]
    file: str = Field(description="The file's name, without its folder.")
    sha256: str
    rows: int = Field(ge=1, description="Rows of the file.")
    age: str = Field(description="What the loans' age was computed from.")


class Metadata(_Record):
    """`metadata.json`: what a reader must know of the model, and what its files must look like."""

    format: Literal[2, 3]
    model_version: str = Field(min_length=1)
    created_at: str = Field(description="ISO 8601, UTC.")
    libraries: dict[str, str] = Field(description="Versions of the packages that made the model.")
    seed: int
    cut_off: float = Field(gt=0, lt=1, description="Risky from this probability on.")
    models: dict[str, ModelRecord] = Field(
        description="By feature set; `age_known` is missing where the loans of the training had no age."
    )
    metrics: dict[str, Any] = Field(description="Final figures.")
    cleaning: tuple[CleaningRecord, ...]
    checks: dict[str, Any] = Field(description="Outcome of each deepchecks suite, condition by condition.")
    data: DataRecord
    reference: tuple[Reference, ...] = Field(
        default=(), max_length=2, description="What the training's loans looked like, with and without their age."
    )
    files: dict[str, str] = Field(description="SHA-256 of every other file, by name.")

    @model_validator(mode="after")
    def _check_reference(self) -> Self:
        if len({reference.age for reference in self.reference}) < len(self.reference):
            raise ValueError("two references are of the same age")
        return self


class GoldenLoan(_Record):
    """A made-up loan with the probability that the fitted model gave it."""

    loan: CreditRiskModelInput
    risk_probability: Annotated[float, Field(ge=0, le=1)]


_GOLDEN_LOANS = TypeAdapter(Annotated[tuple[GoldenLoan, ...], Field(min_length=1)])


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One of the archive's two models, ready to predict.

    Attributes:
        minima, maxima: Ends of the training's range, one for each feature; infinite where there is none.
        may_fall_below, may_exceed: Places in a row and the training's ends, of the features whose bounds allow values
            beyond them. Those are half of all, and the check is made for each loan.
    """

    features: features.FeatureSet
    booster: Booster
    minima: tuple[float, ...]
    maxima: tuple[float, ...]
    may_fall_below: tuple[tuple[int, float], ...] = field(init=False)
    may_exceed: tuple[tuple[int, float], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find the ends that a loan within the contract can be beyond."""
        bounds = [(-inf, inf) if feature.bounds is None else feature.bounds for feature in self.features.features]
        below = tuple((place, end) for place, end in enumerate(self.minima) if end > bounds[place][0])
        above = tuple((place, end) for place, end in enumerate(self.maxima) if end < bounds[place][1])
        object.__setattr__(self, "may_fall_below", below)
        object.__setattr__(self, "may_exceed", above)

    def is_outside_training_range(self, row: Sequence[float]) -> bool:
        """Say whether a value lies outside all that the model saw in training; NaN, not known, lies nowhere."""
        for place, most in self.may_exceed:
            if row[place] > most:
                return True
        for place, least in self.may_fall_below:  # noqa: SIM110  # any() takes longer than all the comparisons
            if row[place] < least:
                return True
        return False

    @property
    def names_that_may_lie_outside(self) -> set[str]:
        """Names of the features whose bounds allow values beyond the training's."""
        return {self.features.names[place] for place, _ in (*self.may_fall_below, *self.may_exceed)}

    def places_outside(self, row: Sequence[float]) -> list[int]:
        """Give the places of the values that lie outside all that the model saw in training."""
        ends = zip(row, self.minima, self.maxima, strict=True)
        return [place for place, (value, least, most) in enumerate(ends) if value < least or value > most]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Archive:
    """A verified archive, ready to predict.

    Attributes:
        sha256: Digest of the whole file, in hexadecimal.
        with_age: Answers loans whose age is known; None where the loans of the training had none.
        without_age: Answers the others.
    """

    sha256: str
    metadata: Metadata
    with_age: LoadedModel | None
    without_age: LoadedModel
    golden: tuple[GoldenLoan, ...]

    def model_for(self, loan: CreditRiskModelInput) -> LoadedModel:
        """Choose the model that answers a loan."""
        if loan.instalments_due is None or self.with_age is None:
            return self.without_age
        return self.with_age

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models that there are."""
        return (self.without_age,) if self.with_age is None else (self.with_age, self.without_age)

    def features_outside(self, loan: CreditRiskModelInput) -> list[str]:
        """Name the features of a loan that lie outside all that the model which answers it saw in training."""
        model = self.model_for(loan)
        return [model.features.names[place] for place in model.places_outside(model.features.encode_loan(loan))]

    def evaluate(self, loan: CreditRiskModelInput) -> float:
        """Compute a loan's probability of being risky."""
        model = self.model_for(loan)
        return model.booster.predict_row(model.features.encode_loan(loan))


def newest() -> Path:
    """Find the package's own archive with the highest number.

    Raises:
        ModelArchiveError: There is none.
    """
    numbers = _numbers(MODEL_FILES)
    if not numbers:
        raise ModelArchiveError(f"No model archive (<number>.zip) in the folder {MODEL_FILES.name}. Run `make train`.")
    return MODEL_FILES / f"{max(numbers)}.zip"


def next_free(folder: Path = MODEL_FILES) -> Path:
    """Name the archive that the next training writes: one above the highest number in the folder."""
    return folder / f"{max(_numbers(folder), default=0) + 1}.zip"


def _numbers(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.zip") if re.fullmatch(r"[1-9]\d*", path.stem)]


def sha256(content: bytes) -> str:
    """Give the SHA-256 digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def golden_json(loans: list[CreditRiskModelInput], probabilities: list[float]) -> bytes:
    """Write made-up loans and the fitted model's own probabilities as `golden.json`."""
    pairs = zip(loans, probabilities, strict=True)
    golden = tuple(GoldenLoan(loan=loan, risk_probability=probability) for loan, probability in pairs)
    return _GOLDEN_LOANS.dump_json(golden, indent=1)


def write(path: Path, metadata: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write an archive, whole or not at all, and only if it can be read back.

    Args:
        path: Where to; an archive that is there is replaced.
        metadata: Fields of `Metadata` but `format` and `files`, which are filled in.
        files: Contents of all files of `CONTENTS` but the metadata, by name.

    Raises:
        ModelArchiveError: The contents don't make a valid archive.
        OSError: The folder can't be written to.
    """
    digests = {name: sha256(content) for name, content in files.items()}
    try:
        record = Metadata.model_validate({**metadata, "format": FORMAT, "files": digests})
    except ValidationError as error:
        raise ModelArchiveError(f"The metadata is not valid: {_first_error(error)}.") from None
    contents = {**files, METADATA: record.model_dump_json(indent=1).encode()}
    packed = _pack(contents)
    # As any reader would, with a child process: what crashes LightGBM must not take a training of hours with it.
    _verify(path, packed, sha256(packed), trusted=False)
    write_whole(path, packed)


def _pack(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in CONTENTS:
            entry = zipfile.ZipInfo(name, date_time=_EARLIEST_ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, contents.get(name, b""), compresslevel=9)
    return buffer.getvalue()


def read(path: Path, pinned: str | None = None) -> Archive:
    """Read an archive, verify it, and reproduce the trained model's answers.

    Args:
        path: The archive.
        pinned: SHA-256 of the archive that is meant, in hexadecimal; any other is refused before it is parsed. It
            vouches for every byte: what no answer comes from, the reports and the estimator, then stays packed, and
            no child process tries the models first, which are most of the time to read.

    Raises:
        ModelArchiveError: It is missing, not the one that is meant, damaged, of an unknown format or at odds with the
            contract, LightGBM crashes on it, or this process does not reproduce the golden loans' probabilities.
    """
    content = _load(path)
    return _verify(path, content, _check_pin(path, content, pinned), trusted=pinned is not None)


_shared: WeakValueDictionary[str, Archive] = WeakValueDictionary()
_shared_lock = threading.Lock()


def read_shared(path: Path, pinned: str | None = None) -> Archive:
    """Read an archive as `read` does, or give the one that this process has read already and still uses.

    The file's content decides, not its name: one that was replaced is read anew.

    Raises:
        ModelArchiveError: As from `read`.
    """
    with _shared_lock:
        content = _load(path)
        digest = _check_pin(path, content, pinned)
        archive = _shared.get(digest)
        if archive is None:
            archive = _shared[digest] = _verify(path, content, digest, trusted=pinned is not None)
        return archive


def _load(path: Path) -> bytes:
    """Give the file's content; all that follows is about these very bytes, whatever becomes of the file."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise ModelArchiveError(f"{path.name}: no such file. Name one that exists, or run `make train`.") from None
    except OSError as error:
        raise ModelArchiveError(f"{path.name}: can't be read ({error.strerror or error}).") from None
    if len(content) > _LARGEST:
        raise ModelArchiveError(f"{path.name}: larger than {_LARGEST:,} bytes. {CURE}")
    return content


def _check_pin(path: Path, content: bytes, pinned: str | None) -> str:
    """Give the content's digest, if it is the one that is pinned."""
    digest = sha256(content)
    if pinned is not None and digest != pinned.lower():
        raise ModelArchiveError(
            f"{path.name}: its SHA-256 is {digest}, the configuration pins {pinned[:64]}. "
            "Restore the archive that is meant, or pin this one if you trust it."
        )
    return digest


def _verify(path: Path, content: bytes, digest: str, *, trusted: bool) -> Archive:
    wanted = _ANSWERED_FROM if trusted else CONTENTS
    contents = _unpack(path, content, wanted)
    metadata = _parse_metadata(path, contents[METADATA])
    if set(metadata.files) != set(CONTENTS) - {METADATA}:
        raise ModelArchiveError(f"{path.name}: {METADATA} names files that are not there. {CURE}")
    for name in wanted:
        if name != METADATA and metadata.files.get(name) != sha256(contents[name]):
            raise ModelArchiveError(f"{path.name}: {name} is not the file that was packaged. {CURE}")
    present = [wanted for wanted in features.FEATURE_SETS if _check_model(path, metadata, wanted, contents)]
    if features.AGE_UNKNOWN not in present:
        raise ModelArchiveError(f"{path.name}: {METADATA} has no model for loans of unknown age. {CURE}")
    golden = _parse_golden(path, contents[GOLDEN])
    texts = [contents[MODELS[wanted.name]].decode(errors="replace") for wanted in present]
    try:
        if not trusted:
            try_models([(text, _encode(wanted, golden)) for wanted, text in zip(present, texts, strict=True)])
        models = {
            wanted.name: _load_model(metadata.models[wanted.name], wanted, text)
            for wanted, text in zip(present, texts, strict=True)
        }
        archive = Archive(
            digest, metadata, models.get(features.AGE_KNOWN.name), models[features.AGE_UNKNOWN.name], golden
        )
        answers = [archive.evaluate(example.loan) for example in golden]
    except ModelArchiveError as error:
        raise ModelArchiveError(f"{path.name}: {error}") from None
    _compare(path, golden, answers)
    return archive


def _check_model(path: Path, metadata: Metadata, wanted: features.FeatureSet, contents: Mapping[str, bytes]) -> bool:
    """Check the text of a feature set's model before LightGBM parses it; False where the archive has none."""
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
    """Turn the golden loans that a feature set's model can answer into its rows."""
    loans = [example.loan for example in golden]
    return [
        wanted.encode_loan(loan) for loan in loans if wanted is features.AGE_UNKNOWN or loan.instalments_due is not None
    ]


def _load_model(record: ModelRecord, wanted: features.FeatureSet, text: str) -> LoadedModel:
    return LoadedModel(
        wanted,
        Booster(text),
        tuple(-inf if feature.minimum is None else feature.minimum for feature in record.features),
        tuple(inf if feature.maximum is None else feature.maximum for feature in record.features),
    )


def _unpack(path: Path, content: bytes, wanted: Sequence[str]) -> dict[str, bytes]:
    """Take the wanted files out of the zip, and refuse whatever is not a plain archive of just the expected ones."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if sorted(names) != sorted(CONTENTS):
                _check_format_of_foreign(path, archive, names)
                wrong = sorted(set(CONTENTS).symmetric_difference(names)) or ["a file twice"]
                raise ModelArchiveError(f"{path.name}: missing, unknown or repeated: {', '.join(wrong)[:200]}. {CURE}")
            if sum(entry.file_size for entry in entries) > _LARGEST:
                raise ModelArchiveError(f"{path.name}: unpacked larger than {_LARGEST:,} bytes. {CURE}")
            for entry in entries:
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise ModelArchiveError(f"{path.name}: {entry.filename} is a link. {CURE}")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ModelArchiveError(f"{path.name}: {entry.filename} is packed in an unknown way. {CURE}")
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
        # What zipfile raises for damage: its own error, the decompressor's, a bad offset, an encryption or
        # compression flag that is not set by `write`.
        raise ModelArchiveError(f"{path.name}: damaged, or not a zip file ({error}). {CURE}") from None


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack a file; `ZipFile.read` would unpack all of one that states less than it has before it noticed."""
    with archive.open(entry) as file:
        return file.read(entry.file_size + 1)


def _check_format_of_foreign(path: Path, archive: zipfile.ZipFile, names: Sequence[str]) -> None:
    """Refuse an archive of another format by its number, where it holds other files and its metadata can be read."""
    if names.count(METADATA) == 1:
        entry = archive.getinfo(METADATA)
        if entry.file_size <= _LARGEST_METADATA and entry.compress_type == zipfile.ZIP_DEFLATED:
            _check_format(path, _read_entry(archive, entry))


def _check_format(path: Path, metadata: bytes) -> None:
    try:
        version = json.loads(metadata)["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelArchiveError(f"{path.name}: {METADATA} is damaged. {CURE}") from None
    if version not in FORMATS:
        raise ModelArchiveError(
            f"{path.name}: its format is {str(version)[:20]!r}, this release reads {' and '.join(map(str, FORMATS))}. "
            "Train again (`make train`), or use the release that packaged it."
        )


def _parse_metadata(path: Path, content: bytes) -> Metadata:
    _check_format(path, content)
    try:
        return Metadata.model_validate_json(content)
    except ValidationError as error:
        raise ModelArchiveError(f"{path.name}: {METADATA} is not valid: {_first_error(error)}. {CURE}") from None


def _parse_golden(path: Path, content: bytes) -> tuple[GoldenLoan, ...]:
    try:
        return _GOLDEN_LOANS.validate_json(content)
    except ValidationError as error:
        raise ModelArchiveError(f"{path.name}: {GOLDEN} is not valid: {_first_error(error)}. {CURE}") from None


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _check_features(path: Path, record: ModelRecord, wanted: features.FeatureSet, file: str, model: bytes) -> None:
    """Compare a set's features and levels with those in the metadata and in the model itself."""
    expected = {feature.name: feature.levels for feature in wanted.features}
    recorded = {feature.name: feature.levels for feature in record.features}
    if len(recorded) != len(record.features):
        raise ModelArchiveError(f"{path.name}: {METADATA} names a feature twice. {CURE}")
    cure = "The archive is of another contract: use the release that packaged it, or train again."
    if list(recorded) != list(expected):
        wrong = sorted(set(expected).symmetric_difference(recorded)) or ["the order"]
        raise ModelArchiveError(f"{path.name}: its features differ from the contract's in {', '.join(wrong)}. {cure}")
    for name, levels in expected.items():
        if recorded[name] != levels:
            raise ModelArchiveError(f"{path.name}: the levels of {name} differ from the contract's. {cure}")
    # Lines of LightGBM's text format: the columns' names, what is predicted, and pandas' category levels by column.
    if _line(model, b"feature_names=").split(" ") != list(expected):
        raise ModelArchiveError(f"{path.name}: the columns of {file} are not the features in order. {cure}")
    if _line(model, b"objective=").split(" ")[0] != "binary":
        raise ModelArchiveError(f"{path.name}: {file} is no binary classifier. {cure}")
    expected_levels = json.dumps([list(levels) for levels in expected.values() if levels])
    if _line(model, b"pandas_categorical:") != expected_levels:
        raise ModelArchiveError(f"{path.name}: the category levels of {file} are not the contract's. {cure}")


def _line(model: bytes, start: bytes) -> str:
    """Give the rest of the line that starts so; empty where none does."""
    return model.partition(b"\n" + start)[2].partition(b"\n")[0].decode(errors="replace")


def _compare(path: Path, golden: Sequence[GoldenLoan], answers: Sequence[float]) -> None:
    """Compare this process's answers: one that gets past here answers as the trained model did."""
    for number, (example, probability) in enumerate(zip(golden, answers, strict=True)):
        if not abs(probability - example.risk_probability) <= GOLDEN_TOLERANCE:
            raise ModelArchiveError(
                f"{path.name}: golden loan {number} gets {probability!r} here, the trained model gave "
                f"{example.risk_probability!r}. {CURE}"
            )
