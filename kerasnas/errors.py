"""The exceptions of kerasnas: one small family, each saying what was expected, what came, and what to do."""

from keras_tuner import errors as kt_errors

__all__ = [
    "DiskFull",
    "ExportMismatch",
    "InfeasibleArchitecture",
    "InvalidArgument",
    "KerasNASError",
    "MissingExtra",
    "SearchFailed",
]


class KerasNASError(Exception):
    """Root of every error that kerasnas raises on purpose."""


class InvalidArgument(KerasNASError, kt_errors.FatalValueError):
    """A mistake of the caller; inside a search it stops the search at once instead of failing trial after trial."""


class InfeasibleArchitecture(KerasNASError, kt_errors.FailedTrialError):
    """An architecture that cannot be built or trained; the search records it as failed and goes on without a retry."""


class SearchFailed(KerasNASError, RuntimeError):
    """Too many trials failed in a row; KerasTuner raises a plain RuntimeError for it."""


class DiskFull(KerasNASError, kt_errors.FatalError):
    """No space is left for the files of a search; what was written stays, and the search goes on when it is run again."""


class ExportMismatch(KerasNASError):
    """An exported file that does not compute what its Keras model computes; carries the measured difference."""


class MissingExtra(KerasNASError, ImportError):
    """An optional package that is not installed; the message holds the exact install line."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"This needs {package}, which is not installed. Install it with: pip install 'kerasnas[{extra}]'")
