"""Tar archives (webdataset shards) as a stream of members, from wherever they lie."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple, Self

from boxpromptiml.storage.locations import open_stream

_BUFFER = 1 << 20


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: as the archive has it.
        size: bytes.
        offset: where its bytes begin in the archive; meaningless in a compressed one.
        stream: its bytes, until the next member is asked for; none of a link.
        link: what it stands for, of a hard or symbolic link; empty for a file.
    """

    name: str
    size: int
    offset: int
    stream: IO[bytes]
    link: str = ""


class _Header(tarfile.TarInfo):
    """A header of an archive. Python takes a damaged one for the end: the files behind it would be lost unnoticed."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def tar_members(name: str, base: str = "") -> Iterator[Member]:
    """Yield the regular files and the links of an archive, compressed or not, in one pass over any network.

    Args:
        name: path or URL.
        base: folder that a relative path is relative to.

    Raises:
        StorageError: it cannot be opened.
        Exception: it is damaged: whatever tarfile or the decompressor says.
    """
    # A pipe rather than seeking.
    with (
        open_stream(name, base) as stream,
        tarfile.open(fileobj=stream, mode="r|*", bufsize=_BUFFER, tarinfo=_Header) as archive,
    ):
        for member in archive:
            if member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                yield Member(member.name, member.size, member.offset_data, content)
            elif member.issym() or member.islnk():
                yield Member(member.name, 0, member.offset_data, io.BytesIO(), member.linkname)
            archive.members.clear()  # type: ignore[attr-defined]  # or it remembers every header
