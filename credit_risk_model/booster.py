"""A trained LightGBM model, called through LightGBM's documented C interface (`c_api.h`).

LightGBM's Python package imports NumPy and SciPy (and pandas and scikit-learn if installed) and builds an array for
each call. That costs 0.8 s and 64 MB at start and some 50 microseconds a loan. The compiled library is a file of that
package. Its path in there is not documented, so if it is not found, the package is imported and asked for it.
"""

import ctypes
import importlib
import importlib.util
import platform
from array import array
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from struct import Struct
from typing import NoReturn

from credit_risk_model.errors import ModelArchiveError

_FLOAT64 = 1  # C_API_DTYPE_FLOAT64
_ROW_MAJOR = 1
_NORMAL = 0  # C_API_PREDICT_NORMAL: probabilities, for a binary objective
_CONTRIBUTIONS = 3  # C_API_PREDICT_CONTRIB: TreeSHAP values of the raw score, which is the log-odds
_ALL_ITERATIONS = -1
# One thread: starting OpenMP's other threads costs more than a row, and far more under a CPU limit. Every call passes
# the same number: LightGBM keeps it for the whole process, and concurrent calls with different numbers crash it.
_PARAMETERS = b"num_threads=1"

_Double, _reference = ctypes.c_double, ctypes.byref  # bound once, since every prediction uses them

CURE = "Train and package it again, or restore it from where it was released."

_SUFFIXES = {"Darwin": ".dylib", "Windows": ".dll"}


def _library_path() -> str:
    """Find LightGBM's compiled library without importing its Python package."""
    spec = importlib.util.find_spec("lightgbm")
    if spec is None or spec.origin is None:
        raise ModelArchiveError("LightGBM is not installed: install the packages of service_requirements.txt.")
    path = Path(spec.origin).parent / "lib" / f"lib_lightgbm{_SUFFIXES.get(platform.system(), '.so')}"
    if path.is_file():
        return str(path)
    return str(importlib.import_module("lightgbm.libpath")._LIB._name)


class _Library:
    """The compiled library, loaded once, with two ways to call it.

    Attributes:
        with_gil: Holds the GIL, for calls of some microseconds. That also serializes the calls, which the single-row
            interface needs: its handle holds the row's scratch space.
        without_gil: Releases the GIL.
    """

    def __init__(self) -> None:
        path = _library_path()
        self.with_gil = ctypes.PyDLL(path)
        self.without_gil = ctypes.CDLL(path)
        self.without_gil.LGBM_GetLastError.restype = ctypes.c_char_p

    def check(self, status: int) -> None:
        """Raise LightGBM's last error if a call returned a non-zero status."""
        if status != 0:
            words = " ".join(self.without_gil.LGBM_GetLastError().decode(errors="replace").split())
            raise ModelArchiveError(f"LightGBM refuses the model: {words}. {CURE}")


_library: _Library | None = None


def _load_library() -> _Library:
    global _library  # noqa: PLW0603  # loading it at import would slow down users of the schemas alone
    if _library is None:
        _library = _Library()
    return _library


def _raise_not_finite(answer: float) -> NoReturn:
    raise ModelArchiveError(f"The model's output is {answer}, not a finite number. {CURE}")


