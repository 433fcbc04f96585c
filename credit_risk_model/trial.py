"""A trial of models in a process of its own, which may crash or hang where this one must not.

LightGBM trusts the text of a model: with a wrong number in it, it reads and writes beside its memory, follows a circle
of nodes without end, or aborts. No error of Python's tells of that.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from credit_risk_model.booster import CURE, Booster
from credit_risk_model.errors import ModelArchiveError

LIMIT = 60.0
"""Seconds that a trial may take; models of a full training take one."""
_MEMORY = 4_000_000_000  # bytes of the child's address space: a stated size that is a lie must not fill the machine
_FAR = (float("nan"), -1e9, 0.0, 1e9)
# The child finds the package where this process found it, wherever that is.
_CHILD = "import sys; sys.path[:] = sys.argv[1:]; from credit_risk_model import trial; trial.main()"

Rows = Sequence[Sequence[float]]

_passed: set[bytes] = set()
"""Digests of what passed: the same models need no second trial in this process."""


def try_models(models: Sequence[tuple[str, Rows]]) -> None:
    """Load models and predict with them in a child process, once; safe from any thread.

    Args:
        models: Each model's text, and rows to predict.

    Raises:
        ModelArchiveError: The child was refused the models, crashed on them, or took too long.
    """
    question = json.dumps(models).encode()
    digest = hashlib.sha256(question).digest()
    if digest in _passed:
        return
    try:
        done = subprocess.run(  # noqa: S603  # this interpreter, and a program that is written here
            [sys.executable, "-c", _CHILD, *sys.path],
            input=question,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelArchiveError(f"LightGBM is not done with its models after {LIMIT:g} seconds. {CURE}") from None
    except OSError as error:
        raise ModelArchiveError(f"No process could be started to try its models ({error.strerror}).") from None
    if done.returncode < 0:
        raise ModelArchiveError(f"LightGBM crashes on its models ({signal.Signals(-done.returncode).name}). {CURE}")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines() or [f"exit code {done.returncode}"]
        raise ModelArchiveError(lines[-1][:500])
    _passed.add(digest)


def main() -> None:
    """Be the child: read the models from standard input, try them, and say on standard error why they are refused."""
    _limit_resources()
    try:
        for text, rows in json.load(sys.stdin.buffer):
            _try_model(text, rows)
    except ModelArchiveError as error:
        sys.exit(str(error))
    except Exception as error:
        sys.exit(f"Its models can't be tried ({error!r}). {CURE}")


def _try_model(text: str, rows: Rows) -> None:
    booster = Booster(text)
    # The rows of real loans go some ways through the trees. Contributions go through every node, and there read what
    # these far values lead to.
    far = [[value] * booster.feature_count for value in _FAR]
    for row in (*rows, *far):
        booster.predict_row(row)
    for row in (*rows[:1], *far):
        booster.contributions(row)


def _limit_resources() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # each thread would take address space of its own
    with suppress(ImportError, ValueError, OSError):  # where there are no such limits
        import resource  # noqa: PLC0415  # Windows lacks it

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
