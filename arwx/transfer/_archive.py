"""The file itself: a ZIP whose parts are written in one go, and read only after all of them were verified."""

import hashlib
import os
import re
import secrets
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from arwx import durable, points
from arwx.errors import Invalid
from arwx.transfer._form import (
    BLOBS,
    FORMAT,
    MANIFEST,
    PARTS,
    README,
    VERSION,
    BlobLine,
    Manifest,
    PartLine,
    blob_part,
    points_part,
)

T = TypeVar("T")
R = TypeVar("R")

_PIECE = 2**20
_LONGEST_LINE = 2**27
_LARGEST_MANIFEST = 2**28
# Lines of JSON shrink to a twentieth or so; what shrinks more than this was made to burst.
_MOST_SHRUNK = 400
_POINTS = re.compile(r"points/[A-Za-z0-9_-]{1,64}\.jsonl\Z")
_BLOB = re.compile(r"blobs/[0-9a-f]{64}\Z")
_encode = msgspec.json.Encoder().encode


class Writing:
    """A file on its way out, under a name of its own until `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        self._zip = zipfile.ZipFile(self._fresh, "x")
        self._parts: list[PartLine] = []

    def text(self, name: str, text: str) -> None:
        with self._part(name) as part:
            part(text.encode())

    @contextmanager
    def lines(self, name: str) -> Iterator["Lines"]:
        """A part with lines of JSON."""
        with self._part(name) as part:
            lines = Lines(part)
            yield lines
            lines.flush()

    def blob(self, sha: str, pieces: Iterator[bytes]) -> None:
        info = zipfile.ZipInfo(blob_part(sha))
        with self._zip.open(info, "w", force_zip64=True) as part:
            for piece in pieces:
                part.write(piece)

    def close(self, manifest: Manifest) -> None:
        """Complete the file and give it its name: it is durable and whole there, or what was there before."""
        manifest.parts = self._parts
        self._zip.writestr(zipfile.ZipInfo(MANIFEST), _encode(manifest), zipfile.ZIP_DEFLATED)
        self._zip.close()
        with self._fresh.open("rb") as file:
            os.fsync(file.fileno())
        self._fresh.replace(self._path)
        durable.sync(self._path.parent)

    def abandon(self) -> None:
        """Leave nothing. After `close` it does nothing."""
        # Not by closing it, which would write the end of the file.
        file, self._zip.fp = self._zip.fp, None
        if file is not None:
            file.close()
        self._fresh.unlink(missing_ok=True)

    @contextmanager
    def _part(self, name: str) -> Iterator["_Hashed"]:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        with self._zip.open(info, "w", force_zip64=True) as file:
            part = _Hashed(file)
            yield part
        self._parts.append(PartLine(name, part.size, part.hash.hexdigest()))


class _Hashed:
    def __init__(self, file: IO[bytes]) -> None:
        self.size, self.hash, self._file = 0, hashlib.sha256(), file

    def __call__(self, piece: bytes) -> None:
        self.size += len(piece)
        self.hash.update(piece)
        self._file.write(piece)


class Lines:
    """Lines of JSON, written in pieces."""

    def __init__(self, part: _Hashed) -> None:
        self._part, self._held = part, bytearray()

    def write(self, line: msgspec.Struct) -> None:
        self._held += _encode(line)
        self._held += b"\n"
        if len(self._held) > _PIECE:
            self.flush()

    def flush(self) -> None:
        self._part(bytes(self._held))
        self._held.clear()


class Reading:
    """A file that came from anywhere: nothing of it is believed that was not checked. Raises `Invalid`."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise Invalid("this is no export of arwx, or its end is missing") from error
        try:
            self._members = self._directory(path.stat().st_size)
            self.manifest = self._manifest()
        except BaseException:
            self.close()
            raise
        self.shas: dict[str, int] = {}

    def close(self) -> None:
        self._zip.close()

    def verify(self) -> None:
        """Read all of the file: everything that it should have is there, unchanged, and nothing else."""
        named = {part.name: part for part in self.manifest.parts}
        needed = {README, BLOBS, *(part.name for part in PARTS)}
        if len(named) != len(self.manifest.parts) or not needed <= named.keys():
            raise Invalid("the manifest does not name every part once")
        if strange := [name for name in named.keys() - needed if not _POINTS.match(name)]:
            raise Invalid(f"the manifest names {strange[0]!r}, which is no part of an export")
        for name, part in named.items():
            self._compare(name, part.bytes, part.sha256)
        from_blobs = self.lines(BLOBS, BlobLine)
        self.shas = {line.sha: line.size for line in from_blobs}
        if stray := self._members.keys() - named.keys() - {MANIFEST} - {blob_part(sha) for sha in self.shas}:
            raise Invalid(f"{min(stray)!r} does not belong to the export")
        for sha, size in self.shas.items():
            self._compare(blob_part(sha), size, sha)

    def lines(self, name: str, kind: type[T]) -> Iterator[T]:
        """The lines of a part, each as what it must be."""
        return self._lines(name, msgspec.json.Decoder(kind))

    def records(self, run_id: str) -> Iterator[points.Record]:
        """What the run logged."""
        return self._lines(points_part(run_id), msgspec.json.Decoder(points.Record))

    def blob(self, sha: str) -> Iterator[bytes]:
        """The bytes of a blob."""
        return self._pieces(blob_part(sha))

    def _lines(self, name: str, decoder: "msgspec.json.Decoder[T]") -> Iterator[T]:
        with self._open(name) as file:
            number = 0
            while line := _read(name, lambda: file.readline(_LONGEST_LINE)):
                number += 1
                if not line.endswith(b"\n"):
                    raise Invalid(f"{name} line {number} has no end, or is too long")
                try:
                    yield decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise Invalid(f"{name} line {number}: {error}") from error

    def _directory(self, length: int) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        total = 0
        for info in self._zip.infolist():
            # What the directory says, so that a name with a NUL or a backslash is not another one by the time it is read.
            name, stored = info.orig_filename, info.compress_size
            if name in members:
                raise Invalid(f"{name!r} is in the file twice")
            is_blob = _BLOB.match(name) is not None
            known = {MANIFEST, README, BLOBS, *(part.name for part in PARTS)}
            if not is_blob and name not in known and not _POINTS.match(name):
                raise Invalid(f"{name!r} is no part of an export")
            if info.flag_bits & 1 or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise Invalid(f"{name!r} is encrypted, or packed in an unknown way")
            if info.file_size > _MOST_SHRUNK * stored + _PIECE:
                raise Invalid(f"{name!r} would grow beyond measure")
            total += stored
            members[name] = info
        # Parts that share their bytes would add up to more than there is.
        if total > length:
            raise Invalid("the parts do not fit into the file")
        return members

    def _manifest(self) -> Manifest:
        if MANIFEST not in self._members:
            raise Invalid("this is no export of arwx: it has no manifest")
        if self._members[MANIFEST].file_size > _LARGEST_MANIFEST:
            raise Invalid("the manifest is too large")
        raw = b"".join(self._pieces(MANIFEST))
        try:
            told = msgspec.json.decode(raw, type=_Head)
            if told.format != FORMAT:
                raise Invalid("this is no export of arwx")
            if told.version != VERSION:
                raise Invalid(f"the export has the version {told.version}, and this arwx reads {VERSION}")
            return msgspec.json.decode(raw, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"{MANIFEST}: {error}") from error

    def _compare(self, name: str, size: int, sha: str) -> None:
        whole, length = hashlib.sha256(), 0
        for piece in self._pieces(name):
            whole.update(piece)
            length += len(piece)
        if (length, whole.hexdigest()) != (size, sha):
            raise Invalid(f"{name} is not as it was written")

    def _pieces(self, name: str) -> Iterator[bytes]:
        with self._open(name) as file:
            while piece := _read(name, lambda: file.read(_PIECE)):
                yield piece

    def _open(self, name: str) -> IO[bytes]:
        if name not in self._members:
            raise Invalid(f"{name} is missing")
        return _read(name, lambda: self._zip.open(self._members[name]))


class _Head(msgspec.Struct):
    """What of a manifest every version has."""

    format: str
    version: int


def _read(name: str, work: Callable[[], R]) -> R:
    try:
        return work()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise Invalid(f"{name} cannot be read: it is damaged or cut") from error
