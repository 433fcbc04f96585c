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
"""Settings of 0.4.0 and before, and what they are called now."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiKeySettings(_Strict):
    """What may stand under `api_keys:`; health endpoints are never guarded."""

    model_config = ConfigDict(strict=True)

    file: str = Field(min_length=1, description="Holds one key a line; read again when it changes.")
    protect: list[Literal["predictions", "metadata", "docs", "metrics"]] = Field(
        default=["predictions", "metadata", "docs", "metrics"], min_length=1, description="What needs a key."
    )


class DecisionSettings(_Strict):
    """What may stand under `decisions:`."""

    model_config = ConfigDict(strict=True)

    file: str = Field(min_length=1, description="Where decisions are logged, a line each; - for standard output.")
    key_file: str = Field(min_length=1, description="Holds the key by which the lines are chained.")
    max_file_bytes: int = Field(
        default=256 * 2**20,
        ge=2**16,
        description="Bytes of a file, after which the log goes on in a new one; so it does each day.",
    )
    max_waiting: int = Field(default=10_000, ge=1, description="Decisions that may wait to be logged.")
    when_failing: Literal["refuse", "continue"] = Field(
        default="refuse",
        description="Where decisions can't be logged: whether predictions are refused (503), or answered all the same.",
    )


class ServiceSettings(_Strict):
    """What may stand under `service:`; every setting has a default."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    max_body_bytes: int = Field(default=65_536, ge=1024, description="Bytes of a request's body; more is refused.")
    body_timeout_seconds: float = Field(
        default=10, gt=0, description="Time in which a request's body must have arrived."
    )
    max_concurrent_bodies: int = Field(
        default=64, ge=1, description="Bodies arriving at once; for one more, the slowest is refused."
    )
    max_concurrent_slow_predictions: int = Field(
        default=4,
        ge=1,
        description="Predictions at work at once, of each model that takes long; one more waits for half a second, and "
        "is then refused.",
    )
    header_timeout_seconds: float = Field(
        default=10, gt=0, description="Time in which a request's headers must have arrived."
    )
    max_header_bytes: int = Field(
        default=16_384, ge=2048, description="Bytes of a request's line and headers; more is refused."
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="Connections at once; for one more, one is closed: the longest silent of those that never asked, "
        "else of those that wait for their next request.",
    )
    max_connection_age_seconds: float = Field(
        default=300,
        gt=0,
        description="After about this time a connection's next answer is its last, so that clients which keep theirs "
        "find new replicas.",
    )
    api_keys: ApiKeySettings | None = Field(default=None, description="Who may ask; everybody where it is left out.")
    decisions: DecisionSettings | None = Field(
        default=None, description="Where and how each decision is logged; nowhere where it is left out."
    )
    drift_batch_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of a batch's loans that is counted for drift; of others, all are."
    )
    drain_timeout_seconds: float = Field(
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


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice: the last would count, in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping of keys that differ."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, (place, _) in zip(keys, node.value, strict=True):
            if keys.count(key) > 1 and key != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", place.start_mark)
        return super().construct_mapping(node, deep)


def read_configuration(path: Path) -> Configuration:
    """Read the whole file, and check the framework's part on the way.

    Raises:
        ConfigurationError: The file is missing or no YAML in UTF-8, or holds an unknown key, a key twice or an
            impossible value.
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
        return f"{place}: is called {RENAMED[name]} now"
    return f"{place}: {error['msg']}"


def read_settings(path: Path) -> ServiceSettings:
    """Read the service's own settings; errors as those of `read_configuration`."""
    return read_configuration(path).service


def configuration_path() -> Path:
    """Return the path that the framework reads, by its own rule."""
    return Path(os.environ.get("REST_CONFIG", "rest_config.yaml"))
