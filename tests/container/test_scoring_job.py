"""The Jobs that score files: run as their manifests say, disturbed, and compared with one run."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from container.engine import Podman
from container.job import Job

from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.features import CONTRACT_FEATURES

pytestmark = pytest.mark.container

LARGEST = 450_000_000  # bytes
ROWS, ROW_GROUP = 400_000, 20_000
PODS_AT_ONCE = 4


def loans() -> pa.Table:
    """Loans that differ in what they have paid; some violate the contract."""
    paid = np.random.default_rng(0).random(ROWS) * 50_000
    paid[::997] = -1
    columns: dict[str, Any] = {"id": np.arange(ROWS)}
    for feature in CONTRACT_FEATURES:
        columns[feature.name] = pa.repeat(EXAMPLE_LOAN[feature.name], ROWS)
    return pa.table(columns | {"total_payments_to_date": paid})


@pytest.fixture(scope="module")
def scoring(podman: Podman, scoring_image: str) -> Job:
    """The Job that scores."""
    return Job(podman, "kubernetes/scoring/scoring_job.yaml", scoring_image)


@pytest.fixture(scope="module")
def volume(scoring: Job) -> Path:
    """The folder of the volume, with a file of loans on it."""
    folder = scoring.make_volume()
    pq.write_table(loans(), folder / "loans.parquet", row_group_size=ROW_GROUP)
    return folder


@pytest.fixture(scope="module")
def whole(podman: Podman, scoring_image: str, volume: Path) -> dict[str, bytes]:
    """What one run over the whole file writes, by suffix."""
    (volume / "whole").mkdir()
    (volume / "whole").chmod(0o777)
    command = "python -m credit_risk_model.scoring /loans/loans.parquet --output /loans/whole/scores.parquet --id id"
    mount = "--volume=loans:/loans"
    podman.run("run", "--rm", "--network=none", mount, scoring_image, *command.split(), "--max-rejects=1000")
    return {suffix: (volume / "whole" / f"scores{suffix}").read_bytes() for suffix in (".parquet", ".rejects.csv")}


def test_pods_give_together_what_one_run_gives(
    podman: Podman, scoring: Job, scoring_image: str, volume: Path, whole: dict[str, bytes]
) -> None:
    """A pod for each shard, one of them killed at its work and started again, and the join: the bytes of one run."""
    indexes = range(scoring.spec["completions"])
    shards = len(indexes)
    killed = scoring.start(1)
    (container,) = scoring.pod_spec["containers"]
    assert f"THREADS={container['resources']['limits']['cpu']}" in podman.inspect(killed.container)["Config"]["Env"]
    killed.kill_when_it_reads("loans.parquet")
    assert killed.wait() == 137
    assert not [path.name for path in (volume / "scores").glob("*") if not path.name.endswith(".unfinished")]
    killed.remove()

    def run(index: int) -> tuple[int, str]:
        pod = scoring.start(index)
        status, log = pod.wait(), pod.log()
        pod.remove()
        return status, log

    with ThreadPoolExecutor(PODS_AT_ONCE) as pool:
        ends = list(pool.map(run, indexes))
    assert {status for status, _ in ends} == {0}, ends
    parts = sorted(path.name for path in (volume / "scores").glob("part-*.parquet"))
    assert parts == [f"part-{number:03}-of-{shards:03}.parquet" for number in range(1, shards + 1)]
    assert sum(pq.read_metadata(volume / "scores" / part).num_rows for part in parts) == ROWS - len(range(0, ROWS, 997))

    join = Job(podman, "kubernetes/scoring/join_job.yaml", scoring_image).start()
    assert join.wait() == 0, join.log()
    join.remove()
    for suffix, content in whole.items():
        assert (volume / "scores" / f"scores{suffix}").read_bytes() == content


def test_nightly_pod_scores_the_whole_file(
    podman: Podman, scoring_image: str, volume: Path, whole: dict[str, bytes]
) -> None:
    """What the CronJob starts every night writes the scores of the day: the bytes of one run."""
    nightly = Job(podman, "kubernetes_overlays/scoring_nightly/cron_job.yaml", scoring_image).start()
    assert nightly.wait() == 0, nightly.log()
    nightly.remove()
    for suffix, content in whole.items():
        (scores,) = (
            path for path in (volume / "scores").iterdir() if re.fullmatch(f"scores-[0-9-]+{suffix}", path.name)
        )
        assert scores.read_bytes() == content


def test_missing_part_is_not_left_out(podman: Podman, scoring_image: str, volume: Path) -> None:
    """Where a part is missing the joining pod fails, says so, and writes no scores."""
    scores = volume / "scores"
    for name in ("part-003-of-008.parquet", "scores.parquet"):
        (scores / name).unlink(missing_ok=True)
    join = Job(podman, "kubernetes/scoring/join_job.yaml", scoring_image).start()
    assert join.wait() == 1
    assert "can't be read" in join.log()
    join.remove()
    assert not (scores / "scores.parquet").exists()


def test_image_is_small(podman: Podman, scoring_image: str, measurements: dict[str, float]) -> None:
    """With Arrow and NumPy it takes at most 450 MB, unpacked, with its base."""
    size = podman.inspect(scoring_image)["Size"]
    measurements["scoring_image_megabytes"] = round(size / 1e6)
    assert size <= LARGEST


def test_image_runs_as_the_service_does(podman: Podman, scoring_image: str) -> None:
    """It is no root either, and says what it is for where it is given no command."""
    found = podman.inspect(scoring_image)["Config"]
    assert found["User"] == "10001:10001"
    assert found["Labels"]["org.opencontainers.image.title"] == "Credit Risk Model Scoring"
    assert "--shard K/N" in podman.run("run", "--rm", "--network=none", "--read-only", scoring_image)
