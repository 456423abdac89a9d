"""The least that could take the same bodies: Flask, gunicorn's gevent worker, msgspec, one durable insert a batch.

No key, no dedup, no ledger, no reading: a floor to compare with, not a tracker. `BARE_DB` names its SQLite file.
"""

import os
import sqlite3
import threading
from array import array
from itertools import chain

import msgspec
from flask import Flask, Response, request

from bench.limits import Body

app = Flask(__name__)
_decoder = msgspec.json.Decoder(Body)
_connections: dict[int, sqlite3.Connection] = {}
_lock = threading.Lock()


@app.get("/ready")
def ready() -> Response:
    return Response("ok")


@app.post("/v1/ingest")
def ingest() -> Response:
    """Decode, insert the values as one row, commit with fsync."""
    body = _decoder.decode(request.get_data(cache=False))
    values = array("d", chain.from_iterable(entry.metrics.values() for entry in body.points))
    with _lock:
        _connection().execute(
            "INSERT INTO batch (run, first_seq, points) VALUES (?, ?, ?)", (body.run_id, body.first_seq, values)
        )
    return Response(f'{{"stored":{len(values)}}}', mimetype="application/json")


def _connection() -> sqlite3.Connection:
    """This process's connection; autocommit, so that each insert is a transaction of its own."""
    found = _connections.get(os.getpid())
    if found is None:
        found = sqlite3.connect(os.environ["BARE_DB"], timeout=30, isolation_level=None, check_same_thread=False)
        found.execute("PRAGMA journal_mode = WAL")
        found.execute("PRAGMA synchronous = FULL")
        found.execute(
            "CREATE TABLE IF NOT EXISTS batch (id INTEGER PRIMARY KEY, run TEXT, first_seq INTEGER, points BLOB)"
        )
        _connections[os.getpid()] = found
    return found
