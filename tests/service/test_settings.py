from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CONFIGURATION

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.service.settings import ServiceSettings, read_settings

Change = Callable[[dict[str, Any]], object]


def changed(folder: Path, change: Change) -> Path:
    """The shipped configuration with a change."""
    content = yaml.safe_load(CONFIGURATION.read_text())
    change(content)
    path = folder / "rest_configuration.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_shipped_settings_are_the_defaults() -> None:
    """The configuration that ships states what would hold without it."""
    assert read_settings(CONFIGURATION) == ServiceSettings()


def test_settings_may_be_left_out(tmp_path: Path) -> None:
    """Without `service:` the defaults hold."""
    assert read_settings(changed(tmp_path, lambda content: content.pop("service"))) == ServiceSettings()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda content: content["service"].update(largest_boddy=1), "service.largest_boddy", id="ours"),
        pytest.param(
            lambda content: content["service"].update(max_body_bytes="big"), "service.max_body_bytes", id="type"
        ),
        pytest.param(
            lambda content: content["service"].update(max_body_bytes="70000"), "service.max_body_bytes", id="text"
        ),
        pytest.param(
            lambda content: content["service"].update(drain_timeout_seconds=True),
            "service.drain_timeout_seconds",
            id="bool",
        ),
        pytest.param(
            lambda content: content["service"].update(body_timeout_seconds=0),
            "service.body_timeout_seconds",
            id="bound",
        ),
        pytest.param(lambda content: content["service"].update(api_keys={}), "service.api_keys.file", id="no file"),
        pytest.param(
            lambda content: content["service"].update(api_keys={"file": "keys", "protect": ["health"]}),
            "service.api_keys.protect.0",
            id="health is never protected",
        ),
        pytest.param(
            lambda content: content["service"].update(cors_origins="*"), "service.cors_origins", id="origins: no list"
        ),
        pytest.param(
            lambda content: content["service"].update(cors_origins=["https://bank.example/app"]),
            "service.cors_origins.0",
            id="origin with a path",
        ),
        pytest.param(lambda content: content.update(modls=[]), "modls", id="framework"),
        pytest.param(
            lambda content: content["models"][0].update(qualified_name="x"), "models.0.qualified_name", id="model"
        ),
        pytest.param(lambda content: content["metrics"].update(enable=True), "metrics.enable", id="metrics"),
    ],
)
def test_unknown_key_or_impossible_value_is_named(change: Change, words: str, tmp_path: Path) -> None:
    """A misspelt or mistyped key anywhere in the file stops the start, with its place."""
    with pytest.raises(ConfigurationError, match=rf"rest_configuration\.yaml: {words}: "):
        read_settings(changed(tmp_path, change))


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing configuration is an error that names REST_CONFIG."""
    with pytest.raises(ConfigurationError, match=r"none\.yaml: can't be read .* Set REST_CONFIG"):
        read_settings(tmp_path / "none.yaml")


def test_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    """A file that does not parse says where."""
    path = tmp_path / "broken.yaml"
    path.write_text("models: [")
    with pytest.raises(ConfigurationError, match=r"broken\.yaml: not valid YAML: (?s:.*)line 1"):
        read_settings(path)
