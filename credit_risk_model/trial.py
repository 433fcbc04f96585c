"""Trial of models in a child process, which may crash or hang without harm to this one.

LightGBM trusts the text of a model. With a wrong number in it, LightGBM accesses memory out of bounds, loops forever or
aborts. Python gets no exception for any of these.
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
"""Timeout of a trial in seconds. Models of a full training take one."""
_MAX_MEMORY_BYTES = (
    4_000_000_000  # bytes of the child's address space: a false size in a model must not exhaust the machine
)
_EXTREMES = (float("nan"), -1e9, 0.0, 1e9)
# The child imports the package from the same place as this process.
_CHILD = "import sys; sys.path[:] = sys.argv[1:]; from credit_risk_model import trial; trial.main()"

Rows = Sequence[Sequence[float]]

_passed: set[bytes] = set()
"""Digests of the inputs that passed: this process tries the same models only once."""


def try_models(models: Sequence[tuple[str, Rows]]) -> None:
    """Load models and predict with them in a child process, once; thread-safe.

    Args:
        models: Each model's text, and the rows to predict.

    Raises:
        ModelArchiveError: The models were refused, crashed the child, or took too long.
    """
    question = json.dumps(models).encode()
    digest = hashlib.sha256(question).digest()
    if digest in _passed:
        return
    try:
        done = subprocess.run(  # noqa: S603  # this interpreter runs a program that is written here
            [sys.executable, "-c", _CHILD, *sys.path],
            input=question,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelArchiveError(f"LightGBM takes more than {LIMIT:g} seconds for its models. {CURE}") from None
    except OSError as error:
        raise ModelArchiveError(f"The process that tries its models can't be started ({error.strerror}).") from None
    if done.returncode < 0:
        raise ModelArchiveError(f"LightGBM crashes on its models ({signal.Signals(-done.returncode).name}). {CURE}")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines() or [f"exit code {done.returncode}"]
        raise ModelArchiveError(lines[-1][:500])
    _passed.add(digest)


def main() -> None:
    """Run in the child: read models from standard input, try them, and write the reason of a refusal to stderr."""
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
    # Rows of real loans reach only some of the nodes. Contributions visit every node, and read what these extreme
    # values lead to.
    far = [[value] * booster.feature_count for value in _EXTREMES]
    for row in (*rows, *far):
        booster.predict_row(row)
    for row in (*rows[:1], *far):
        booster.contributions(row)


def _limit_resources() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # each thread would reserve address space
    with suppress(ImportError, ValueError, OSError):  # not every system has these limits
        import resource  # noqa: PLC0415  # not on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
