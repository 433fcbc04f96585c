"""The package's exceptions: each message says what was wrong and what to do, and holds no borrower's value."""


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


class StepLeftOutError(CreditRiskError):
    """A step of a training needs another one, which was not taken."""
