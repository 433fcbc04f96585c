import pytest

from benchmarks.soak import soak


@pytest.mark.long
def test_half_a_minute_of_mixed_traffic_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under good and bad traffic memory, files and threads stay flat, and no answer is wrong."""
    # Measuring coverage multiplies the cost of each request, and the traffic takes all that there is.
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)
    findings = soak(seconds=30, environment="training")
    assert len(findings.checks) > 5
    assert [check for check in findings.checks if not check.holds and not check.timed] == []
