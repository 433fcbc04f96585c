"""The package's exceptions: each message says what was wrong and what to do, and holds no borrower's value."""

from typing import Self


class CreditRiskError(Exception):
    """Root of the errors that this package raises on purpose."""


class DataError(CreditRiskError):
    """A file of loans can't be used."""


class ModelArchiveError(CreditRiskError):
    """A model archive is missing, damaged, of an unknown format, or at odds with the contract."""


class ConfigurationError(CreditRiskError):
    """A setting is out of its range or unknown."""


class ModelRefusedError(CreditRiskError):
    """A freshly trained model is worse than what it would replace, so it is not packaged."""


class MissingPackageError(CreditRiskError, ImportError):
    """A package is not installed that one way to use this one needs."""

    @classmethod
    def of(cls, needs: str, error: ModuleNotFoundError, extra: str | None) -> Self:
        """Make the error of an import that failed.

        Args:
            needs: What needs the package, with its verb: `Serving needs`.
            error: What the import raised.
            extra: What of this package's extras brings the other one; None for none.
        """
        missing = (error.name or str(error)).partition(".")[0]
        cure = f"credit-risk-model[{extra}]" if extra else "credit-risk-model"
        return cls(f"{needs} the package {missing}, which is not installed: pip install '{cure}'.")


class StepLeftOutError(CreditRiskError):
    """A step of a training needs another one, which was not taken."""
