"""Artifacts up and down: nothing lost, nothing wrong, nothing outside, whatever the server or the folder is up to."""

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import arwandb
import pytest
from arwandb import autoresearch as ar
from arwandb import transfer
from arwandb.artifacts import Version
from arwandb.server import ApiError, Server
from arwandb.settings import Settings

from tests.sdk.conftest import SDK, Real, until
from tests.sdk.research.conftest import get

SMALL = b"bytes of a file\n"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(path: Any, data: bytes = SMALL, **more: Any) -> dict[str, Any]:
    return {"path": path, "sha": sha(data), "size": len(data), "mode": "100644", **more}


class Liar:
    """A server that answers with whatever manifest and bytes a test wants."""

    def __init__(self) -> None:
        self.entries: Any = []
        self.blobs: dict[str, bytes] = {sha(SMALL): SMALL}
        self.knows_ranges = True
        self.cut: int | None = None
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                if "/v1/blobs/" not in self.path:
                    version = {"name": "m", "version": 1, "project": "p", "entries": outer.entries}
                    self.reply(200, json.dumps(version).encode())
                    return
                outer.asked.append(self.headers.get("Range", "all"))
                data = outer.blobs.get(self.path.rpartition("/")[2])
                if data is None:
                    self.reply(404, b'{"status":404,"detail":"No such blob."}', "application/problem+json")
                    return
                start = 0
                if "Range" in self.headers and outer.knows_ranges:
                    start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                if outer.cut is not None:
                    self.wfile.write(data[start : start + outer.cut])
                    self.close_connection = True
                    outer.cut = None
                else:
                    self.wfile.write(data[start:])

            def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Liar]:
    server = Liar()
    monkeypatch.setenv("ARWANDB_BASE_URL", server.base_url)
    monkeypatch.setenv("ARWANDB_API_KEY", "arwx_live_" + "k" * 30)
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files are to go; beside it lies what must not be touched."""
    (tmp_path / "bashrc").write_text("mine")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text("mine")
    target = tmp_path / "target"
    target.mkdir()
    return target


def outside(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder.parent)): path.read_text()
        for path in folder.parent.rglob("*")
        if path.is_file() and folder not in path.parents and "spool" not in path.parts
    }


@pytest.mark.parametrize("path", [
    "../bashrc", "a/../../bashrc", "/etc/arwandb-test", "./bashrc", "a//b", "", ".", "..", "a/", "a\\..\\b", "C:evil", "c:/evil",
    ".git/hooks/post-checkout", "a/.GIT/config", ".git. /x", "nul\0byte", "new\nline", "cafe\u0301", "x" * 256, "y/" * 600 + "y",
    None, 7, ["a"], "\ud800",
])  # fmt: skip
def test_a_manifest_that_leads_out_is_refused_before_anything_is_written(liar: Liar, folder: Path, path: Any) -> None:
    liar.entries = [entry("good.txt"), entry(path)]
    before = outside(folder)
    with pytest.raises(arwandb.Error, match="manifest"):
        ar.get_artifact("m").download(folder)
    assert list(folder.iterdir()) == []
    assert outside(folder) == before
    assert liar.asked == []


@pytest.mark.parametrize("entries", [
    [entry("a"), entry("a")], [entry("A"), entry("a")], [entry("a"), entry("a/b")], [entry("a/b"), entry("A")],
    [entry("a", sha="../../x")], [entry("a", sha="A" * 64)], [entry("a", size=-1)], [entry("a", size="1")], [entry("a", size=True)],
    [entry("a", mode="120000")], [entry("a", mode="160000")], [entry("a", mode=7)], ["a"], [None], "a", None, {"a": 1},
])  # fmt: skip
def test_a_manifest_that_is_none_is_refused(liar: Liar, folder: Path, entries: Any) -> None:
    liar.entries = entries
    with pytest.raises(arwandb.Error, match="manifest"):
        Version(
            {"name": "m", "version": 1, "entries": entries or []} if entries else {"name": "m", "version": 1}
        ).download(folder)
    assert list(folder.iterdir()) == []


TRAPS: dict[str, Callable[[Path], object]] = {
    "a link as the file": lambda folder: (folder / "a").mkdir() or os.symlink("../../bashrc", folder / "a" / "b.txt"),
    "a link as a folder": lambda folder: os.symlink("../private", folder / "a"),
    "a link to a folder inside": lambda folder: (folder / "x").mkdir() or os.symlink("x", folder / "a"),
    "a dangling link": lambda folder: os.symlink("../made", folder / "a"),
    "a file as a folder": lambda folder: (folder / "a").write_text("x"),
    "a folder as the file": lambda folder: (folder / "a" / "b.txt").mkdir(parents=True),
    "a pipe as the file": lambda folder: (folder / "a").mkdir() or os.mkfifo(folder / "a" / "b.txt"),
    "a pipe as a folder": lambda folder: os.mkfifo(folder / "a"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_nothing_outside_is_written_whatever_lies_in_the_folder(liar: Liar, folder: Path, trap: str) -> None:
    liar.entries = [entry("a/b.txt")]
    TRAPS[trap](folder)
    before = outside(folder)
    trouble = ""
    try:
        ar.get_artifact("m").download(folder)
    except arwandb.Error as error:
        trouble = str(error)
    assert "cannot be written" in trouble or not trouble
    if not trouble:  # a name was replaced, not what it led to
        assert (folder / "a" / "b.txt").read_bytes() == SMALL
        assert not (folder / "a" / "b.txt").is_symlink()
        assert not (folder / "a").is_symlink()
    assert outside(folder) == before
    assert not [path for path in folder.rglob("*") if path.name.endswith(".part")]


def test_what_lies_under_the_temporary_name_is_no_way_out_either(liar: Liar, folder: Path) -> None:
    liar.entries = [entry("b.txt")]
    part = f".arwandb-{sha(f'{sha(SMALL)} b.txt'.encode())[:24]}.part"
    for make in (os.symlink, os.link):
        make(folder.parent / "private" / "key", folder / part)
        ar.get_artifact("m").download(folder)
        assert (folder / "b.txt").read_bytes() == SMALL
        assert (folder.parent / "private" / "key").read_text() == "mine"
        (folder / part).unlink(missing_ok=True)
        (folder / "b.txt").unlink()


@pytest.mark.parametrize("lie", [b"other bytes here", b"", SMALL + b"more", SMALL[:-1]])
def test_wrong_bytes_never_get_the_name(liar: Liar, folder: Path, lie: bytes) -> None:
    liar.entries = [entry("b.txt")]
    liar.blobs[sha(SMALL)] = lie
    (folder / "b.txt").write_text("what was here")
    with pytest.raises(ar.Damaged):
        ar.get_artifact("m").download(folder)
    assert (folder / "b.txt").read_text() == "what was here"
    liar.blobs[sha(SMALL)] = SMALL
    ar.get_artifact("m").download(folder)
    assert (folder / "b.txt").read_bytes() == SMALL
    assert [path.name for path in folder.iterdir()] == ["b.txt"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_cut_transfer_goes_on_where_it_ended(liar: Liar, folder: Path, knows_ranges: bool) -> None:
    data = os.urandom(300_000)
    liar.blobs[sha(data)], liar.entries, liar.knows_ranges = data, [entry("big", data)], knows_ranges
    liar.cut = 100_000
    ar.get_artifact("m").download(folder)
    assert (folder / "big").read_bytes() == data
    assert liar.asked[:2] == ["all", "bytes=100000-"]
    assert len(liar.asked) == (2 if knows_ranges else 3)
    assert [path.name for path in folder.iterdir()] == ["big"]


def test_what_an_earlier_process_left_is_used_if_it_is_right(liar: Liar, folder: Path) -> None:
    data = os.urandom(200_000)
    liar.blobs[sha(data)], liar.entries = data, [entry("big", data)]
    part = folder / f".arwandb-{sha(f'{sha(data)} big'.encode())[:24]}.part"
    part.write_bytes(data[:150_000])
    ar.get_artifact("m").download(folder)
    assert liar.asked == ["bytes=150000-"]
    (folder / "big").unlink()
    part.write_bytes(b"garbage" * 1000)
    ar.get_artifact("m").download(folder)
    assert (folder / "big").read_bytes() == data
    ar.get_artifact("m").download(folder)  # it is there: nothing is asked for
    assert liar.asked == ["bytes=150000-", "bytes=7000-", "all"]


def test_programs_stay_programs_and_empty_files_are_files(liar: Liar, folder: Path) -> None:
    liar.blobs[sha(b"")] = b""
    liar.entries = [entry("bin/run", mode="100755"), entry("empty", b""), entry("plain", mode=None)]
    ar.get_artifact("m").download(folder)
    assert stat.S_IMODE((folder / "bin" / "run").stat().st_mode) & 0o111
    assert not stat.S_IMODE((folder / "plain").stat().st_mode) & 0o111
    assert (folder / "empty").read_bytes() == b""


def test_a_blob_that_is_gone_is_an_error_and_leaves_nothing(liar: Liar, folder: Path) -> None:
    liar.entries = [entry("b.txt"), entry("gone", b"gone"), entry("c.txt")]
    with pytest.raises(ApiError, match="No such blob"):
        ar.get_artifact("m").download(folder)
    assert not (folder / "gone").exists()
    assert not list(folder.glob("*.part"))


def test_a_full_disk_is_said_as_that(liar: Liar, folder: Path) -> None:
    data = os.urandom(300_000)
    liar.blobs[sha(data)], liar.entries = data, [entry("b.txt", data)]
    code = (
        "import resource, signal, sys\nfrom arwandb import autoresearch as ar\nimport arwandb\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    ar.get_artifact('m').download(sys.argv[1])\nexcept arwandb.Error as error:\n    print(error)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(SDK)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environ, capture_output=True, text=True, check=True
    )
    assert "b.txt cannot be written: File too large" in done.stdout
    assert liar.asked == ["all"], "the server is not to blame, and not asked again"
    assert not (folder / "b.txt").exists()


# Against the real server.


def test_a_folder_comes_back_as_it_was(real: Real, tmp_path: Path) -> None:
    source = tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    files = {f"deep/{number}.txt": f"{number % 50}".encode() for number in range(120)}
    files |= {
        "weights.bin": os.urandom(3 << 20),
        "empty": b"",
        "ümlaut – 二.txt": b"x",
        ".hidden": b"y",
        ".env": b"asked for",
    }
    for name, data in files.items():
        (source / name).write_bytes(data)
    os.symlink("weights.bin", source / "link.bin")
    os.symlink("deep", source / "again")
    (source / "weights.bin").chmod(0o755)
    v = ar.artifact("m", source, metadata={"loss": 0.1})
    assert v["metadata"] == {"loss": 0.1}
    folder = Path(v.download(tmp_path / "got"))
    got = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    expected = files | {"link.bin": files["weights.bin"]}
    expected |= {name.replace("deep/", "again/"): data for name, data in files.items() if name.startswith("deep/")}
    assert got == expected
    assert os.access(folder / "weights.bin", os.X_OK)
    assert ar.artifact("m", folder)["deduped"] is True
    assert [one["version"] for one in get(real, f"/v1/artifacts/m?project={v['project']}")["versions"]] == [1]


def test_files_lists_and_mappings_become_trees(real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b.txt").write_text("b")

    def stored(paths: Any) -> list[str]:
        v = ar.artifact("m-" + os.urandom(3).hex(), paths)
        return [one["path"] for one in ar.get_artifact(v["name"], v["label"])["entries"]]

    assert stored("a.txt") == ["a.txt"]
    assert stored(["a.txt", Path("d")]) == ["a.txt", "d/b.txt"]
    assert stored({"x/y.txt": "a.txt"}) == ["x/y.txt"]
    os.symlink("..", tmp_path / "d" / "loop")
    with pytest.raises(ar.UsageError, match="circle"):
        stored("d")


def test_a_file_that_changes_while_it_is_sent_is_no_version(
    real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(os.urandom(100))
    read = transfer.trees.pieces
    for data in (os.urandom(100), os.urandom(50), os.urandom(150), None):

        def pieces(file: Any, data: bytes | None = data) -> Iterator[bytes]:
            path.write_bytes(data) if data is not None else path.unlink()
            yield from read(file)

        monkeypatch.setattr(transfer.trees, "pieces", pieces)
        path.write_bytes(os.urandom(100))
        with pytest.raises(ar.Changed):
            ar.artifact("m", path)
    with pytest.raises(ar.NotFound):
        ar.get_artifact("m")


def test_promote_takes_numbers_labels_refs_and_versions(real: Real, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    first = ar.artifact("m", tmp_path / "x")
    (tmp_path / "x").write_text("2")
    second = ar.artifact("m", tmp_path / "x")
    for version, number in ((1, 1), ("v2", 2), ("1", 1), (second, 2), (first["label"], 1), ("latest", 2)):
        assert ar.promote("m", "winner", version)["version"] == number
        assert ar.get_artifact("m:winner")["version"] == number
    assert ar.promote("m", "production", "winner")["version"] == 2
    for ref in ("latest", "v9"):
        with pytest.raises(ApiError, match="reserved"):
            ar.promote("m", ref, 1)
    with pytest.raises(ar.NotFound):
        ar.promote("m", "winner", 9)


def test_a_big_file_takes_little_memory_both_ways(real: Real, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        for number in range(96):
            file.write(number.to_bytes(8, "big") * (1 << 17))
    code = (
        "import resource\nfrom arwandb import autoresearch as ar\nfrom arwandb import transfer\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "ar.artifact('small', __file__).download('small')\nbefore = peak()\n"
        "ar.artifact('big', 'big').download('got')\nprint(peak() - before)\n"
    )
    (tmp_path / "script.py").write_text(code)
    environ = {**os.environ, "PYTHONPATH": str(SDK)}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 24, "96 MiB went up and down"
    assert (tmp_path / "got" / "big").read_bytes() == (tmp_path / "big").read_bytes()


def test_a_terminal_shows_a_bar_and_a_file_does_not(real: Real, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(4 << 20))
    code = (
        "from arwandb import autoresearch as ar, transfer\ntransfer._AFTER_S = transfer._EVERY_S = 0\n"
        "ar.artifact('m', 'big').download('got')\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(SDK)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, check=True)
    assert done.stderr == b""
    master, slave = os.openpty()
    (tmp_path / "big").write_bytes(os.urandom(4 << 20))
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environ, stderr=slave)
    os.close(slave)
    shown = bytearray()

    def read() -> None:
        try:
            while piece := os.read(master, 4096):
                shown.extend(piece)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(30) == 0
    reader.join(5)
    os.close(master)
    assert b"uploading artifact m [" in shown
    assert b"downloading m:v2 [" in shown
    assert b"4.0 MiB/4.0 MiB" in shown


def test_a_connection_that_breaks_is_tried_again(real: Real, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(os.urandom(100))
    send, broken = Server._try, []

    def flaky(self: Server, request: Any, sink: Any) -> Any:
        if len(broken) < 4 and request.path == "/v1/blobs":
            broken.append(request.path)
            return None, "it broke"
        return send(self, request, sink)

    monkeypatch.setattr(Server, "_try", flaky)
    assert ar.artifact("m", [tmp_path / f"{number}" for number in range(5)])["files"] == 5
    until(lambda: len(broken) == 4)
    assert Settings().base_url == real.base_url
