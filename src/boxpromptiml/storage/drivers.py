"""Which driver of fsspec reads a kind of URL; most of them are packages of their own."""

from __future__ import annotations

from typing import Any

from boxpromptiml.errors import MissingExtraError
from boxpromptiml.storage.errors import MissingDriverError, StorageError, one_line


def scheme_of(url: str) -> str:
    """The kind of a URL, lower case: ``s3``, ``https``; of a chain the outermost."""
    return url.split("::")[0].split("://")[0].lower()


def driver_of(scheme: str) -> Any:
    """The class of the file system for a kind of URL; nothing is connected to.

    Raises:
        MissingExtraError: fsspec is not installed.
        MissingDriverError: the package that reads such URLs is not installed.
        StorageError: no such kind of URL.
    """
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtraError("fsspec", "bulk") from error
    try:
        return fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise MissingDriverError(_missing(scheme, error)) from error
    except ValueError as error:
        raise StorageError(f"{scheme}://: {one_line(error)}") from error


def check_driver(url: str) -> None:
    """Find out whether there is a driver for a URL, without asking for the URL. Raises as `driver_of` does."""
    driver_of(scheme_of(url))


def _missing(scheme: str, error: ImportError) -> str:
    from fsspec.registry import known_implementations

    # "s3fs.S3FileSystem": a package's name on the index is that of its module, for all that fsspec knows.
    package = known_implementations[scheme]["class"].replace(":", ".").partition(".")[0]
    cause = error.__cause__
    if package == "fsspec":  # its own drivers say which packages they need
        return f"{scheme}:// needs more packages: {one_line(error)}"
    if isinstance(cause, ModuleNotFoundError) and cause.name == package:
        return f"{scheme}:// needs {package}: run  pip install {package}"
    return f"{scheme}:// needs {package}, which is installed but cannot be imported: {one_line(cause or error)}"
