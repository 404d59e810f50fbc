"""Shards: what goes in comes out, whatever dies; damage is named; the same data make the same bytes."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxpromptiml import storage
from boxpromptiml.bulk import expand_inputs, read_source
from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.images import save_png
from boxpromptiml.shards import ShardedDataset, ShardHolder, ShardReport, is_sharded, verify_shards, write_shards
from boxpromptiml.storage import StorageError

SMALL = 12_000  # a few images a shard


def written(dataset: Path, out: Path | str, **options: object) -> ShardReport:
    with Dataset.open(dataset) as opened:
        return write_shards(opened, str(out), shard_bytes=SMALL, **options)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "_lock"}


@pytest.fixture
def remote() -> str:
    """A place in an object store (in this process's memory)."""
    import fsspec

    url = "memory://store/shards"
    store = fsspec.filesystem("memory")
    if store.exists("/store"):
        store.rm("/store", recursive=True)
    return url


@pytest.mark.parametrize("where", ["folder", "file-url", "memory"])
@pytest.mark.parametrize("held", [False, True])
def test_records_and_files_come_back_as_they_were(
    dataset: Path, tmp_path: Path, remote: str, where: str, held: bool
) -> None:
    out = {"folder": str(tmp_path / "out"), "file-url": f"file://{tmp_path}/out", "memory": remote}[where]
    report = written(dataset, out)
    assert (report.images, report.shards) == (24, report.written)
    assert report.shards > 5
    assert is_sharded(out)
    holder = ShardHolder(tmp_path / "copies", 10**6) if held else None
    found = {image.record.image: image for image in ShardedDataset.open(out).images(holder)}
    with Dataset.open(dataset) as opened:
        assert {name: image.record for name, image in found.items()} == {
            record.image: replace(record, version=0) for record in opened.records()
        }
        for record in opened.records():
            image = found[record.image]
            names = (record.image, record.mask, record.pseudo and record.pseudo.path)
            for name, part in zip(names, image[1:], strict=True):
                assert (part is None) == (name is None)
                if part is not None and name is not None:
                    assert part.read() == pickle.loads(pickle.dumps(part)).read() == opened.path(name).read_bytes()
    assert list(verify_shards(out)) == []
    assert len(list((tmp_path / "copies").glob("*.tar"))) == (report.shards if held and where == "memory" else 0)


def test_shards_of_other_images_are_replaced_only_when_asked(dataset: Path, tmp_path: Path) -> None:
    other_dataset = tmp_path / "other"
    with Dataset.create(other_dataset) as opened:
        save_png(other_dataset / "a.png", np.zeros((40, 48, 3), np.uint8))
        opened.put(ImageRecord("a.png", 48, 40, "authentic", split="train"))
    written(dataset, tmp_path / "out")
    before = content(tmp_path / "out")

    with pytest.raises(DatasetError, match=r"out: holds shards of other images \(.*\); choose .*--overwrite"):
        written(other_dataset, tmp_path / "out")
    assert content(tmp_path / "out") == before
    written(other_dataset, tmp_path / "out", overwrite=True)
    written(other_dataset, tmp_path / "anew")
    assert content(tmp_path / "out") == content(tmp_path / "anew")


def test_shards_of_a_split_that_is_left_out_are_replaced_only_when_asked(dataset: Path, tmp_path: Path) -> None:
    written(dataset, tmp_path / "out")
    before = content(tmp_path / "out")

    with pytest.raises(DatasetError, match=r"out: holds shards of the split (val|test|none) too"):
        written(dataset, tmp_path / "out", splits={"train"})
    assert content(tmp_path / "out") == before
    assert written(dataset, tmp_path / "out", splits={"train"}, overwrite=True).images < 24


def test_shards_are_what_webdataset_reads(dataset: Path, tmp_path: Path) -> None:
    written(dataset, tmp_path / "out")
    with tarfile.open(tmp_path / "out/shard-000000.tar") as archive:
        names = archive.getnames()
        assert names == sorted(names, key=lambda name: name.split(".")[0])
        first = [name for name in names if name.startswith("00000000.")]
        assert first[0] in ("00000000.png", "00000000.jpg")
        assert first[-1] == "00000000.json"
        stream = archive.extractfile(first[-1])
        assert stream is not None
        line = json.load(stream)
    with Dataset.open(dataset) as opened:
        assert opened.get(line["image"]).split == "train"


def test_bulk_runs_localize_the_images_of_a_shard_and_not_its_masks(dataset: Path, tmp_path: Path) -> None:
    report = written(dataset, tmp_path / "out")
    sources = list(expand_inputs([str(tmp_path / "out")]))
    assert len(sources) == report.shards
    assert sum(1 for source in sources for _ in read_source(source)) == 24


def test_a_split_has_shards_of_its_own(dataset: Path, tmp_path: Path) -> None:
    written(dataset, tmp_path / "all")
    index = ShardedDataset.open(tmp_path / "all").index
    splits = [shard.split for shard in index.shards]
    assert splits == sorted(splits, key=["train", "val", None, "test"].index)
    assert written(dataset, tmp_path / "some", splits={"train", None}).images == 16
    with pytest.raises(DatasetError, match="no images in val to write"), Dataset.create(tmp_path / "empty") as empty:
        write_shards(empty, str(tmp_path / "none"), splits={"val"})


def test_the_same_data_make_the_same_bytes_and_what_is_there_is_kept(dataset: Path, tmp_path: Path) -> None:
    first = written(dataset, tmp_path / "a", workers=3)
    written(dataset, tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert written(dataset, tmp_path / "a").written == 0
    # One changed file: its shard alone is made again; the rest of the index stays.
    before = content(tmp_path / "a")
    with Dataset.open(dataset) as opened:
        opened.put(replace(opened.get("../photos/03 é.jpg"), seconds=9.0))
    assert written(dataset, tmp_path / "a").written == 1
    after = content(tmp_path / "a")
    assert sum(before[name] != after[name] for name in before if name.endswith(".tar")) == 1
    # Fewer and larger shards: those that are too many go.
    with Dataset.open(dataset) as opened:
        report = write_shards(opened, str(tmp_path / "a"))
    assert report.shards == 4 < first.shards
    assert {name for name in content(tmp_path / "a") if name.endswith(".tar")} == {
        f"shard-{i:06d}.tar" for i in range(4)
    }
    assert list(verify_shards(tmp_path / "a")) == []


@pytest.mark.parametrize(
    ("place", "calls", "kept"),
    [
        ("boxpromptiml.storage:OutputFolder.write", 3, 3),  # behind a shard and its list
        ("tarfile:TarFile.addfile", 20, 1),  # within an archive
    ],
)
def test_a_killed_writer_goes_on_to_the_same_bytes(
    run_signalled: Callable[..., subprocess.CompletedProcess[str]],
    dataset: Path,
    tmp_path: Path,
    place: str,
    calls: int,
    kept: int,
) -> None:
    written(dataset, tmp_path / "whole")
    out = tmp_path / "killed"
    size = SMALL / 2**20
    killed = run_signalled(signal.SIGKILL, place, calls, "shard", dataset, "-o", out, "--shard-mb", size)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(DatasetError, match=r"index.json is missing"):
        ShardedDataset.open(out)
    report = written(dataset, out)
    assert report.shards - report.written == kept
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("index.json", b"", "damaged, or no index"),
        ("index.json", b'{"format": "boxpromptiml-shards", "version": 2}', "version 2 is not what this version reads"),
        ("index.json", b'{"format": "boxpromptiml-shards", "version": 1}', "damaged (images: Field required)"),
        ("index.json", b"[1]", "damaged, or no index"),
        ("index.json", None, "index.json is missing"),
        ("shard-000000.jsonl", b"{}", "not what index.json says"),
        ("shard-000000.jsonl", None, "no such file"),
    ],
)
def test_a_damaged_index_or_list_is_named(
    dataset: Path, tmp_path: Path, file: str, damage: bytes | None, said: str
) -> None:
    written(dataset, tmp_path / "out")
    path = tmp_path / "out" / file
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises((DatasetError, StorageError)) as caught:
        list(ShardedDataset.open(tmp_path / "out").images())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    # Writing again mends it.
    written(dataset, tmp_path / "out")
    assert list(verify_shards(tmp_path / "out")) == []


