"""The points that are sent: five noisy metrics an entry, which compress as badly as real ones do."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

KEYS = ("loss", "lr", "grad_norm", "val_bpb", "tokens_per_s")
ENTRIES = 500
"""A batch: so many entries of `KEYS`."""

_EPOCH = 1_764_000_000.0
_STEP_S = 0.05


def entries(first: int, count: int, seed: int, keys: Sequence[str] = KEYS) -> list[dict[str, Any]]:
    """Entries from step `first` on. The same seed gives the same noise."""
    noise = np.random.default_rng(seed)
    moments = _EPOCH + (first + np.arange(count)) * _STEP_S + noise.random(count) * 0.001
    rows = noise.random((count, len(keys))).tolist()
    return [
        {"step": first + i, "ts": ts, "metrics": dict(zip(keys, row, strict=True))}
        for i, (ts, row) in enumerate(zip(moments.tolist(), rows, strict=True))
    ]


def batch(run_id: str, writer: str, first: int, seed: int, count: int = ENTRIES, keys: Sequence[str] = KEYS) -> bytes:
    """The body of one `POST /v1/ingest`."""
    return msgspec.json.encode(
        {
            "run_id": run_id,
            "writer_id": writer,
            "epoch": "e",
            "first_seq": first,
            "points": entries(first, count, seed, keys),
        }
    )


def stream(run_id: str, writer: str, first: int, count: int, seed: int, keys: Sequence[str] = KEYS) -> bytes:
    """The body of one `POST /v1/ingest/stream`: head, entries, end line."""
    head = {"run_id": run_id, "writer_id": writer, "epoch": "e", "first_seq": first}
    return msgspec.json.Encoder().encode_lines([head, *entries(first, count, seed, keys), {"end": count}])
