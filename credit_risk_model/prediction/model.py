"""The model that `rest_model_service` serves."""

import logging
import re
from pathlib import Path

from ml_base import MLModel
from pydantic import BaseModel

from credit_risk_model import DESCRIPTION, __version__, features
from credit_risk_model import archive as archives
from credit_risk_model.contract import Contract
from credit_risk_model.errors import ConfigurationError, CreditRiskError
from credit_risk_model.schemas import Caution, CreditRisk, CreditRiskModelInput, CreditRiskModelOutput

logger = logging.getLogger(__name__)

_NAME = re.compile("[a-z0-9_]{1,64}")


class ArchiveModel(MLModel):
    """A model loaded from an archive. All such models of a process share one loaded archive.

    Attributes:
        archive: The loaded archive.
        cut_off: A loan is risky from this probability on.
    """

    version = __version__
    input_schema: type[BaseModel]

    def __init__(
        self,
        archive: str | None = None,
        sha256: str | None = None,
        cut_off: float | None = None,
        model_name: str | None = None,
    ) -> None:
        """Load a model archive and reproduce its golden loans, or reuse the loaded one.

        Args:
            archive: Path of the archive; by default the package's own with the highest number.
            sha256: Digest that the archive must have, in hexadecimal; by default any.
            cut_off: A probability, above 0 and below 1, that replaces the one that training chose.
            model_name: The qualified name, which distinguishes its paths, metrics and decisions from those of other
                archives in the same service; by default the class's own.

        Raises:
            ModelArchiveError: The archive can't be trusted.
            ConfigurationError: The cut-off, the digest or the name is invalid.
        """
        try:
            if model_name is not None:
                self.rename(model_name)
            self.archive, self.cut_off = _load(archive, sha256, cut_off)
            self.keep_to(self.archive.metadata.contract)
        except CreditRiskError as error:
            # The framework logs a traceback if a model can't be created; this line gives the reason.
            logger.error("The model %s is not loaded: %s", self.qualified_name, error)
            raise

    def keep_to(self, contract: Contract) -> None:
        """Validate requests against a contract instead of the class's own."""
        self.input_schema = contract.request_for(self.input_schema)

    def rename(self, model_name: object) -> None:
        """Change the qualified name.

        Raises:
            ConfigurationError: The name can't be part of a path.
        """
        if not isinstance(model_name, str) or not _NAME.fullmatch(model_name):
            raise ConfigurationError(
                f"model_name is {str(model_name)[:80]!r}: set 1 to 64 lower-case letters, digits or underscores."
            )
        self.qualified_name = model_name


class CreditRiskModel(ArchiveModel):
    """Predicts whether a running loan is safe or risky, as it stands now."""

    display_name = "Credit Risk Model"
    qualified_name = "credit_risk_model"
    description = DESCRIPTION
    input_schema = CreditRiskModelInput
    output_schema = CreditRiskModelOutput

    def predict(self, data: CreditRiskModelInput) -> CreditRiskModelOutput:
        """Predict one loan; thread-safe."""
        model = self.archive.model_for(data)
        row = model.features.encode_loan(data)
        probability = model.booster.predict_row(row)
        return CreditRiskModelOutput(
            credit_risk=decide(probability, self.cut_off),
            risk_probability=probability,
            cautions=find_cautions(data, model, row),
        )


def _load(archive: str | None, sha256: str | None, cut_off: float | None) -> tuple[archives.Archive, float]:
    """Load an archive, which all models of this process share, and choose the cut-off."""
    path = Path(archive) if archive is not None else archives.newest()
    loaded = archives.read_shared(path, valid_digest(sha256))
    return loaded, valid_cut_off(loaded.metadata.cut_off if cut_off is None else cut_off)


def decide(probability: float, cut_off: float) -> CreditRisk:
    """Return the decision: risky from the cut-off on."""
    return CreditRisk.RISKY if probability >= cut_off else CreditRisk.SAFE


_MISSING = (Caution.INSTALMENTS_DUE_MISSING,)
_UNUSED = (Caution.INSTALMENTS_DUE_UNUSED,)
_OUTSIDE = (Caution.OUTSIDE_TRAINING_RANGE,)


def find_cautions(
    loan: CreditRiskModelInput, model: archives.LoadedModel, row: tuple[float, ...]
) -> tuple[Caution, ...]:
    """Return the cautions of a prediction.

    Args:
        loan: The loan of the request.
        model: The model that predicted.
        row: The loan, encoded for the model.
    """
    of_age: tuple[Caution, ...] = ()
    if model.features is features.AGE_UNKNOWN:
        of_age = _MISSING if loan.instalments_due is None else _UNUSED
    return of_age + _OUTSIDE if model.is_outside_training_range(row) else of_age


def valid_digest(sha256: object) -> str | None:
    """Return a valid SHA-256 digest, or None.

    Raises:
        ConfigurationError: It does not have 64 hexadecimal digits.
    """
    if sha256 is None or (isinstance(sha256, str) and re.fullmatch(r"[0-9a-fA-F]{64}", sha256)):
        return sha256
    # YAML reads a digest of decimal digits only as a number.
    raise ConfigurationError(f"sha256 is {str(sha256)[:80]!r}: set the 64 digits that `sha256sum` prints, in quotes.")


def valid_cut_off(cut_off: object) -> float:
    """Return a valid cut-off.

    Raises:
        ConfigurationError: It is not a number between 0 and 1.
    """
    if isinstance(cut_off, bool) or not isinstance(cut_off, int | float) or not 0 < cut_off < 1:
        raise ConfigurationError(f"cut_off is {cut_off!r}: set a probability above 0 and below 1, or leave it out.")
    return float(cut_off)
