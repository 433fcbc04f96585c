"""Works on decision logs: verifies and replays them, joins them with outcomes, and finds drift."""
