"""Which code runs: right in every state a repository can be in, and deaf to whatever a hostile one asks for."""

import hashlib
import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from arwandb import code
from arwandb.ignore import Ignore, Rules, is_secret
from arwandb.worktree import capture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sdk.conftest import until
from tests.sdk.research.conftest import Repository

CAP = 1 << 20


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def rebuilt(repo: Repository, tmp_path: Path, diff: str, commit: str | None) -> dict[str, bytes]:
    """What the commit and the diff alone give elsewhere."""
    other = Repository(tmp_path / "rebuilt")
    if commit is not None:
        other.git("fetch", "-q", str(repo.path), commit)
        other.git("checkout", "-q", commit)
    other.git("apply", "--allow-empty", "-", given=diff.encode())
    return other.files()


def test_a_clean_tree_has_a_commit_and_no_diff(repo: Repository) -> None:
    first = repo.commit(a__py="1\n")
    assert capture(str(repo.path), CAP) == (first, None, "main", None, None, None)
    second = repo.commit(a__py="2\n")
    os.utime(repo.path / "a.py", (1, 1))  # touched and the same
    assert capture(str(repo.path), CAP) == (second, first, "main", None, None, None)
    deep = repo.path / "deep" / "er"
    deep.mkdir(parents=True)
    assert capture(str(deep), CAP).commit == second


def test_every_change_is_in_the_diff_and_builds_the_same_tree(repo: Repository, tmp_path: Path) -> None:
    commit = repo.commit(a__py="1\n2\n3\n", gone__py="x\n", staged__py="1\n", tool__sh="#!/bin/sh\n")
    repo.write("a.py", "1\nzwei – 二\n3")
    (repo.path / "gone.py").unlink()
    repo.write("staged.py", "2\n")
    repo.git("add", "staged.py")
    (repo.path / "tool.sh").chmod(0o755)
    repo.write("new file.py", "fresh\n")
    repo.write('odd "name"\t.py', "odd\n")
    repo.write("päckchen/empty.py", "")
    repo.write("bin.dat", bytes(range(256)))
    repo.git("add", "bin.dat")

    found = capture(str(repo.path), CAP)

    assert (found.commit, found.trouble) == (commit, None)
    assert found.diff is not None
    assert hashlib.sha256(found.diff.encode()).hexdigest() == found.diff_sha
    assert rebuilt(repo, tmp_path, found.diff, commit) == repo.files()
    assert (tmp_path / "rebuilt" / "tool.sh").stat().st_mode & stat.S_IXUSR


