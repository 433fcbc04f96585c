from pathlib import Path

import pytest
import yaml
from conftest import CONFIGURATION, SHIPPED

from credit_risk_model import archive
from credit_risk_model.errors import ConfigurationError, ModelArchiveError
from credit_risk_model.scoring import served
from credit_risk_model.scoring.run import Settings, score
from credit_risk_model.scoring.served import choose_archive


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped configuration, which REST_CONFIG names."""
    path = tmp_path / "rest.yaml"
    path.write_text(CONFIGURATION.read_text())
    monkeypatch.setenv("REST_CONFIG", str(path))
    return path


def serve(configuration: Path, **settings: object) -> None:
    """Let the configuration serve the credit risk model with these settings."""
    content = yaml.safe_load(configuration.read_text())
    content["models"][0]["configuration"] = settings
    configuration.write_text(yaml.safe_dump(content))


def test_archive_is_the_one_that_is_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The archive that the configuration pins is used even if a newer one exists."""
    monkeypatch.delenv("REST_CONFIG", raising=False)
    monkeypatch.setattr(archive, "newest", lambda: tmp_path / "9.zip")
    monkeypatch.chdir(tmp_path)
    choice = choose_archive(None)
    assert Path(choice.path).samefile(SHIPPED)
    assert (choice.sha256, choice.reason) == (
        archive.sha256(SHIPPED.read_bytes()),
        "which rest_configuration.yaml serves",
    )


def test_named_archive_comes_first(configuration: Path) -> None:
    """A named archive is used with its own cut-off, not the served one."""
    serve(configuration, archive="a.zip", cut_off=0.7)
    choice = choose_archive("b.zip")
    assert (choice.path, choice.sha256, choice.cut_off) == (Path("b.zip"), None, None)


def test_newest_archive_answers_where_nothing_is_served(
    configuration: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a configured archive, the package's newest is used, as in the service."""
    serve(configuration)
    assert choose_archive(None).path == archive.newest()
    monkeypatch.delenv("REST_CONFIG")
    monkeypatch.setattr(served, "_ROOT", tmp_path)
    assert choose_archive(None).reason == "the package's newest"


def test_cut_off_is_the_served_one(
    configuration: Path, archive_path: Path, write_loans: object, tmp_path: Path
) -> None:
    """The configuration's cut-off applies if none is given, and its digest is checked."""
    source = write_loans("loans.parquet", 100)  # type: ignore[operator]
    decided = {}
    for cut_off in (0.01, 0.99):
        serve(configuration, archive=str(archive_path), cut_off=cut_off)
        output = tmp_path / "scores.csv"
        score(Settings(source, output))
        decided[cut_off] = output.read_text().count(",risky,")
    assert decided[0.01] > decided[0.99]
    serve(configuration, archive=str(archive_path), sha256="0" * 64)
    with pytest.raises(ModelArchiveError, match="the configuration pins 0000"):
        score(Settings(source, tmp_path / "scores.csv"))


@pytest.mark.parametrize("content", [b"models: 3", b"{", b"\xff", b"models: [{}]", None])
def test_unreadable_configuration_is_refused(content: bytes | None, configuration: Path) -> None:
    """A configuration that can't be read is named, with what to do; nothing else answers in its place."""
    configuration.unlink()
    if content is not None:
        configuration.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^rest.yaml: can't be read \(.*\). Set REST_CONFIG"):
        choose_archive(None)
