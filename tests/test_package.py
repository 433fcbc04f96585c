"""What a program gets that imports the package."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import credit_risk_model
from credit_risk_model.prediction import loans

ROOT = Path(__file__).parents[1]


def test_import_is_light() -> None:
    """Importing the package imports none of its modules and no other package."""
    program = "import sys; before = set(sys.modules); import credit_risk_model; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(done.stdout.split()) <= {"credit_risk_model", "__future__"}


def test_examples_run() -> None:
    """The examples of the public functions are tried as they are written."""
    found = [doctest.testmod(module) for module in (credit_risk_model, loans)]
    assert [(result.failed, result.attempted > 0) for result in found] == [(0, True)] * 2


def test_example_of_the_readme_runs() -> None:
    """The README's lines of Python score a frame, and the model that they load explains it."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    program = f"""
import pandas
from credit_risk_model.examples import EXAMPLE_LOAN
frame = pandas.DataFrame([EXAMPLE_LOAN])
{example}
print(list(scores), list(model.explain(frame)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == (
        "['risk_probability', 'credit_risk', 'cautions', 'rejected'] ['risk_probability', 'credit_risk', 'cautions', "
        "'rejected', 'reason_1', 'reason_2', 'reason_3', 'reason_4']\n"
    )


def test_types_are_published() -> None:
    """Type checkers of other projects read the package's annotations."""
    assert (Path(credit_risk_model.__file__).parent / "py.typed").exists()
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text()