def test_the_same_change_has_the_same_hash_whoever_looks(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.commit(a__py="1\n", b__py="1\n")
    repo.write("a.py", "2\n")
    repo.write("c.py", "3\n")
    found = capture(str(repo.path), CAP)
    for name, value in {
        "diff.noprefix": "true", "diff.mnemonicPrefix": "true", "color.ui": "always", "diff.renames": "copies",
        "diff.context": "0", "diff.orderFile": "order", "core.quotePath": "false", "diff.algorithm": "patience",
        "diff.interHunkContext": "9", "core.pager": "cat", "diff.relative": "true", "status.showUntrackedFiles": "no",
    }.items():  # fmt: skip
        repo.git("config", name, value)
    repo.write(".git/order", "b.py\n")
    monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=0")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    (repo.path / "deep").mkdir()
    assert capture(str(repo.path / "deep"), CAP) == found


def test_nothing_in_the_repository_is_written_or_locked(repo: Repository) -> None:
    repo.commit(a__py="1\n")
    os.utime(repo.path / "a.py", (1, 1))
    repo.write("new.py", "1\n")
    (repo.path / ".git" / "index.lock").touch()  # somebody else is at work
    before = {path: path.stat().st_mtime_ns for path in repo.path.rglob("*")}
    found = capture(str(repo.path), CAP)
    assert found.trouble is None
    assert "new.py" in (found.diff or "")
    assert {path: path.stat().st_mtime_ns for path in repo.path.rglob("*")} == before


def test_detached_unborn_worktree_and_nowhere(repo: Repository, tmp_path: Path) -> None:
    repo.write("a.py", "1\n")
    repo.write("b.py", "1\n")
    repo.git("add", "b.py")
    unborn = capture(str(repo.path), CAP)
    assert (unborn.commit, unborn.parent, unborn.branch, unborn.trouble) == (None, None, "main", None)
    assert rebuilt(repo, tmp_path, unborn.diff or "", None) == repo.files()

    commit = repo.commit()
    repo.git("checkout", "-q", "--detach")
    assert capture(str(repo.path), CAP)[:3] == (commit, None, None)
    repo.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side" / "a.py").write_text("2\n")
    side = capture(str(tmp_path / "side"), CAP)
    assert (side.commit, side.branch) == (commit, "side")
    assert "+2" in (side.diff or "")
    assert capture(str(repo.path), CAP).diff is None

    assert capture(str(tmp_path), CAP) == (None, None, None, None, None, None)


def test_a_submodule_is_told_by_its_commit_and_its_own_changes(repo: Repository, tmp_path: Path) -> None:
    library = Repository(tmp_path / "library")
    old = library.commit(lib__py="1\n")
    new = library.commit(lib__py="2\n")
    repo.commit(a__py="1\n")
    repo.git("submodule", "-q", "add", str(library.path), "vendor/lib")
    inner = repo.path / "vendor" / "lib"
    subprocess.run(["git", "checkout", "-q", old], cwd=inner, check=True)
    repo.git("add", "-A")
    commit = repo.commit()
    assert capture(str(repo.path), CAP).diff is None

    subprocess.run(["git", "checkout", "-q", new], cwd=inner, check=True)
    (inner / "lib.py").write_text("3\n")
    (inner / "more.py").write_text("1\n")
    found = capture(str(repo.path), CAP)
    assert f"-Subproject commit {old}" in (found.diff or "")
    assert f"+Subproject commit {new}" in (found.diff or "")
    assert "+++ b/vendor/lib/lib.py\n@@ -1 +1 @@\n-2\n+3\n" in (found.diff or "")
    assert "+++ b/vendor/lib/more.py" in (found.diff or "")
    assert (found.commit, found.trouble) == (commit, None)
    assert capture(str(inner), CAP).commit == new


def test_a_diff_over_the_cap_is_a_line_with_the_hash_of_the_whole(repo: Repository) -> None:
    repo.commit(a__py="1\n")
    repo.write("a.py", "x" * 5000 + "\n")
    whole = capture(str(repo.path), CAP)
    assert whole.diff is not None
    cut = capture(str(repo.path), 1000)
    assert (cut.commit, cut.diff_sha) == (whole.commit, whole.diff_sha)
    assert cut.diff == (
        f"# arwandb: a diff of {len(whole.diff)} bytes is over the cap of 1000 (ARWANDB_MAX_DIFF_BYTES) and is not kept; "
        f"its SHA-256 is {whole.diff_sha}\n"
    )
    assert capture(str(repo.path), 0).diff_sha == whole.diff_sha
    exact = capture(str(repo.path), len(whole.diff))
    assert exact == whole


def test_untracked_data_weights_and_outputs_do_not_change_what_was_tried(repo: Repository) -> None:
    repo.commit(a__py="1\n", __gitignore="scratch/\n")
    for name in ("model.pt", "data/train.csv", "run.log", "results.tsv", "__pycache__/a.pyc", "scratch/x.py",
                 "arwandb-spool/run_1/w.spool"):  # fmt: skip
        repo.write(name, "bytes")
    assert capture(str(repo.path), CAP).diff is None


def test_secrets_are_named_and_never_read(repo: Repository) -> None:
    repo.commit(a__py="1\n", **{"config/server.pem": "old key\n"})
    repo.write("config/server.pem", "hunter2 tracked\n")
    repo.write(".env", "TOKEN=hunter2\n")
    repo.write("deploy/.env.local", "TOKEN=hunter2\n")
    repo.write("a.py", "2\n")
    found = capture(str(repo.path), CAP)
    assert "hunter2" not in (found.diff or "")
    assert "old key" not in (found.diff or "")
    assert "+2" in (found.diff or "")
    assert "# arwandb: secret 'config/server.pem': not read\n" in (found.diff or "")


def test_big_and_binary_untracked_files_are_told_by_their_hash(repo: Repository, tmp_path: Path) -> None:
    commit = repo.commit(a__py="1\n")
    big = "line\n" * 60_000
    repo.write("big.txt", big)
    repo.write("picture.svgz", b"\x1f\x8b\0\xff")
    os.symlink("/etc/passwd", repo.path / "link.py")
    os.mkfifo(repo.path / "pipe.py")
    Repository(repo.path / "inner").commit(x="1\n")
    found = capture(str(repo.path), CAP)
    sha = hashlib.sha256(big.encode()).hexdigest()
    assert f"# arwandb: untracked 'big.txt': {len(big)} bytes {sha}\n" in (found.diff or "")
    assert "'picture.svgz': 4 bytes" in (found.diff or "")
    assert "# arwandb: untracked 'inner/': a repository at " in (found.diff or "")
    assert "root:" not in (found.diff or "")
    assert found.trouble is None
    assert rebuilt(repo, tmp_path, found.diff or "", commit) == {"a.py": b"1\n"}


def test_text_that_is_no_utf_8_and_nul_survive_as_text(repo: Repository) -> None:
    repo.commit(a__py="1\n", __gitattributes="*.raw diff\n", **{"b.raw": "1\n"})
    repo.write("a.py", b"caf\xe9\n")
    repo.write("b.raw", b"a\0b\n")
    found = capture(str(repo.path), CAP)
    assert "+caf\ufffd\n" in (found.diff or "")
    assert "\0" not in (found.diff or "")
    assert hashlib.sha256((found.diff or "").encode()).hexdigest() == found.diff_sha


def test_another_commit_can_be_the_base(repo: Repository) -> None:
    first = repo.commit(a__py="1\n")
    repo.commit(a__py="2\n")
    assert "-1\n+2\n" in (capture(str(repo.path), CAP, base=first[:10]).diff or "")
    assert capture(str(repo.path), CAP, base=first[:10]).commit == first
    assert capture(str(repo.path), CAP, base="v9.9") == ("v9.9", None, "main", None, None, None)
    assert capture(str(repo.path), CAP, base="--output=pwned").commit == "--output=pwned"
    assert not (repo.path / "pwned").exists()


HOSTILE: dict[str, Callable[[Repository, str], None]] = {}


def hostile(make: Callable[[Repository, str], None]) -> Callable[[Repository, str], None]:
    HOSTILE[make.__name__] = make
    return make


@hostile
def monitor(repo: Repository, program: str) -> None:
    repo.git("config", "core.fsmonitor", program)
    repo.git("config", "core.useBuiltinFSMonitor", "true")


@hostile
def hooks(repo: Repository, program: str) -> None:
    names = ["post-index-change", "fsmonitor-watchman", "pre-auto-gc", "reference-transaction", "post-checkout"]
    for name in names:
        hook = repo.write(f".git/hooks/{name}", Path(program).read_text())
        hook.chmod(0o755)
    os.utime(repo.path / "a.py", (1, 1))


@hostile
def external_diff(repo: Repository, program: str) -> None:
    repo.git("config", "diff.external", program)
    repo.git("config", "diff.evil.command", program)
    repo.write(".gitattributes", "* diff=evil\n")


@hostile
def text_converter(repo: Repository, program: str) -> None:
    repo.git("config", "diff.evil.textconv", program)
    repo.write(".gitattributes", "* diff=evil\n")


@hostile
def filters(repo: Repository, program: str) -> None:
    for verb in ("clean", "smudge", "process"):
        repo.git("config", f"filter.evil.{verb}", program)
        repo.git("config", f"filter.a=b.c d.{verb}", program)
    repo.git("config", "filter.evil.required", "true")
    repo.write(".gitattributes", "a.py filter=evil\n*.txt filter=a=b.c d\n")
    repo.write("note.txt", "1\n")


@hostile
def included(repo: Repository, program: str) -> None:
    repo.write("theirs", f'[filter "evil"]\n\tclean = {program}\n\trequired\n[core]\n\tfsmonitor = {program}\n')
    repo.git("config", "include.path", str(repo.path / "theirs"))
    repo.write(".gitattributes", "* filter=evil\n")


@hostile
def transports(repo: Repository, program: str) -> None:
    repo.git("config", "core.repositoryFormatVersion", "1")
    repo.git("config", "extensions.partialClone", "origin")
    repo.git("config", "remote.origin.url", f"ext::{program}")
    repo.git("config", "remote.origin.promisor", "true")
    repo.git("config", "protocol.ext.allow", "always")
    repo.git("config", "core.sshCommand", program)
    blob = repo.git("rev-parse", "HEAD:a.py")
    (repo.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()


@hostile
def pagers_and_signatures(repo: Repository, program: str) -> None:
    for name in ("core.pager", "pager.diff", "gpg.program", "core.editor", "core.askPass", "credential.helper",
                 "core.alternateRefsCommand", "interactive.diffFilter"):  # fmt: skip
        repo.git("config", name, program)
    repo.git("config", "log.showSignature", "true")


@hostile
def submodule(repo: Repository, program: str) -> None:
    inner = Repository(repo.path / "inner")
    inner.commit(x__py="1\n")
    repo.write(".gitmodules", '[submodule "inner"]\n\tpath = inner\n\turl = ./inner\n')
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "x")
    monitor(inner, program)
    filters(inner, program)
    repo.git("config", "diff.ignoreSubmodules", "none")
    repo.git("config", "diff.submodule", "diff")
    inner.write("x.py", "2\n")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_repository_starts_no_program(repo: Repository, tmp_path: Path, name: str) -> None:
    repo.commit(a__py="1\n")
    program, pwned = tmp_path / "evil", tmp_path / "pwned"
    program.write_text(f"#!/bin/sh\ntouch '{pwned}'\ncat 2>/dev/null\n")
    program.chmod(0o755)
    repo.write("a.py", "2\n")
    HOSTILE[name](repo, str(program))

    found = capture(str(repo.path), CAP)

    assert not pwned.exists()
    assert found.diff
    if name != "transports":  # there, what it was is really gone
        assert found.trouble is None


@pytest.mark.parametrize("name", ["filters", "external_diff", "monitor", "text_converter"])
def test_the_traps_of_these_tests_do_snap(repo: Repository, tmp_path: Path, name: str) -> None:
    """Plain Git falls into them: otherwise the test above would prove nothing."""
    repo.commit(a__py="1\n")
    program, pwned = tmp_path / "evil", tmp_path / "pwned"
    program.write_text(f"#!/bin/sh\ntouch '{pwned}'\ncat 2>/dev/null\n")
    program.chmod(0o755)
    repo.write("a.py", "2\n")
    HOSTILE[name](repo, str(program))
    subprocess.run(["git", "diff", "HEAD"], cwd=repo.path, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert pwned.exists()


def test_a_worktree_that_points_elsewhere_is_not_followed(repo: Repository, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "diary.txt").write_text("dear diary\n")
    repo.commit(a__py="1\n")
    repo.git("config", "core.worktree", str(private))
    repo.write("a.py", "2\n")
    found = capture(str(repo.path), CAP)
    assert "diary" not in (found.diff or "")
    assert "+2" in (found.diff or "")


@pytest.fixture
def slow_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text('#!/bin/sh\nsleep 60 &\necho $! > "$0.pid"\nsleep 60\n')
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_git_that_hangs_is_stopped_with_all_it_started(repo: Repository, slow_git: Path) -> None:
    start = time.monotonic()
    found = capture(str(repo.path), CAP, limit=0.5)
    assert time.monotonic() - start < 8
    assert "took too long" in (found.trouble or "")
    pid = int((slow_git / "git.pid").read_text())
    until(lambda: not is_running(pid), 5)


def is_running(pid: int) -> bool:
    """A process that ended and that nobody has asked after yet does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_could_not_be_told_is_never_the_same_twice(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = repo.commit(a__py="1\n")
    monkeypatch.setenv("PATH", "/nowhere")
    first, second = capture(str(repo.path), CAP), capture(str(repo.path), CAP)
    assert (first.commit, first.trouble) == (commit, "there is no git program")
    assert (first.diff or "").startswith("# arwandb: the uncommitted changes could not be told")
    assert first.diff_sha != second.diff_sha


def test_a_damaged_repository_is_said_and_breaks_nothing(repo: Repository) -> None:
    commit = repo.commit(a__py="1\n")
    (repo.path / ".git" / "index").write_bytes(b"garbage")
    found = capture(str(repo.path), CAP)
    assert found.commit == commit
    assert found.trouble
    (repo.path / ".git" / "HEAD").write_bytes(b"garbage")
    assert capture(str(repo.path), CAP).trouble


# Ignoring.

NAMES = st.sampled_from(["a", "b", "ab", "a.py", "b.py", "x y", "[a]", "a*"])
PARTS = st.sampled_from(
    ["a", "b", "ab", "*", "**", "?", "*.py", "a*", "[ab]", "[!a]", "[a-b]*", "\\*", "\\[a]", "x y", "a b"]
)
PATTERNS = st.builds(
    lambda start, parts, end: start + "/".join(parts) + end,
    st.sampled_from(["", "/", "!", "!/", "#", "\\#", "\\!"]),
    st.lists(PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "/", " ", "\\ ", "\r", "/**"]),
)


@settings(
    max_examples=500 if os.environ.get("ARWX_FULL") else 40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    lines=st.lists(PATTERNS, max_size=4),
    inner=st.lists(PATTERNS, max_size=2),
    paths=st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8),
)
def test_gitignore_means_what_git_means(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], inner: list[str], paths: list[str]
) -> None:
    repo = Repository(tmp_path_factory.mktemp("ignore"))
    for path in paths:
        full = repo.path / path
        if any(above.is_file() for above in full.parents) or full.exists():
            continue
        repo.write(path, "x")
    repo.write(".gitignore", "\n".join(lines))
    if (repo.path / "a").is_dir():
        repo.write("a/.gitignore", "\n".join(inner))
    listed = repo.git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
    ignore = Ignore().within(lines, "")
    if (repo.path / "a").is_dir():
        ignore = ignore.within(inner, "a")
    ours = [name for name in repo.files() if not ignore.ignores_deep(name)]
    assert sorted(ours) == sorted(name for name in listed if name)


@pytest.mark.parametrize("path", [
    ".env", ".env.production", "deploy/.ENV", "id_rsa", "keys/id_ed25519.pub", "a/server.pem", "TLS.KEY", ".netrc",
    ".aws/config", "home/.ssh/config", "credentials.json", "gcp-service-account.json.key", "secrets.yaml", "x/Secrets.TOML",
    "service-account-prod.json", "terraform.tfstate", ".git-credentials", ".kube/config",
])  # fmt: skip
def test_these_are_never_read(path: str) -> None:
    assert is_secret(path)


@pytest.mark.parametrize(
    "path", ["secrets.py", "environment.py", "keys.py", "key/a.py", "tokenizer.json", "env/cartpole.py"]
)
def test_these_are_code(path: str) -> None:
    assert not is_secret(path)
    assert not Ignore().ignores_deep(path)


def test_a_gitignore_may_ask_for_data_back_but_for_no_secret() -> None:
    ignore = Ignore().within(["!tiny.npy", "!.env"], "")
    assert not ignore.ignores_deep("tiny.npy")
    assert ignore.ignores_deep("other.npy")
    assert ignore.ignores_deep(".env")
    assert ignore.ignores_deep("data/train.json")
    assert not ignore.ignores_deep("data/load.py")
    assert not ignore.ignores_deep("src/data/labels.json")
    assert Rules(["a"]).verdict("b", is_folder=False) is None
    assert code.top_of("/") is None
