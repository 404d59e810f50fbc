"""Foreign annotation formats, one file each, and bringing them into a dataset."""

from boxpromptiml.formats.detect import ACCEPTED, is_manifest, read_source
from boxpromptiml.formats.importing import ImportReport, import_source
from boxpromptiml.formats.manifests import import_manifest
from boxpromptiml.formats.source import Candidate, Mismatch, RejectedError, Source

__all__ = [
    "ACCEPTED",
    "Candidate",
    "ImportReport",
    "Mismatch",
    "RejectedError",
    "Source",
    "import_manifest",
    "import_source",
    "is_manifest",
    "read_source",
]
