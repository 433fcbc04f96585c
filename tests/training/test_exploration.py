import os
import subprocess
import sys

from conftest import ROOT


def test_nothing_is_reported_to_the_libraries_makers() -> None:
    """Importing the module and making a profile asks no name server and opens no connection."""
    program = (
        "import sys\n"
        "network = ('socket.connect', 'socket.getaddrinfo')\n"
        "sys.addaudithook(lambda event, _: print(event) if event in network else None)\n"
        "import pandas\n"
        "from credit_risk_model.training.exploration import profile_loans\n"
        "profile_loans(pandas.DataFrame({'loan_amount': [500, 600, 700]}), {}, 'Loans')\n"
    )
    telemetry = ("DEEPCHECKS", "YDATA", "LATEST_VERSION")
    environment = {name: value for name, value in os.environ.items() if not any(word in name for word in telemetry)}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout == ""
