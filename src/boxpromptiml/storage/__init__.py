"""Where bytes lie: local paths, URLs of whatever fsspec has a driver for, members of tar archives."""

from boxpromptiml.storage.archives import Member, tar_members
from boxpromptiml.storage.drivers import check_driver
from boxpromptiml.storage.errors import MissingDriverError, StorageError, one_line
from boxpromptiml.storage.locations import (
    entries,
    filesystem,
    folder_of,
    is_file,
    is_folder,
    is_url,
    joined,
    local_path,
    matches,
    open_stream,
    read_bytes,
    read_image_bytes,
    retried,
    size_of,
    suffix_of,
)
from boxpromptiml.storage.output import OutputFolder

__all__ = [
    "Member",
    "MissingDriverError",
    "OutputFolder",
    "StorageError",
    "check_driver",
    "entries",
    "filesystem",
    "folder_of",
    "is_file",
    "is_folder",
    "is_url",
    "joined",
    "local_path",
    "matches",
    "one_line",
    "open_stream",
    "read_bytes",
    "read_image_bytes",
    "retried",
    "size_of",
    "suffix_of",
    "tar_members",
]
