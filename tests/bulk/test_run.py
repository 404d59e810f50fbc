"""Runs into a table: whole, in order, resumable, whatever dies on the way."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from boxpromptiml.bulk import OutputFolder, ResultsFile, TableOptions, TableRun, expand_inputs, prepare_table
from boxpromptiml.bulk.processes import WorkerError
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.runtime import Localizer

pytestmark = pytest.mark.slow  # real processes


def run(
    localizer: Localizer, inputs: Iterable[Any], out: Any, *, cores: int = 2, **options: Any
) -> tuple[TableRun, list[int]]:
    folder = OutputFolder(str(out))
    with folder.held():
        table = prepare_table(
            localizer, expand_inputs([str(name) for name in inputs]), folder, TableOptions(shard_images=5, **options)
        )
        done = list(table.work(cores=cores))
    return table, done


def parts(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


def rows(out: Any) -> list[dict[str, Any]]:
    if str(out).startswith("memory://"):
        store = fsspec.filesystem("memory")
        files = [store.open(name) for name in sorted(store.glob(f"{out}/part-*.parquet"))]
        return [row for file in files for row in pq.read_table(file).to_pylist()]
    return [row for path in sorted(out.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_every_image_has_its_row_in_order(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    table, done = run(localizer, [photos], tmp_path / "out")

    found = rows(tmp_path / "out")
    assert [row["image"] for row in found] == [str(path) for path in sorted(photos.iterdir())]
    for row in found:
        number = Path(row["image"]).stem
        if number == "06b":
            assert row["error"].startswith("damaged or truncated JPEG file")
            assert (row["verdict"], row["width"], row["regions"]) == (None, None, None)
            assert len(row["sha256"]) == 64
        else:
            assert row["verdict"] == ("tampered" if int(number) % 3 == 0 else "authentic")
            assert row["error"] is None
    assert table.counts == (41, 14, 1)
    assert sum(done) == table.images == 41
    assert len(parts(tmp_path / "out")) == 9
    # As one data set, for whatever reads Parquet: names that begin with _ are passed over.
    assert pq.read_table(tmp_path / "out").num_rows == 41
    assert json.loads((tmp_path / "out" / "_summary.json").read_text())["failed"] == 1


@pytest.mark.parametrize("cores", [1, 3])
def test_parts_do_not_depend_on_the_number_of_cores(
    localizer: Localizer, photos: Path, tmp_path: Path, cores: int
) -> None:
    run(localizer, [photos], tmp_path / "two")
    run(localizer, [photos], tmp_path / "other", cores=cores)

    assert parts(tmp_path / "two") == parts(tmp_path / "other")


def test_a_second_run_does_the_parts_that_are_missing(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(localizer, [photos], out)
    before = parts(out)
    (out / "part-000003.parquet").unlink()
    (out / "part-000005.parquet").write_bytes(b"")  # what a power cut may leave
    (out / ".part-000007-0123456789abcdef.parquet").write_bytes(b"half")  # what a killed worker leaves

    table, done = run(localizer, [photos], out)

    assert [shard.number for shard in table.pending] == [3, 5]
    assert sum(done) == 10
    assert parts(out) == before
    assert table.counts == (41, 14, 1)
    assert not list(out.glob(".part*"))
    assert run(localizer, [photos], out)[1] == []


def test_detail_finds_what_the_whole_does_not_show(localizer: Localizer, tmp_path: Path) -> None:
    picture = Image.new("RGB", (1600, 1200), (90, 90, 90))
    picture.paste((255, 0, 0), (600, 500, 612, 512))
    picture.save(tmp_path / "a.png")

    run(localizer, [tmp_path / "a.png"], tmp_path / "plain")
    run(localizer, [tmp_path / "a.png"], tmp_path / "detailed", detail=True, tta=True)

    assert rows(tmp_path / "plain")[0]["regions"] == []
    (region,) = rows(tmp_path / "detailed")[0]["regions"]
    assert 596 <= region["x0"] < region["x1"] <= 616
    assert json.loads((tmp_path / "detailed" / "_run.json").read_text())["passes"] == ["detail", "tta"]
    assert "passes" not in json.loads((tmp_path / "plain" / "_run.json").read_text())


def test_results_of_another_question_are_refused(
    localizer: Localizer, make_red_model: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    out, inputs = tmp_path / "out", [photos / "00.png"]
    other = Localizer.load(make_red_model(tmp_path / "model", 32, 32))
    run(localizer, inputs, out)
    before = parts(out)
    questions: list[tuple[Localizer, list[Path], dict[str, Any], str]] = [
        (localizer, inputs, {"threshold": 0.25}, "another threshold"),
        (localizer, inputs, {"masks": False}, "another choice of masks"),
        (localizer, inputs, {"digests": False}, "another choice of --digests"),
        (localizer, inputs, {"max_pixels": 10_000}, "another --max-megapixels"),
        (localizer, inputs, {"detail": True}, "another choice of --detail and --tta"),
        (localizer, inputs, {"tta": True}, "another choice of --detail and --tta"),
        (localizer, [photos / "01.png"], {}, "other inputs"),
        (other, inputs, {}, "another model"),
        (other, inputs, {"threshold": 0.25}, "another model and another threshold"),
    ]
    for model, given, options, difference in questions:
        with pytest.raises(BoxPromptError, match=f"out: holds results of {difference}; choose another folder"):
            run(model, given, out, **options)
        assert parts(out) == before

    for model, given, options, _ in (questions[4], questions[6], questions[-1]):
        table, _ = run(model, given, out, overwrite=True, **options)
        assert table.counts.images == 1
        assert [row["image"] for row in rows(out)] == [str(path) for path in given]


def test_digests_may_be_left_out(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    run(localizer, [photos], tmp_path / "with")
    run(localizer, [photos], tmp_path / "without", digests=False)

    assert {row["sha256"] for row in rows(tmp_path / "without")} == {None}
    assert [row | {"sha256": None} for row in rows(tmp_path / "with")] == rows(tmp_path / "without")


def test_parts_of_something_else_are_left_alone(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-000000.parquet").write_bytes(b"mine")

    with pytest.raises(BoxPromptError, match=r"holds part-000000\.parquet of something else"):
        run(localizer, [photos], tmp_path / "out")
    (tmp_path / "out" / "_run.json").write_text("[]")
    with pytest.raises(BoxPromptError, match="is no state of a run"):
        run(localizer, [photos], tmp_path / "out")


def test_lines_and_tables_do_not_share_a_folder(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    ResultsFile.open(tmp_path / "lines").finish([])
    with pytest.raises(BoxPromptError, match=r"lines: holds results.jsonl of --format files; choose another folder"):
        run(localizer, [photos], tmp_path / "lines")
    run(localizer, [photos], tmp_path / "table")
    with pytest.raises(BoxPromptError, match=r"table: holds a table of --format parquet; choose another folder"):
        ResultsFile.open(tmp_path / "table")
    assert not (tmp_path / "table" / "results.jsonl").exists()


def test_failed_images_are_tried_again_on_request(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(localizer, [photos], out)
    (photos / "06b.jpg").write_bytes(b"")

    table, done = run(localizer, [photos], out, retry_failed=True)

    assert [shard.number for shard in table.pending] == [1]
    assert sum(done) == 5
    assert [row["error"] for row in rows(out) if row["error"]] == ["is empty (0 bytes)"]
    assert table.counts == (41, 14, 1)


def test_archives_tables_and_urls(
    localizer: Localizer, make_photo: Callable[..., bytes], web: Any, tmp_path: Path
) -> None:
    """Everything at once: bytes in a web server's archive and in a store's table, and the results in a store."""
    store = fsspec.filesystem("memory")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for i in range(12):
            header = tarfile.TarInfo(f"{i:03d}.png")
            header.size = len(make_photo(i))
            archive.addfile(header, io.BytesIO(make_photo(i)))
    web.pages["/shards/a.tar"] = stream.getvalue()
    web.pages["/b.png"] = make_photo(3)
    pq.write_table(pa.table({"image": [make_photo(i) for i in range(7)]}), tmp_path / "t.parquet", row_group_size=3)
    inputs = [f"{web.url}/shards/a.tar", tmp_path / "t.parquet", f"{web.url}/b.png", f"{web.url}/none.png"]

    table, done = run(localizer, inputs, tmp_path / "out")

    found = rows(tmp_path / "out")
    assert [row["image"].rpartition("/")[2] for row in found] == [
        *(f"a.tar#{i:03d}.png" for i in range(12)),
        *(f"t.parquet#{i}" for i in range(7)),
        *("b.png", "none.png"),
    ]
    assert [row["error"] for row in found if row["error"]] == ["no such file"]
    assert [row["verdict"] == "tampered" for row in found[:-1]] == [i % 3 == 0 for i in (*range(12), *range(7), 3)]
    assert table.images == sum(done) == 21
    assert store is not None


def test_a_network_that_fails_ends_the_run_in_one_line(
    localizer: Localizer, make_red_model: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    model = make_red_model(tmp_path / "model")
    mine = Localizer.load(model)
    make_red_model(model, 32, 32)  # exported anew while the run goes on

    with pytest.raises(BoxPromptError, match="was changed during the run"):
        run(mine, [photos], tmp_path / "out")


def test_a_folder_that_cannot_be_written_to(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BoxPromptError, match="file"):
        run(localizer, [photos], tmp_path / "file")


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_driver_loses_no_part(
    localizer: Localizer,
    red_model: Path,
    run_signalled: Callable[..., subprocess.CompletedProcess[str]],
    photos: Path,
    tmp_path: Path,
    how: signal.Signals,
) -> None:
    out = tmp_path / "out"
    arguments = ["localize", photos, "-o", out, "-m", red_model, "--format", "parquet", "--shard-size", 5]
    process = run_signalled(how, "rich.progress:Progress.update", 17, *arguments, "--threads", 2)

    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert "Traceback" not in process.stderr
    assert 1 <= len(parts(out)) < 9
    assert not (out / "_summary.json").exists()
    before = parts(out)
    table, _ = run(localizer, [photos], out)
    assert before.items() <= parts(out).items()
    assert table.done.images >= 5
    run(localizer, [photos], tmp_path / "whole")
    assert parts(out) == parts(tmp_path / "whole")


def test_no_worker_outlives_its_driver(
    red_model: Path,
    shelf: Path,
    tmp_path: Path,
    find_process: Callable[[int], int],
    web: Any,
    wait_until: Callable[..., Any],
) -> None:
    """The web server kills the parent of whoever asks, and keeps the worker waiting."""
    workers: list[int] = []

    def kill_parent(path: str, port: int) -> None:
        workers.append(find_process(port))
        os.kill(int(Path(f"/proc/{workers[-1]}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
        time.sleep(30)

    web.hook = kill_parent
    command = [sys.executable, "-m", "boxpromptiml.cli.main", "localize", shelf, "-o", tmp_path / "out"]
    done = subprocess.run([*command, "-m", red_model, "--format", "parquet", "--threads", "1"], capture_output=True)

    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: not Path(f"/proc/{workers[0]}").exists(), 20)  # less than it would wait for its answer


def killing(web: Any, find_process: Callable[[int], int], path: str, times: int) -> list[int]:
    """Let the web server kill whoever asks for a path, so many times."""
    killed: list[int] = []

    def kill(asked: str, port: int) -> None:
        if asked == path and len(killed) < times:
            killed.append(find_process(port))
            os.kill(killed[-1], signal.SIGKILL)

    web.hook = kill
    return killed


@pytest.fixture
def shelf(web: Any, make_photo: Callable[..., bytes], tmp_path: Path) -> Path:
    """A list of twelve photographs on a web server."""
    for i in range(12):
        web.pages[f"/{i:02d}.png"] = make_photo(i)
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{web.url}/{i:02d}.png\n" for i in range(12)))
    return path


@pytest.mark.parametrize("cores", [1, 2])
def test_a_killed_worker_is_replaced(
    localizer: Localizer, shelf: Path, web: Any, find_process: Callable[[int], int], tmp_path: Path, cores: int
) -> None:
    run(localizer, [shelf], tmp_path / "calm")
    killed = killing(web, find_process, "/07.png", 1)

    table, done = run(localizer, [shelf], tmp_path / "out", cores=cores)

    assert len(killed) == 1
    assert killed[0] != os.getpid()
    assert parts(tmp_path / "out") == parts(tmp_path / "calm")
    assert table.counts == (12, 4, 0)
    assert sum(done) == 12


def test_an_image_that_kills_is_a_row_with_its_error(
    localizer: Localizer, shelf: Path, web: Any, find_process: Callable[[int], int], tmp_path: Path
) -> None:
    killed = killing(web, find_process, "/07.png", 99)

    table, done = run(localizer, [shelf], tmp_path / "out")

    assert len(killed) == 3  # once among others, twice alone
    errors = {row["image"].rpartition("/")[2]: row["error"] for row in rows(tmp_path / "out") if row["error"]}
    assert list(errors) == ["07.png"]
    assert errors["07.png"].startswith("the process that looked at it died")
    assert table.counts == (12, 4, 1)
    assert sum(done) == 12


def test_workers_that_cannot_live_end_the_run(
    localizer: Localizer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: b"/bin/false")

    with pytest.raises(WorkerError, match="worker processes died 4 times in a row"):
        run(localizer, [photos], tmp_path / "out", cores=1)


@pytest.mark.torture
def test_killed_again_and_again(
    localizer: Localizer,
    red_model: Path,
    run_signalled: Callable[..., subprocess.CompletedProcess[str]],
    photos: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    arguments = ["localize", photos, "-o", out, "-m", red_model, "--format", "parquet", "--shard-size", 5]
    for calls in (1, 2, 6, 7, 8, 11, 12, 13, 20, 30):
        run_signalled(signal.SIGKILL, "rich.progress:Progress.update", calls, *arguments, "--threads", 2)
    table, _ = run(localizer, [photos], out)
    run(localizer, [photos], tmp_path / "whole")

    assert table.counts == (41, 14, 1)
    assert parts(out) == parts(tmp_path / "whole")
    assert sys.platform == "win32" or not list(out.glob(".part*"))
