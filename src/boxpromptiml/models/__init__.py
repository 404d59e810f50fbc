"""Models by name: those that come with the package, those on the hub, and what their cards say."""

from boxpromptiml.models.hub import hub_folder, is_hub_id
from boxpromptiml.models.packaged import (
    CARD_NAME,
    DEFAULT_NAME,
    NAMES,
    file_digests,
    packaged_folder,
    packaged_names,
    packaged_root,
)

__all__ = [
    "CARD_NAME",
    "DEFAULT_NAME",
    "NAMES",
    "file_digests",
    "hub_folder",
    "is_hub_id",
    "packaged_folder",
    "packaged_names",
    "packaged_root",
]
