"""Foreign annotation formats, one file each, and bringing them into a dataset and out of it."""

from boxpromptiml.formats.detect import ACCEPTED, IMPORT_FORMATS, ImportFormat, is_manifest, read_source
from boxpromptiml.formats.importing import ImportReport, import_source
from boxpromptiml.formats.manifests import import_manifest
from boxpromptiml.formats.source import Candidate, Mismatch, ReadOptions, RejectedError, Source

__all__ = [
    "ACCEPTED",
    "IMPORT_FORMATS",
    "Candidate",
    "ImportFormat",
    "ImportReport",
    "Mismatch",
    "ReadOptions",
    "RejectedError",
    "Source",
    "import_manifest",
    "import_source",
    "is_manifest",
    "read_source",
]
