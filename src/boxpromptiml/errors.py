"""One exception tree.

Every message is a single line that says what was wrong, in which file, and what to do; the command line prints it
after ``error:`` and exits with 2, without a traceback.
"""

from __future__ import annotations

from pathlib import Path


class BoxPromptError(Exception):
    """Base of every error that a user can cause or mend."""


class Stopped(Exception):
    """A run that ended on request with its state saved; the message says how to go on.

    Attributes:
        signal: number of the signal; the command line exits with 128 more.
    """

    def __init__(self, signal: int, message: str) -> None:
        self.signal = signal
        super().__init__(message)

    def __reduce__(self) -> tuple[type[Stopped], tuple[int, str]]:
        return type(self), (self.signal, str(self))


class ImageError(BoxPromptError):
    """An image file that cannot be read.

    Attributes:
        path: the file.
        reason: what is wrong with it, in a few words.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = Path(path)
        self.reason = reason
        super().__init__(f"{path}: {reason}")

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        # Exceptions are pickled by their args; worker processes send this one home.
        return type(self), (str(self.path), self.reason)


class ImageTooLargeError(ImageError):
    """An image with more pixels than are allowed; it has not been decoded."""


class DatasetError(BoxPromptError):
    """A dataset folder, manifest or foreign annotation that does not hold together."""


class UnknownImageError(DatasetError):
    """An image that the dataset does not know."""


class ConflictError(DatasetError):
    """An image's record was changed by somebody else since it was read."""


class RecipeError(BoxPromptError):
    """A training or synthesis setting that is unknown or out of range."""


class TeacherError(BoxPromptError):
    """A teacher that cannot be loaded or asked."""


class ModelError(BoxPromptError):
    """A model folder that is missing, incomplete, of another version, or at odds with its preprocessing spec."""


class MissingExtraError(BoxPromptError):
    """A step that needs packages which are not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{package} is not installed: run  pip install 'boxpromptiml[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.package, self.extra)
