"""The same runs on a small Ray cluster of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boxpromptiml.bulk import OutputFolder, TableOptions, TableRun, expand_inputs, on_ray, prepare_table
from boxpromptiml.bulk.on_ray import ClusterError
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.runtime import Localizer

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals of Unix")]
pytest.importorskip("ray.data")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster with two cores in this process; its address."""
    ray = on_ray._ray()
    temporary = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", tempfile.gettempdir())  # Ray's own stays: the paths of its sockets must be short
        patch.setenv("TMPDIR", str(temporary))  # where actors that are killed leave things
        on_ray._connect(ray, 2, None)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


def run(localizer: Localizer, source: Path, out: Path, engine: Any = "ray") -> TableRun:
    folder = OutputFolder(str(out))
    with folder.held():
        table = prepare_table(localizer, expand_inputs([str(source)]), folder, TableOptions(shard_images=5))
        assert sum(table.work(engine, cores=2)) + table.done.images == table.images
    return table


def parts(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


@pytest.mark.usefixtures("cluster")
def test_ray_writes_what_the_local_engine_writes(
    localizer: Localizer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # relative names are relative to where the command runs, not to where actors live

    table = run(localizer, Path("photos"), Path("ray"))
    run(localizer, Path("photos"), Path("local"), engine="local")

    assert table.counts == (41, 14, 1)
    assert len(parts(tmp_path / "ray")) == 9
    assert parts(tmp_path / "ray") == parts(tmp_path / "local")
    assert photos.name == "photos"


@pytest.mark.usefixtures("cluster")
def test_a_killed_actor_is_replaced(
    localizer: Localizer,
    make_photo: Callable[..., bytes],
    web: Any,
    find_process: Callable[[int], int],
    tmp_path: Path,
) -> None:
    for i in range(12):
        web.pages[f"/{i:02d}.png"] = make_photo(i)
    (tmp_path / "list.txt").write_text("".join(f"{web.url}/{i:02d}.png\n" for i in range(12)))
    run(localizer, tmp_path / "list.txt", tmp_path / "calm", engine="local")
    killed: list[int] = []

    def kill(path: str, port: int) -> None:
        if path == "/07.png" and not killed:
            killed.append(find_process(port))
            os.kill(killed[0], signal.SIGKILL)

    web.hook = kill
    table = run(localizer, tmp_path / "list.txt", tmp_path / "out")

    assert len(killed) == 1
    assert parts(tmp_path / "out") == parts(tmp_path / "calm")
    assert table.counts == (12, 4, 0)
    assert not list((tmp_path / "out").glob(".part*"))


def test_a_killed_driver_loses_no_part(
    localizer: Localizer,
    cluster: str,
    red_model: Path,
    run_signalled: Callable[..., subprocess.CompletedProcess[str]],
    photos: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    arguments = ["localize", photos, "-o", out, "-m", red_model, "--engine", "ray", "--shard-size", 5]
    # The first update is the listing's; then there is one a part.
    process = run_signalled(signal.SIGKILL, "rich.progress:Progress.update", 3, *arguments, "--ray-address", cluster)

    assert process.returncode == -signal.SIGKILL
    assert len(parts(out)) >= 2
    assert not (out / "_summary.json").exists()
    table = run(localizer, photos, out)
    run(localizer, photos, tmp_path / "whole", engine="local")
    assert table.done.images >= 10
    assert parts(out) == parts(tmp_path / "whole")


@pytest.mark.usefixtures("cluster")
def test_an_actor_at_work_keeps_no_copy_of_the_model(
    localizer: Localizer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, out = tmp_path / "temporary", OutputFolder(str(tmp_path / "out"))
    temporary.mkdir()
    with out.held():
        table = prepare_table(localizer, expand_inputs([str(photos)]), out, TableOptions())
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        actor = on_ray._Actor(table._job, [on_ray._ray().put(on_ray._model_files(localizer.folder))])
        assert not list(temporary.iterdir())
        (shard,) = table.pending
        row = {"number": [shard.number], "file": [shard.file], "start": [shard.start], "end": [shard.end]}
        assert actor(row)["images"] == [41]


def test_what_an_actor_left_that_was_killed_while_it_started_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with on_ray._copy_of({"model.onnx": b"network"}) as loading:
        killed = shutil.copytree(loading, tmp_path / f"{on_ray._COPY}killed")
        long_ago = time.time() - 2 * on_ray._ABANDONED
        os.utime(killed, (long_ago, long_ago))
        with on_ray._copy_of({"model.onnx": b"network"}) as folder:
            assert Path(folder, "model.onnx").read_bytes() == b"network"
            assert set(tmp_path.iterdir()) == {Path(loading), Path(folder)}
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("cluster")
def test_what_an_actor_cannot_do_is_one_line(make_red_model: Callable[..., Path], photos: Path, tmp_path: Path) -> None:
    model = make_red_model(tmp_path / "model")
    localizer = Localizer.load(model)
    make_red_model(model, 32, 32)  # exported anew while the run goes on

    with pytest.raises(BoxPromptError, match=r"^[^\n]*was changed during the run[^\n]*$"):
        run(localizer, photos, tmp_path / "out")


def test_a_cluster_that_is_not_there(photos: Path, red_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "boxpromptiml.cli.main", "localize", photos, "-o", tmp_path / "out"]
    options = ["-m", red_model, "--engine", "ray", "--ray-address", "127.0.0.1:9"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)

    assert done.returncode == 2
    assert done.stderr.startswith("error: --ray-address 127.0.0.1:9: no Ray cluster answers")
    assert len(done.stderr.splitlines()) == 1
    assert ClusterError.__mro__[1] is BoxPromptError


def test_the_command_starts_a_cluster_of_its_own(photos: Path, red_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "boxpromptiml.cli.main", "localize", photos, "-o", tmp_path / "out"]
    options = ["-m", red_model, "--engine", "ray", "--threads", "2"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)

    assert done.returncode == 1  # one image is broken
    assert "41 images: 14 tampered, 1 failed;" in done.stdout
    assert done.stderr == ""
    assert len(parts(tmp_path / "out")) == 1
