"""Metadata endpoint: what a model is, and which archive it uses.

The framework reports names, version and schemas. This module adds the archive, so that it is known afterwards which
model made a prediction, and which values it had seen in training.
"""

from typing import Self

from ml_base import MLModel
from ml_base.utilities import ModelManager
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import to_json
from rest_model_service.schemas import ModelMetadata

from credit_risk_model.archive import FeatureRecord
from credit_risk_model.contract import Bounds
from credit_risk_model.prediction.served import FromArchive


class ArchiveMetadata(BaseModel):
    """The archive that a model was loaded from."""

    version: str = Field(description="Version of the archive, usually a number.")
    sha256: str = Field(description="SHA-256 of the whole archive, in hexadecimal.")
    created_at: str = Field(description="When the archive was made, as ISO 8601 in UTC.")
    cut_off: float = Field(description="A loan with this probability or more is risky.")
    training_ranges: dict[str, tuple[FeatureRecord, ...]] = Field(
        description="Range of each feature in training, by model: `age_known` predicts loans with `instalments_due`, "
        "`age_unknown` all others."
    )
    widened_bounds: SkipJsonSchema[dict[str, Bounds]] = Field(
        description="Bounds that the training widened, by field. Left out if there are none. The shipped contract does "
        "not mention them."
    )

    @classmethod
    def of(cls, model: FromArchive) -> Self:
        """Create the description of a model's archive."""
        metadata = model.archive.metadata
        return cls(
            version=metadata.model_version,
            sha256=model.archive.sha256,
            created_at=metadata.created_at,
            cut_off=model.cut_off,
            training_ranges={name: record.features for name, record in metadata.models.items()},
            widened_bounds=metadata.bounds,
        )


class ModelWithArchiveMetadata(ModelMetadata):
    """Metadata of a model."""

    archive: ArchiveMetadata | None = Field(
        description="The archive that the model was loaded from. Null for models without one."
    )


def describe_model(model: MLModel) -> bytes:
    """Return a loaded model's metadata as JSON."""
    described = ArchiveMetadata.of(model) if isinstance(model, FromArchive) else None
    return to_json(
        ModelWithArchiveMetadata(**ModelManager().get_model_metadata(model.qualified_name), archive=described),
        exclude=None if described is None or described.widened_bounds else {"archive": {"widened_bounds"}},
    )