class Booster:
    """A binary LightGBM classifier, read from its text format.

    Attributes:
        feature_count: Number of values in a row.
        pack: Packs a row's numbers into bytes.
    """

    def __init__(self, text: str) -> None:
        """Parse a model.

        Args:
            text: The complete output of LightGBM's `save_model`.

        Raises:
            ModelArchiveError: LightGBM can't read it, or it is not a binary classifier.
        """
        self._library = library = _load_library()
        self._handle = ctypes.c_void_p()
        self._bound: list[ctypes.c_void_p] = []
        iterations, outputs, features = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        library.check(
            library.without_gil.LGBM_BoosterLoadModelFromString(
                text.encode(), ctypes.byref(iterations), ctypes.byref(self._handle)
            )
        )
        library.check(library.without_gil.LGBM_BoosterGetNumClasses(self._handle, ctypes.byref(outputs)))
        library.check(library.without_gil.LGBM_BoosterGetNumFeature(self._handle, ctypes.byref(features)))
        if outputs.value != 1:
            raise ModelArchiveError(f"The model has {outputs.value} outputs: a binary classifier has one. {CURE}")
        self.feature_count = features.value
        self._probability = self._bind_row(_NORMAL)
        # Also bound once: each call of the other interface would compute the trees' depths again, and two calls at once
        # would race on them.
        self._contributions = self._bind_row(_CONTRIBUTIONS)
        self._predict_row = library.with_gil.LGBM_BoosterPredictForMatSingleRowFast
        self._row = Struct(f"{self.feature_count}d")
        self.pack = self._row.pack  # takes a sixth of the time that filling a ctypes array takes
        self._always_one = ctypes.byref(ctypes.c_int64())  # out parameter: the number of probabilities

    def _bind_row(self, kind: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._library.check(
            self._library.without_gil.LGBM_BoosterPredictForMatSingleRowFastInit(
                self._handle,
                kind,
                0,
                _ALL_ITERATIONS,
                _FLOAT64,
                ctypes.c_int32(self.feature_count),
                _PARAMETERS,
                ctypes.byref(handle),
            )
        )
        self._bound.append(handle)
        return handle

    def __del__(self) -> None:
        """Free the C handles."""
        for handle in getattr(self, "_bound", []):
            self._library.without_gil.LGBM_FastConfigFree(handle)
        if getattr(self, "_handle", None):
            self._library.without_gil.LGBM_BoosterFree(self._handle)

    def predict_row(self, row: Sequence[float]) -> float:
        """Return the positive class's probability for one row of `feature_count` numbers; thread-safe.

        Raises:
            ModelArchiveError: The output is not finite.
        """
        probability = _Double()
        status = self._predict_row(self._probability, self.pack(*row), self._always_one, _reference(probability))
        if status != 0:
            self._library.check(status)
        value = probability.value
        return value if isfinite(value) else _raise_not_finite(value)

    def predict_rows(self, rows: "array[float] | memoryview") -> "array[float]":
        """Return the positive class's probability for each of many rows, bit for bit as `predict_row` does.

        The call releases the GIL and uses only the calling thread, so several threads may each predict a part.

        Args:
            rows: Float64 numbers, row by row, in writable and contiguous memory.

        Returns:
            One probability for each row.

        Raises:
            ModelArchiveError: An output is not finite.
        """
        count = memoryview(rows).nbytes // self._row.size
        if count == 0:
            return array("d")
        values = memoryview(rows).cast("B")
        probabilities = array("d", bytes(count * 8))
        length = ctypes.c_int64()
        self._library.check(
            self._library.without_gil.LGBM_BoosterPredictForMat(
                self._handle,
                (ctypes.c_char * values.nbytes).from_buffer(values),
                _FLOAT64,
                ctypes.c_int32(count),
                ctypes.c_int32(self.feature_count),
                _ROW_MAJOR,
                _NORMAL,
                0,
                _ALL_ITERATIONS,
                _PARAMETERS,
                ctypes.byref(length),
                (ctypes.c_double * count).from_buffer(probabilities),
            )
        )
        total = sum(probabilities)  # not finite if one of them is not; takes a hundredth of the prediction's time
        return probabilities if isfinite(total) else _raise_not_finite(total)

    def contributions(self, row: Sequence[float]) -> list[float]:
        """Return what each number of a row adds to its log-odds, as exact TreeSHAP values; thread-safe.

        The call releases the GIL: it takes milliseconds.

        Returns:
            One value more than the row has. The last is the base value, to which the others add up to the log-odds.

        Raises:
            ModelArchiveError: A value is not finite.
        """
        length, values = ctypes.c_int64(), (ctypes.c_double * (self.feature_count + 1))()
        self._library.check(
            self._library.without_gil.LGBM_BoosterPredictForMatSingleRowFast(
                self._contributions, self.pack(*row), ctypes.byref(length), values
            )
        )
        total = sum(values)
        return list(values) if isfinite(total) else _raise_not_finite(total)
