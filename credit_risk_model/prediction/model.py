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
    """A model that answers from an archive, which all such models of a process share.

    Attributes:
        archive: What it answers from.
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
        """Load a model archive and reproduce its golden loans, or share the one that is loaded.

        Args:
            archive: Path of the archive; by default the package's own with the highest number.
            sha256: Digest that the archive must have, in hexadecimal; by default any.
            cut_off: A probability, above 0 and below 1, to use instead of the one that training chose.
            model_name: The qualified name, by which its paths, metrics and decisions are told from those of another
                archive in the same service; by default the class's own.

        Raises:
            ModelArchiveError: The archive can't be trusted.
            ConfigurationError: The cut-off is not a number between 0 and 1, or the digest or the name is none.
        """
        try:
            if model_name is not None:
                self.rename(model_name)
            self.archive, self.cut_off = _load(archive, sha256, cut_off)
            self.keep_to(self.archive.metadata.contract)
        except CreditRiskError as error:
            # The framework logs a traceback when a model can't be made; this is the line to read.
            logger.error("The model %s is not loaded: %s", self.qualified_name, error)
            raise

    def keep_to(self, contract: Contract) -> None:
        """Take the requests of a contract in place of the class's."""
        self.input_schema = contract.request_for(self.input_schema)

    def rename(self, model_name: object) -> None:
        """Take another qualified name than the class's.

        Raises:
            ConfigurationError: It can't stand in a path.
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
        """Predict one loan; safe to call from any thread."""
        model = self.archive.model_for(data)
        row = model.features.encode_loan(data)
        probability = model.booster.predict_row(row)
        return CreditRiskModelOutput(
            credit_risk=decide(probability, self.cut_off),
            risk_probability=probability,
            cautions=find_cautions(data, model, row),
        )


def _load(archive: str | None, sha256: str | None, cut_off: float | None) -> tuple[archives.Archive, float]:
    """Load an archive, once in a process for as long as a model keeps it, and choose the cut-off."""
    path = Path(archive) if archive is not None else archives.newest()
    loaded = archives.read_shared(path, valid_digest(sha256))
    return loaded, valid_cut_off(loaded.metadata.cut_off if cut_off is None else cut_off)


def decide(probability: float, cut_off: float) -> CreditRisk:
    """Call a loan risky from the cut-off on."""
    return CreditRisk.RISKY if probability >= cut_off else CreditRisk.SAFE


_MISSING = (Caution.INSTALMENTS_DUE_MISSING,)
_UNUSED = (Caution.INSTALMENTS_DUE_UNUSED,)
_OUTSIDE = (Caution.OUTSIDE_TRAINING_RANGE,)


def find_cautions(
    loan: CreditRiskModelInput, model: archives.LoadedModel, row: tuple[float, ...]
) -> tuple[Caution, ...]:
    """Find the reasons not to rely on an answer.

    Args:
        loan: What was asked.
        model: What answered.
        row: The loan as the model's row.
    """
    of_age: tuple[Caution, ...] = ()
    if model.features is features.AGE_UNKNOWN:
        of_age = _MISSING if loan.instalments_due is None else _UNUSED
    return of_age + _OUTSIDE if model.is_outside_training_range(row) else of_age


def valid_digest(sha256: object) -> str | None:
    """Refuse a digest that is none.

    Raises:
        ConfigurationError: It has not the 64 digits.
    """
    if sha256 is None or (isinstance(sha256, str) and re.fullmatch(r"[0-9a-fA-F]{64}", sha256)):
        return sha256
    # A YAML that holds digits only is read as a number.
    raise ConfigurationError(f"sha256 is {str(sha256)[:80]!r}: set the 64 digits that `sha256sum` gives, in quotes.")


def valid_cut_off(cut_off: object) -> float:
    """Refuse a cut-off that is no number between 0 and 1.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(cut_off, bool) or not isinstance(cut_off, int | float) or not 0 < cut_off < 1:
        raise ConfigurationError(f"cut_off is {cut_off!r}: set a probability above 0 and below 1, or leave it out.")
    return float(cut_off)
