"""Chooses the archive to score with: the named one, or the one that the service's configuration serves."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from credit_risk_model import archive as archives
from credit_risk_model.errors import ConfigurationError
from credit_risk_model.tables.places import Place, to_place

_ROOT = Path(archives.__file__).parents[2]
_SERVED = "credit_risk_model.prediction.model.CreditRiskModel"


@dataclass(frozen=True, slots=True)
class Choice:
    """The archive to score with.

    Attributes:
        path: Its path or URI.
        sha256: The digest that it must have; None for any.
        cut_off: A loan is risky from this probability on; None for the cut-off that training chose.
        reason: Why this archive was chosen, in words.
    """

    path: Place
    sha256: str | None
    cut_off: float | None
    reason: str


def choose_archive(named: str | None) -> Choice:
    """Choose the named archive, else the one that the configuration serves, else the package's newest.

    The configuration is the one that REST_CONFIG names, else the one beside the package in a checkout or an image.

    Raises:
        ConfigurationError: The configuration can't be read.
        ModelArchiveError: There is no archive.
    """
    if named is not None:
        return Choice(to_place(named), None, None, "as named")
    variable = os.environ.get("REST_CONFIG")
    configuration = Path(variable) if variable else _ROOT / "configuration" / "rest_configuration.yaml"
    if not variable and not configuration.exists():
        return Choice(archives.newest(), None, None, "the package's newest")
    served = _read_served(configuration)
    if served.get("archive") is None:
        path = archives.newest()
    else:
        path = Path(served["archive"])
        path = path if path.exists() else _ROOT / path
    return Choice(path, served.get("sha256"), served.get("cut_off"), f"which {configuration.name} serves")


def _read_served(configuration: Path) -> dict[str, Any]:
    """Read the settings of the model that a configuration serves."""
    try:
        content = yaml.safe_load(configuration.read_text(encoding="utf-8"))
        models = {model["class_path"]: model.get("configuration") or {} for model in content["models"]}
        return dict(models.get(_SERVED, {}))
    except OSError as error:
        reason = error.strerror
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, ValueError):
        reason = "it is not a configuration of the service"
    raise ConfigurationError(
        f"{configuration.name}: can't be read ({reason}). Set REST_CONFIG to the service's configuration, or name "
        "--archive."
    )
