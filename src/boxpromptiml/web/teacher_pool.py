"""The teachers of a server: loaded when first asked, images encoded once, the next ones ahead of time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TypeVar

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.errors import ImageError, TeacherError
from boxpromptiml.images import DEFAULT_MAX_PIXELS
from boxpromptiml.pseudolabels import open_recorded
from boxpromptiml.regions import Box
from boxpromptiml.teachers import Encoding, Point, Teacher, TeacherMask, load_teacher, takes_points
from boxpromptiml.web.byte_cache import ByteCache
from boxpromptiml.web.picture_store import OneAtATime
from boxpromptiml.web.previewing import Preview, Previews, as_preview
from boxpromptiml.web.worker import SupersededError, Task, Urgency, Worker

T = TypeVar("T")

# Of the cache, for previews of single boxes; the rest is for encodings.
_SHARE = 8
# Images that are encoded ahead.
_AHEAD = 8


class UnavailableError(TeacherError):
    """A teacher that cannot be loaded."""


class TeacherPool:
    """Teachers by name. May be used from many threads at once; each teacher has a thread of its own.

    Args:
        names: of the teachers that may be asked, the default one first.
        load: loads one; called in the teacher's own thread when it is first asked.
        cache_bytes: memory for encodings and previews; encodings on a GPU count too.
        max_pixels: larger images are refused.

    Raises:
        TeacherError: no name, or an unknown one.
    """

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[[str], Teacher] = load_teacher,
        *,
        cache_bytes: int = 512 * 2**20,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        if not names:
            raise TeacherError("a pool of teachers needs at least one")
        self.names = tuple(dict.fromkeys(names))
        self._points = {name: takes_points(name) for name in self.names}
        self._load = load
        self._max_pixels = max_pixels
        self._teachers: dict[str, Teacher] = {}
        self._workers: dict[str, Worker] = {}
        self._lock = threading.Lock()
        self._loading = OneAtATime()
        self._encoding = OneAtATime()
        self._encodings: ByteCache[Encoding] = ByteCache(cache_bytes - cache_bytes // _SHARE)
        self._previews = Previews(cache_bytes // _SHARE)

    @property
    def default(self) -> str:
        """The teacher that is asked where a request names none."""
        return self.names[0]

    def takes_points(self, name: str) -> bool:
        """Whether that teacher takes points beside a box; does not load it.

        Raises:
            TeacherError: the pool has no such teacher.
        """
        return self._points[self._known(name)]

    def teacher(self, name: str) -> Teacher:
        """The teacher of that name, loaded if it was not yet.

        Raises:
            TeacherError: the pool has no such teacher.
            UnavailableError: it cannot be loaded.
            MissingExtraError: a package that it needs is not installed.
        """
        with self._loading.of(self._known(name)):
            if name not in self._teachers:
                try:
                    self._teachers[name] = self._load(name)
                except TeacherError as error:
                    raise UnavailableError(str(error)) from error
            return self._teachers[name]

    def preview(
        self,
        root: Path,
        record: ImageRecord,
        boxes: Sequence[Box],
        points: Sequence[Point] = (),
        *,
        teacher: str | None = None,
        client: str = "",
        exact: bool = False,
    ) -> Preview:
        """What the pseudo mask of these boxes will look like.

        Args:
            root: the dataset folder.
            record: of the image; its own boxes do not matter.
            boxes: to ask for.
            points: that belong to them.
            teacher: whom to ask; None for the default.
            client: who asks: a newer request of the same client makes this one pointless, whatever image it is about.
            exact: take the time for the exact masks, where a teacher has rough ones that are faster.

        Raises:
            SupersededError: something newer was asked for before this one had begun.
            TeacherError: as `Teacher.decode`, or the teacher is not there (UnavailableError, MissingExtraError).
            ImageError: the image cannot be read, is too large, or has another size than recorded.
        """
        started = time.perf_counter()
        name = self._known(teacher or self.default)

        def work(task: Task) -> Preview:
            asked = self.teacher(name)
            encoding, image, cached = self._encode(name, asked, root, record)
            task.check()
            judged = self._previews.of(asked, encoding, image, boxes, points, exact=exact, check=task.check)
            return as_preview(judged, encoding.size, cached=cached, seconds=time.perf_counter() - started)

        urgency = Urgency.SOON if exact else Urgency.NOW
        return self._ask(name, work, urgency, ("preview", client), root / record.image)

    def masks(
        self,
        root: Path,
        record: ImageRecord,
        points: Sequence[Point] = (),
        *,
        teacher: str | None = None,
    ) -> list[TeacherMask]:
        """The teacher's masks of the record's boxes at the image's own size, as pseudo-labelling makes them.

        Raises:
            TeacherError: as `Teacher.decode`, or the teacher is not there (UnavailableError, MissingExtraError).
            ImageError: the image cannot be read, is too large, or has another size than recorded.
        """
        name = self._known(teacher or self.default)

        def work(_: Task) -> list[TeacherMask]:
            asked = self.teacher(name)
            encoding = self._encode(name, asked, root, record)[0]
            return asked.decode(encoding, record.boxes, points)

        return self._ask(name, work, Urgency.NOW, None, root / record.image)

    def prefetch(self, root: Path, records: Sequence[ImageRecord], *, client: str = "") -> None:
        """Encode images for the default teacher when nobody waits for anything; returns at once.

        A newer call of the same client takes the place of this one. Images that cannot be read are passed over: who
        opens them is told.
        """
        name = self.default
        worker = self._worker(name)
        worker.drop(("prefetch", client))

        def encode(record: ImageRecord) -> Callable[[Task], None]:
            def work(_: Task) -> None:
                self._encode(name, self.teacher(name), root, record)

            return work

        # One task each, so that a person's request comes in between.
        for record in records[:_AHEAD]:
            worker.ask(encode(record), Urgency.LATER, ("prefetch", client), beside=True)

    @property
    def busy(self) -> bool:
        """Whether a teacher is at work."""
        with self._lock:
            return any(worker.busy for worker in self._workers.values())

    def close(self) -> None:
        """Do nothing more of what has not begun, and let nobody wait for what has."""
        with self._lock:
            for worker in self._workers.values():
                worker.close()
        self._previews.close()

    def _known(self, name: str) -> str:
        if name not in self.names:
            raise TeacherError(f"this server has no teacher {name!r}; it has {', '.join(self.names)}")
        return name

    def _worker(self, name: str) -> Worker:
        with self._lock:
            if name not in self._workers:
                # Whether a teacher may be asked by several threads is known without loading it: sam alone may not.
                self._workers[name] = Worker(f"teacher-{name}", threads=1 if name == "sam" else 2)
            return self._workers[name]

    def _ask(self, name: str, work: Callable[[Task], T], urgency: Urgency, key: Hashable | None, path: Path) -> T:
        try:
            result: T = self._worker(name).ask(work, urgency, key).result()
        except SupersededError as error:
            if key is not None:
                raise
            raise UnavailableError("the server is being stopped") from error  # nothing else ends what always counts
        except MemoryError as error:
            raise ImageError(path, "does not fit into memory") from error
        return result

    def _encode(self, name: str, teacher: Teacher, root: Path, record: ImageRecord) -> tuple[Encoding, Hashable, bool]:
        """The image's encoding, what it is kept under (another file of that name is another image), and if it was."""
        path = root / record.image
        try:
            status = path.stat()
        except OSError as error:
            raise ImageError(path, error.strerror or str(error)) from error
        key = (name, str(path), status.st_mtime_ns, status.st_size)
        with self._encoding.of(repr(key)):
            kept = self._encodings.get(key)
            if kept is not None:
                return kept, key, True
            encoding = teacher.encode(open_recorded(root, record, max_pixels=self._max_pixels))
            self._encodings.put(key, encoding, encoding.nbytes)
        return encoding, key, False
