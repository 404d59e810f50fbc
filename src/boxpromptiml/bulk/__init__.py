"""Bulk runs over many images."""

from boxpromptiml.bulk.containers import Columns, InputImage, read_source
from boxpromptiml.bulk.folders import LeftOut
from boxpromptiml.bulk.inputs import InputError, Source, expand_inputs
from boxpromptiml.bulk.local import Outputs, localize_images
from boxpromptiml.bulk.operator import Failed, Operator
from boxpromptiml.bulk.results import ResultsFile, Summary
from boxpromptiml.bulk.run import TableOptions, TableRun, prepare_table
from boxpromptiml.runtime.preparing import Prepared
from boxpromptiml.storage import OutputFolder

__all__ = [
    "Columns",
    "Failed",
    "InputError",
    "InputImage",
    "LeftOut",
    "Operator",
    "OutputFolder",
    "Outputs",
    "Prepared",
    "ResultsFile",
    "Source",
    "Summary",
    "TableOptions",
    "TableRun",
    "expand_inputs",
    "localize_images",
    "prepare_table",
    "read_source",
]
