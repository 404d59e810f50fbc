"""Writers of foreign formats, one file each."""

from boxpromptiml.formats.writers.base import Writer

__all__ = ["Writer"]
