"""The service's own settings, under `service:` in the framework's YAML, and a check of the whole file.

The framework ignores keys that it does not know, so a misspelt one would go unnoticed; here it stops the start.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rest_model_service import configuration as framework

from credit_risk_model.errors import ConfigurationError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiKeySettings(_Strict):
    """What may stand under `api_keys:`; health endpoints are never guarded."""

    model_config = ConfigDict(strict=True)

    file: str = Field(min_length=1, description="Holds one key a line; read again when it changes.")
    guard: list[Literal["predictions", "metadata", "docs", "metrics"]] = Field(
        default=["predictions", "metadata", "docs", "metrics"], min_length=1, description="What needs a key."
    )


class ServiceSettings(_Strict):
    """What may stand under `service:`; every setting has a default."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    largest_body: int = Field(default=65_536, ge=1024, description="Bytes of a request's body; more is refused.")
    body_seconds: float = Field(default=10, gt=0, description="Time in which a request's body must have arrived.")
    predictions: int = Field(
        default=64, ge=1, description="Predictions whose bodies are arriving at once; more are refused."
    )
    long_predictions: int = Field(
        default=4, ge=1, description="Predictions of models that take long at work at once; more are refused."
    )
    header_seconds: float = Field(default=10, gt=0, description="Time in which a request's headers must have arrived.")
    largest_headers: int = Field(
        default=16_384, ge=1024, description="Bytes of a request's line and headers; more is refused."
    )
    connections: int = Field(
        default=1000, ge=1, description="Connections at once; for one more, the one idle longest is closed."
    )
    api_keys: ApiKeySettings | None = Field(default=None, description="Who may ask; everybody where it is left out.")
    drain_seconds: float = Field(
        default=2, ge=0, description="Longest time after SIGTERM in which requests on open connections are answered."
    )
    log_probes: bool = Field(default=False, description="Whether requests for health endpoints are logged too.")
    cors_origins: list[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s*]+)$")]] = Field(
        default=[],
        description="Web origins whose pages may call the service from a browser, as https://host[:port]; * for any.",
    )


class _Decorator(framework.ModelDecorator, _Strict):
    pass


class _Model(framework.Model, _Strict):
    decorators: list[_Decorator] | None = None


class _Metrics(framework.MetricsConfiguration, _Strict):
    pass


class Configuration(framework.ServiceConfiguration, _Strict):
    """The whole file."""

    models: list[_Model] = []
    metrics: _Metrics | None = None
    service: ServiceSettings = ServiceSettings()


def read_configuration(path: Path) -> Configuration:
    """Read the whole file, and check the framework's part on the way.

    Raises:
        ConfigurationError: The file is missing or no YAML, or holds an unknown key or an impossible value.
    """
    try:
        content: Any = yaml.safe_load(path.read_text())
        return Configuration.model_validate(content)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: can't be read ({error.strerror}). Set REST_CONFIG to the configuration's path."
        ) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from None
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors(include_input=False)]
        raise ConfigurationError(f"{path}: {'; '.join(wrong)}.") from None


def read_settings(path: Path) -> ServiceSettings:
    """Read the service's own settings; errors as those of `read_configuration`."""
    return read_configuration(path).service


def configuration_path() -> Path:
    """Give the path that the framework reads, by its own rule."""
    return Path(os.environ.get("REST_CONFIG", "rest_config.yaml"))
