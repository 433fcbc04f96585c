"""Ignores known, harmless warnings of the report libraries."""

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def ignore_known_warnings() -> Iterator[None]:
    """Ignore the known warnings of deepchecks 0.19.1 with numpy 1.26, pandas 2.3 and scikit-learn 1.7."""
    with warnings.catch_warnings():
        for message in (
            r"the `interpolation=` argument to quantile was renamed",  # outlier check, numpy's old name
            r"DataFrame\.applymap has been deprecated",  # leak check, pandas' old name
            r"(?s).*'MyModelWrapper' object has no attribute '__sklearn_tags__'",  # its model wrapper
            r"ChainedAssignmentError: behaviour will change in pandas 3\.0",  # weak segments, with categories
            r"Downcasting object dtype arrays on \.fillna",  # weak segments, pandas' coming default
            r"Mean of empty slice",  # outlier check, of features that apply to ended loans only
            r"invalid value encountered in scalar divide",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
