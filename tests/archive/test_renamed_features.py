"""Archives of releases that called two features otherwise."""

import json
from pathlib import Path

import pytest
from changed_archives import change_metadata, rewrite

from credit_risk_model import archive, features
from credit_risk_model.archive import Archive
from credit_risk_model.monitoring.replay import prove
from credit_risk_model.prediction.model import decide


def use_former_names(contents: dict[str, bytes]) -> None:
    """Turn an archive into one of release 0.4.0, which has two features under other names and no drift reference."""
    for name in (archive.MODEL, archive.MODEL_WITHOUT_AGE):
        assert b"partial_instalment" in contents[name]
        contents[name] = contents[name].replace(b"partial_instalment", b"part_of_an_instalment")
    models = json.dumps(json.loads(contents[archive.METADATA])["models"])
    assert models.count('"partial_instalment') == 2
    models = models.replace('"partial_instalment', '"part_of_an_instalment')
    change_metadata(contents, format=2, models=json.loads(models), reference=[])


@pytest.fixture
def former_path(archive_path: Path, tmp_path: Path) -> Path:
    """The small archive as release 0.4.0 would have written it."""
    return rewrite(archive_path, tmp_path / "1.zip", use_former_names)


@pytest.fixture
def former(former_path: Path) -> Archive:
    """That archive, read."""
    return archive.read(former_path)


def test_former_archive_predicts_the_same_bits(former: Archive, archive_path: Path) -> None:
    """An archive with former feature names is read, and predicts as one with the current names."""
    current = archive.read(archive_path)
    assert former.metadata.format == 2
    for golden in current.golden:
        assert former.evaluate(golden.loan) == current.evaluate(golden.loan)


def test_former_records_have_the_current_names(former: Archive) -> None:
    """Training ranges are named as the features of explanations are."""
    for wanted in features.FEATURE_SETS:
        recorded = former.metadata.models[wanted.name].features
        assert tuple(feature.name for feature in recorded) == wanted.names


def test_decisions_of_a_former_archive_are_replayed(former: Archive, former_path: Path, archive_path: Path) -> None:
    """Every logged decision of an archive with former feature names is reproduced to the last bit."""
    records = []
    for number, golden in enumerate(archive.read(archive_path).golden):
        decision = decide(golden.risk_probability, former.metadata.cut_off)
        records.append(
            {
                "n": number,
                "archive_sha256": former.sha256,
                "cut_off": former.metadata.cut_off,
                "risk_probability": golden.risk_probability,
                "credit_risk": decision.value,
                "personal": {"loan": golden.loan.model_dump(mode="json")},
            }
        )
    found = prove(records, [former_path])
    assert (found.equal, found.differing, dict(found.unknown)) == (len(records), [], {})
