"""Foreign annotation formats, one file each, and bringing them into a dataset and out of it."""

from boxpromptiml.formats.detect import ACCEPTED, IMPORT_FORMATS, ImportFormat, is_manifest, read_source
from boxpromptiml.formats.export_items import ExportOptions
from boxpromptiml.formats.exporting import EXPORT_FORMATS, ExportFormat, ExportReport, export_boxes
from boxpromptiml.formats.importing import ImportReport, import_source
from boxpromptiml.formats.manifests import import_manifest
from boxpromptiml.formats.source import Candidate, Mismatch, ReadOptions, RejectedError, Source

__all__ = [
    "ACCEPTED",
    "EXPORT_FORMATS",
    "IMPORT_FORMATS",
    "Candidate",
    "ExportFormat",
    "ExportOptions",
    "ExportReport",
    "ImportFormat",
    "ImportReport",
    "Mismatch",
    "ReadOptions",
    "RejectedError",
    "Source",
    "export_boxes",
    "import_manifest",
    "import_source",
    "is_manifest",
    "read_source",
]
