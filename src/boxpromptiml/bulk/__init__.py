"""Bulk runs over many images."""

from boxpromptiml.bulk.inputs import InputImage, expand_inputs
from boxpromptiml.bulk.local import Outputs, localize_images
from boxpromptiml.bulk.results import ResultsFile, Summary

__all__ = ["InputImage", "Outputs", "ResultsFile", "Summary", "expand_inputs", "localize_images"]
