"""Credit risk of running loans: train, package and serve a LightGBM model.

Importing this package imports nothing else: `load` imports what a model needs.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would be the only import; type checkers know the name
if TYPE_CHECKING:
    from pathlib import Path

    from credit_risk_model.prediction.loans import LoanModel

__version__ = "0.5.0"

DESCRIPTION = "Predicts whether a running loan is safe or risky as it stands now, and how sure that is."


def load(path: str | Path | None = None, sha256: str | None = None) -> LoanModel:
    """Load a model that scores frames of loans and single loans.

    Args:
        path: A model archive; by default the package's own with the highest number.
        sha256: Digest that the archive must have, in hexadecimal; by default any.

    Raises:
        ModelArchiveError: The archive can't be trusted.
        ConfigurationError: The digest is malformed.

    Examples:
        >>> import credit_risk_model
        >>> model = credit_risk_model.load()
        >>> model.version
        '3'
    """
    from credit_risk_model.prediction import loans  # noqa: PLC0415  # the package's own import stays light

    return loans.load(path, sha256)