@pytest.mark.parametrize("place", ["folder", "memory"])
@pytest.mark.parametrize(("cut", "said"), [(True, "cut short"), (False, "damaged (checksum)")])
def test_a_damaged_archive_is_named(
    dataset: Path, tmp_path: Path, remote: str, place: str, cut: bool, said: str
) -> None:
    out = str(tmp_path / "out") if place == "folder" else remote
    written(dataset, out)
    name = f"{out}/shard-000000.tar"
    data = bytearray(storage.read_bytes(name))
    data[600] ^= 1
    storage.OutputFolder(out).write("shard-000000.tar", bytes(data[: 700 if cut else None]))
    first = next(ShardedDataset.open(out).images())
    with pytest.raises(ImageError) as caught:
        first.image.read()
    assert str(caught.value).startswith(f"{name}#00000000.")
    assert said in str(caught.value)
    assert [line.split(": ")[0] for line in verify_shards(out)] == [name]
    if place == "memory":  # a copy of it is not kept
        first = next(ShardedDataset.open(out).images(ShardHolder(tmp_path / "copies", 10**6)))
        with pytest.raises(ImageError, match="is not the shard that its index lists"):
            first.image.read()
        assert not list((tmp_path / "copies").glob("*.tar"))


def test_copies_make_room_for_each_other(dataset: Path, tmp_path: Path, remote: str) -> None:
    written(dataset, remote)
    copies = tmp_path / "copies"
    sizes = [shard.bytes for shard in ShardedDataset.open(remote).index.shards]
    holder = ShardHolder(copies, max(sizes) * 2)
    for image in [*ShardedDataset.open(remote).images(holder), *ShardedDataset.open(remote).images(holder)]:
        image.image.read()
        assert sum(path.stat().st_size for path in copies.glob("*.tar")) <= holder.limit
    assert list(copies.glob("*.tar"))
    # Too little room for any: images are asked for one by one.
    none = ShardHolder(tmp_path / "none", 10)
    assert [i.image.read() for i in ShardedDataset.open(remote).images(none)]
    assert not (tmp_path / "none").exists()


