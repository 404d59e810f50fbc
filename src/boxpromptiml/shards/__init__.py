"""Data sets in tar archives, for training from data that fits no local folder."""

from boxpromptiml.shards.holding import ShardHolder
from boxpromptiml.shards.parts import Part, Shard
from boxpromptiml.shards.reading import ShardedDataset, ShardImage, is_sharded, verify_shards
from boxpromptiml.shards.writing import ShardReport, write_shards

__all__ = [
    "Part",
    "Shard",
    "ShardHolder",
    "ShardImage",
    "ShardReport",
    "ShardedDataset",
    "is_sharded",
    "verify_shards",
    "write_shards",
]
