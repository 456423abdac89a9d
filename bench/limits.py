"""What this machine can do at best, with nothing of arwx around it."""

import os
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import zstandard

from arwx.points import Entry as WireEntry
from bench import data
from bench.table import passes


class Entry(msgspec.Struct, gc=False):
    """An entry in its plainest form."""

    step: int
    ts: float
    metrics: dict[str, float]


class Body(msgspec.Struct, gc=False):
    """A batch in its plainest form."""

    run_id: str
    writer_id: str
    epoch: str
    first_seq: int
    points: list[Entry]


def decode_json(rounds: int = 9) -> list[float]:
    """Points per second of decoding batches, one core. Many bodies, since one alone would stay in the cache."""
    bodies = [data.batch("r", "w", 0, seed) for seed in range(40)]
    decoder = msgspec.json.Decoder(Body)

    def decode() -> None:
        for body in bodies:
            decoder.decode(body)

    return [len(bodies) * data.ENTRIES * len(data.KEYS) / s for s in passes(decode, rounds)]


def decode_lines(rounds: int = 5) -> list[float]:
    """Points per second of decoding NDJSON in blocks of about half a megabyte, one core.

    Into the entry that the wire may hold: any value, since one that is no number must not fail the others.
    """
    count, encoder = 3000, msgspec.json.Encoder()
    blocks = [encoder.encode_lines(data.entries(0, count, seed)) for seed in range(20)]
    decoder = msgspec.json.Decoder(WireEntry)

    def decode() -> None:
        for block in blocks:
            decoder.decode_lines(block)

    return [len(blocks) * count * len(data.KEYS) / s for s in passes(decode, rounds)]


def compress(rounds: int = 15) -> list[float]:
    """Points per second of compressing a batch's values with zstd, one core."""
    values = np.random.default_rng(0).random(data.ENTRIES * len(data.KEYS))
    compressor = zstandard.ZstdCompressor(level=1)
    return [values.size / s for s in passes(lambda: compressor.compress(_shuffled(values)), rounds)]


def decode_columns(points: int, rounds: int = 7) -> list[float]:
    """Seconds to get `points` noisy values back from compressed columns of 4096."""
    noise = np.random.default_rng(0)
    compressor, decompressor = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
    packed = [compressor.compress(_shuffled(noise.random(min(4096, points - i)))) for i in range(0, points, 4096)]

    def decode() -> None:
        for one in packed:
            raw = np.frombuffer(decompressor.decompress(one), np.uint8)
            np.ascontiguousarray(raw.reshape(8, -1).T).view(np.float64)

    return passes(decode, rounds)


def fsync(folder: Path, rounds: int = 50) -> list[float]:
    """Seconds to append 4 KiB to a file and force it to the device."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:

        def sync() -> None:
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())

        return passes(sync, rounds)


def _shuffled(values: "np.typing.NDArray[np.float64]") -> bytes:
    return np.ascontiguousarray(values.view(np.uint8).reshape(-1, 8).T).tobytes()


def bytes_of_noise() -> float:
    """What one noisy float64 takes, byte-shuffled and compressed as hard as is sensible, in columns of 4096."""
    values = np.random.default_rng(0).random(4096)
    return len(zstandard.ZstdCompressor(level=9).compress(_shuffled(values))) / values.size
