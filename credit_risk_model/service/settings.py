"""The service's own settings, under `service:` in the framework's YAML, and validation of the whole file.

The framework ignores unknown keys, so a misspelt one would go unnoticed. Here an unknown key stops the start.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rest_model_service import configuration as framework

from credit_risk_model.errors import ConfigurationError

RENAMED = {
    "largest_body": "max_body_bytes",
    "body_seconds": "body_timeout_seconds",
    "predictions": "max_concurrent_bodies",
    "long_predictions": "max_concurrent_slow_predictions",
    "header_seconds": "header_timeout_seconds",
    "largest_headers": "max_header_bytes",
    "connections": "max_connections",
    "drain_seconds": "drain_timeout_seconds",
    "guard": "protect",
}
"""Settings of 0.4.0 and before, and their current names."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiKeySettings(_Strict):
    """Settings under `api_keys:`. Health endpoints never need a key."""

    model_config = ConfigDict(strict=True)

    file: str = Field(min_length=1, description="File with one key a line; read again when it changes.")
    protect: list[Literal["predictions", "metadata", "docs", "metrics"]] = Field(
        default=["predictions", "metadata", "docs", "metrics"], min_length=1, description="What requires a key."
    )


class DecisionSettings(_Strict):
    """Settings under `decisions:`."""

    model_config = ConfigDict(strict=True)

    file: str = Field(min_length=1, description="File to log decisions to, one a line; - for standard output.")
    key_file: str = Field(min_length=1, description="File with the key of the HMAC chain.")
    max_file_bytes: int = Field(
        default=256 * 2**20,
        ge=2**16,
        description="Size of a file in bytes at which the log is rotated; it is also rotated every day.",
    )
    max_waiting: int = Field(default=10_000, ge=1, description="Maximum number of decisions that wait to be logged.")
    when_failing: Literal["refuse", "continue"] = Field(
        default="refuse",
        description="If decisions can't be logged: refuse predictions (503), or answer them anyway.",
    )


class ServiceSettings(_Strict):
    """Settings under `service:`. Every setting has a default."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    max_body_bytes: int = Field(
        default=65_536, ge=1024, description="Maximum size of a request body in bytes; 413 beyond it."
    )
    body_timeout_seconds: float = Field(
        default=10, gt=0, description="Time in seconds within which a request body must arrive; 408 after it."
    )
    max_concurrent_bodies: int = Field(
        default=64, ge=1, description="Maximum number of bodies that arrive at once; the slowest gets a 408."
    )
    max_concurrent_slow_predictions: int = Field(
        default=4,
        ge=1,
        description="Maximum number of concurrent slow predictions of each model; one more waits half a second, and "
        "then gets a 503.",
    )
    header_timeout_seconds: float = Field(
        default=10, gt=0, description="Time in seconds within which a request's headers must arrive; 408 after it."
    )
    max_header_bytes: int = Field(
        default=16_384, ge=2048, description="Maximum size of a request line and its headers in bytes; 431 beyond it."
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="Maximum number of open connections. One more closes another one: the longest idle of those "
        "without a request so far, else of those that wait for their next request.",
    )
    max_connection_age_seconds: float = Field(
        default=300,
        gt=0,
        description="Age at which a connection is closed after its next response, a fifth more or less, so that "
        "clients with long connections find new replicas.",
    )
    api_keys: ApiKeySettings | None = Field(default=None, description="API keys; disabled if left out.")
    decisions: DecisionSettings | None = Field(
        default=None, description="Where and how decisions are logged; not logged if left out."
    )
    drift_batch_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of a batch's loans that is counted for drift; single loans all are."
    )
    drain_timeout_seconds: float = Field(
        default=2, ge=0, description="Maximum time after SIGTERM in which requests on open connections are answered."
    )
    log_probes: bool = Field(default=False, description="Whether requests to health endpoints are logged.")
    cors_origins: list[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s*]+)$")]] = Field(
        default=[],
        description="Web origins whose pages may call the service from a browser, as https://host[:port]; * for all.",
    )


class _Decorator(framework.ModelDecorator, _Strict):
    pass


class _Model(framework.Model, _Strict):
    decorators: list[_Decorator] | None = None


class _Metrics(framework.MetricsConfiguration, _Strict):
    pass


class Configuration(framework.ServiceConfiguration, _Strict):
    """The complete YAML file."""

    models: list[_Model] = []
    metrics: _Metrics | None = None
    service: ServiceSettings = ServiceSettings()


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML loader that refuses duplicate keys, of which YAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping with unique keys."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, (place, _) in zip(keys, node.value, strict=True):
            if keys.count(key) > 1 and key != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", place.start_mark)
        return super().construct_mapping(node, deep)


def read_configuration(path: Path) -> Configuration:
    """Read and validate the YAML file, including the framework's part.

    Raises:
        ConfigurationError: The file is missing, not YAML in UTF-8, or has an unknown key, a duplicate key or an
            invalid value.
    """
    try:
        return Configuration.model_validate(yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader))  # noqa: S506
    except OSError as error:
        raise ConfigurationError(
            f"{path}: can't be read ({error.strerror}). Set REST_CONFIG to the configuration's path."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not in UTF-8. Save it in UTF-8.") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {'; '.join(map(_explain, error.errors(include_input=False)))}.") from None


def _explain(error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    name = place.rpartition(".")[2]
    if error["type"] == "extra_forbidden" and name in RENAMED:
        return f"{place}: has been renamed to {RENAMED[name]}"
    return f"{place}: {error['msg']}"


def read_settings(path: Path) -> ServiceSettings:
    """Read only the service's own settings; raises what `read_configuration` raises."""
    return read_configuration(path).service


def configuration_path() -> Path:
    """Return the path of the YAML file that the framework reads."""
    return Path(os.environ.get("REST_CONFIG", "rest_config.yaml"))