def test_shards_are_fetched_ahead(dataset: Path, tmp_path: Path, remote: str, wait_until: Callable[..., Any]) -> None:
    written(dataset, remote)
    holder = ShardHolder(tmp_path / "copies", 10**6)
    shards = list({image.image.shard for image in ShardedDataset.open(remote).images(holder)})
    holder.ahead([(shard.location, shard.size, shard.sha256) for shard in shards])
    wait_until(lambda: len(list((tmp_path / "copies").glob("*.tar"))) == len(shards))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "../photos/01 é.jpg").unlink(), "No such file"),
        (lambda folder: (folder / "masks/1.png").write_bytes(b"no png"), "not a PNG"),
        (lambda folder: os.replace(folder / "../photos/02 é.png", folder / "../photos/00 é.png"), "pixels"),
    ],
)
def test_what_cannot_be_written_is_named(
    dataset: Path, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(dataset)
    with pytest.raises((DatasetError, ImageError)) as caught:
        written(dataset, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/index.json").exists()


def test_a_folder_with_other_things_is_refused(dataset: Path, tmp_path: Path) -> None:
    for folder in (dataset, tmp_path):
        with pytest.raises(DatasetError, match="holds other things than shards"):
            written(dataset, folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        written(dataset, tmp_path / "file")
    with pytest.raises(StorageError, match="nope"):
        written(dataset, "nope://bucket")
    assert not is_sharded(dataset)
    assert not is_sharded(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no such folder"):
        ShardedDataset.open(tmp_path / "nowhere")
