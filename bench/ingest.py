"""Points on their way in: through the shipped gunicorn, with key, dedup, fsync and compaction."""

import http.client
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from arwx.points import Entry
from bench.table import Row, median_s, ms, rate
from tests.server import Server

ENTRIES, KEYS = 500, ("loss", "lr", "grad_norm", "val_bpb", "tokens_per_s")
_decoder = msgspec.json.Decoder(list[Entry])


def measure(scale: float) -> Iterator[Row]:
    """JSON batches by 1 and 4 clients, an NDJSON stream, and what a point takes on disk."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        started = time.perf_counter()
        server.start()
        yield Row(
            "start of the server, 2 workers, to the first answer",
            f"{time.perf_counter() - started:.2f} s",
            "",
            "≤ 1.2 s",
        )
        key = server.key("admin")
        yield Row("memory at rest, PSS of master and 2 workers", f"{_pss_mb(server):.0f} MB", "", "≤ 120 MB")
        try:
            yield from _json(server, key, scale)
            yield _stream(server, key, scale)
            yield _bytes_a_point(server, Path(folder), key)
        finally:
            server.stop()


def _json(server: Server, key: str, scale: float) -> Iterator[Row]:
    sample = _entries(0, random.Random(0))
    decode = len(KEYS) * ENTRIES / median_s(lambda: _decoder.decode(sample), 9)
    limit = f"decoding alone {rate(decode)}, fsync {ms(_fsync_s())}"
    for clients in (1, 4):
        batches = max(4, int(200 * scale / clients))
        work = [_bodies(f"json-{clients}", f"w{i}", batches) for i in range(clients)]
        _post(server, key, "/v1/runs", json.dumps({"project": "bench", "id": f"json-{clients}"}).encode())
        started = time.perf_counter()
        threads = [threading.Thread(target=_send, args=(server, key, bodies)) for bodies in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        points = clients * batches * ENTRIES * len(KEYS)
        got = rate(points / (time.perf_counter() - started))
        yield Row(
            f"ingest, JSON batches of 500 entries × 5 keys, {clients} client{'s' * (clients > 1)}",
            got,
            limit,
            "≥ 600 k points/s",
        )


def _stream(server: Server, key: str, scale: float) -> Row:
    entries = int(200_000 * scale)
    _post(server, key, "/v1/runs", b'{"project":"bench","id":"stream"}')
    lines = [b'{"run_id":"stream","writer_id":"w","epoch":"e","first_seq":0}']
    noise = random.Random(1)
    for first in range(0, entries, ENTRIES):
        lines += [json.dumps(entry).encode() for entry in json.loads(_entries(first, noise))]
    lines.append(json.dumps({"end": len(lines) - 1}).encode())
    body = b"\n".join(lines) + b"\n"
    line_decoder = msgspec.json.Decoder(Entry)
    payload = b"\n".join(lines[1:-1])
    decode = entries * len(KEYS) / median_s(lambda: line_decoder.decode_lines(payload), 3)
    started = time.perf_counter()
    answer = _post(server, key, "/v1/ingest/stream", body, "application/x-ndjson")
    taken = time.perf_counter() - started
    assert answer["stored"] == entries * len(KEYS), answer
    return Row(
        "ingest, NDJSON stream", rate(entries * len(KEYS) / taken), f"decoding alone {rate(decode)}", "≥ 1.2 M points/s"
    )


def _bytes_a_point(server: Server, folder: Path, key: str) -> Row:
    """The whole database by its points, after every run is finished."""
    points = 0
    for run in ("json-1", "json-4", "stream"):
        _post(server, key, f"/v1/runs/{run}/finish", b"{}")
        points += _get(server, key, f"/v1/runs/{run}/integrity")["points_stored"]
    size = (folder / "arwx.db").stat().st_size
    return Row(
        "on disk, all included, 5 noisy keys an entry",
        f"{size / points:.1f} bytes/point",
        "a noisy float64 about 7",
        "≤ 9 bytes/point",
    )


def _entries(first: int, noise: random.Random) -> bytes:
    entries = []
    for step in range(first, first + ENTRIES):
        moment = 1_764_000_000 + step * 0.05 + noise.random() * 0.001
        entries.append({"step": step, "ts": moment, "metrics": {key: noise.random() for key in KEYS}})
    return json.dumps(entries).encode()


def _bodies(run_id: str, writer: str, batches: int) -> list[bytes]:
    noise = random.Random(writer)
    head = {"run_id": run_id, "writer_id": writer, "epoch": "e"}
    return [
        json.dumps({**head, "first_seq": i * ENTRIES})[:-1].encode()
        + b',"points":'
        + _entries(i * ENTRIES, noise)
        + b"}"
        for i in range(batches)
    ]


def _send(server: Server, key: str, bodies: list[bytes]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for body in bodies:
        connection.request(
            "POST", "/v1/ingest", body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        told = json.loads(answer.read())
        assert told["stored"] == ENTRIES * len(KEYS), told


def _post(server: Server, key: str, path: str, body: bytes, kind: str = "application/json") -> dict[str, int]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    connection.request("POST", path, body, {"Authorization": f"Bearer {key}", "Content-Type": kind})
    found: dict[str, int] = json.loads(connection.getresponse().read())
    return found


def _get(server: Server, key: str, path: str) -> dict[str, int]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    found: dict[str, int] = json.loads(connection.getresponse().read())
    return found


def _fsync_s() -> float:
    with tempfile.NamedTemporaryFile() as file:

        def sync() -> None:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())

        return median_s(sync, 50)


def _pss_mb(server: Server) -> float:
    assert server.process is not None
    group = server.process.pid
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                total += next(
                    int(line.split()[1])
                    for line in (folder / "smaps_rollup").read_text().splitlines()
                    if line.startswith("Pss:")
                )
        except (OSError, StopIteration):
            continue
    return total / 1024
