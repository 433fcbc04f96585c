from benchmarks.soak import soak


def test_half_a_minute_of_mixed_traffic_leaves_no_trace() -> None:
    """Under good and bad traffic memory, files and threads stay flat, the probe is fast, and no answer is wrong."""
    findings = soak(seconds=30, environment="training")
    assert [check for check in findings.checks if not check.holds] == []
