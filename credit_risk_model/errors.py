"""The package's exceptions. Each message says what was wrong and what to do, and never holds a borrower's value."""

from typing import Self


class CreditRiskError(Exception):
    """Base class of the errors that this package raises on purpose."""


class DataError(CreditRiskError):
    """A file of loans can't be used."""


class ModelArchiveError(CreditRiskError):
    """A model archive is missing, damaged, of an unknown format, or inconsistent with the contract."""


class ConfigurationError(CreditRiskError):
    """A setting is unknown or out of range."""


class ModelRefusedError(CreditRiskError):
    """A new model is worse than the one it would replace, so it is not packaged."""


class MissingPackageError(CreditRiskError, ImportError):
    """An optional package is not installed."""

    @classmethod
    def of(cls, needs: str, error: ModuleNotFoundError, extra: str | None) -> Self:
        """Create the error for a failed import.

        Args:
            needs: What needs the package, with its verb: `Serving needs`.
            error: The exception that the import raised.
            extra: The extra of this package that installs it; None if no extra does.
        """
        missing = (error.name or str(error)).partition(".")[0]
        cure = f"credit-risk-model[{extra}]" if extra else "credit-risk-model"
        return cls(f"{needs} the package {missing}, which is not installed: pip install '{cure}'.")


class StepLeftOutError(CreditRiskError):
    """A training step was called before a step that it depends on."""
