"""What is called safe is on the device: between the last write to a file and the word that it is kept, it was forced there.

A power cut takes what was not. Nobody can pull the plug in a test, but the kernel tells in which order it was asked.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arwx import schema
from arwx.db import Database
from tests.server import ROOT

CALLS = "write,writev,pwrite64,pwritev,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,linkat"
# What is made again from what is on the device, and what is only a hint: not part of what is promised.
UNPROMISED = re.compile(r"-shm$|-journal$|\.lock$|\.ack(\.|$)|\.gitignore$|\.pyc|\.tmp$|\.patch$")
KEPT = "this is kept"

BLOB = """
from arwx import blobstore
store = blobstore.open_store(pathlib.Path(folder, "blobs").as_uri(), None)
blobstore.receive(store, 1, iter([b"x" * 3_000_000]))
print(kept, flush=True)
"""
INGEST = """
from arwx import create_app, config
from tests.make import Maker, point
app = create_app(config.Settings(f"sqlite:///{folder}/arwx.db", pathlib.Path(folder), "x" * 40))
ada = Maker(app).caller("Ada's lab")
run = ada.run()
for step in range(3):
    assert ada.ingest(run["id"], [point(step)], first_seq=step).status_code == 200
    print(kept, flush=True)
"""
SPOOL = """
import arwandb
run = arwandb.init(mode="offline", project="p", dir=folder)
for step in range(500):
    arwandb.log({"loss": float(step)})
arwandb.finish()
print(kept, flush=True)
"""
SYNCED = """
import arwandb, time
run = arwandb.init(mode="offline", project="p", dir=folder)
spool = run._engine.spool
for step in range(500):
    arwandb.log({"loss": float(step)})
while spool.synced_seq < 500:
    time.sleep(0.01)
print(kept, flush=True)
os._exit(0)
"""
SECRET = """
from arwx import config
config.from_environment({"ARWX_DATA_DIR": folder})
print(kept, flush=True)
"""


def unsafe(trace: str, folder: Path) -> list[str]:
    """The files and folders that were changed and not forced to the device when the word was given."""
    written: set[str] = set()
    names: set[str] = set()
    found: list[str] = []
    words = 0

    def told(path: str) -> bool:
        return path.startswith(str(folder)) and not UNPROMISED.search(path)

    for line in trace.splitlines():
        if " = -1 " in line or "resumed>" in line:
            continue
        if "write(1<" in line and KEPT in line:
            words += 1
            found += sorted(written) + [f"the names in {name}" for name in sorted(names)]
        elif match := re.search(r"(?:write|writev|pwrite64|pwritev|ftruncate)\(\d+<(/[^>]*)>", line):
            if told(match[1]):
                written.add(match[1])
        elif match := re.search(r"f(?:data)?sync\(\d+<(/[^>]*)>", line):
            written.discard(match[1])
            names.discard(match[1])
        elif match := re.search(r'(?:rename|link)\w*\(.*?"([^"]+)".*?"([^"]+)"', line):
            old, new = match[1], match[2]
            if told(new):
                names.add(str(Path(new).parent))
                if old in written:
                    written.remove(old)
                    written.add(new)
                    # A spool grows under its name, and its reader knows what is whole. Everything else is whole or not there.
                    if not new.endswith(".spool"):
                        found.append(f"{new} got its name before its bytes")
    assert words, "nothing was ever called kept"
    return found


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    "story", [BLOB, INGEST, SPOOL, SYNCED, SECRET], ids=["a blob", "an ingest", "a spool", "a synced spool", "a secret"]
)
def test_what_is_called_kept_survives_a_power_cut(tmp_path: Path, story: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    if story is INGEST:
        schema.upgrade(Database(f"sqlite:///{folder / 'arwx.db'}"))
    code = f"import os, pathlib, sys\nsys.path.insert(0, 'sdk')\nfolder, kept = sys.argv[1], {KEPT!r}\n{story}"
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-y", "-s", "64", "-o", trace, "-e", f"trace={CALLS}", sys.executable, "-c", code, folder],
        cwd=ROOT,
        check=True,
        timeout=120,
        capture_output=True,
    )
    assert unsafe(trace.read_text(), folder) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda trace: trace.replace("fsync(3</d/a>) = 0\n", ""), ["/d/a"]),
        (lambda trace: trace.replace("fsync(4</d>) = 0\n", ""), ["the names in /d"]),
        (lambda trace: trace.replace("fsync(3</d/a.new>) = 0\n", ""), ["/d/a.made got its name before its bytes", "/d/a.made"]),
        (lambda trace: trace, []),
    ],
)  # fmt: skip
def test_what_is_missing_in_an_order_of_calls_is_found(spoil: Callable[[str], str], said: list[str]) -> None:
    trace = (
        'write(3</d/a.new>, "x", 1) = 1\nfsync(3</d/a.new>) = 0\nrename("/d/a.new", "/d/a.made") = 0\n'
        'fsync(4</d>) = 0\nwrite(3</d/a>, "x", 1) = 1\nfsync(3</d/a>) = 0\nwrite(1<pipe:[1]>, "this is kept\\n", 13) = 13\n'
    )
    assert unsafe(spoil(trace), Path("/d")) == said
