"""Which files of a folder are code: the rules of .gitignore, what is ignored by default, and what is never taken."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

# Never read, whatever else is said: keys, passwords, and what holds them.
SECRETS = """
.env .env.* .envrc *.env .netrc _netrc .git-credentials .pypirc .npmrc .htpasswd .vault-token .pgpass
*.pem *.key *.p12 *.pfx *.p8 *.jks *.keystore *.kdbx *.asc *.gpg *.ppk *.ovpn
id_rsa* id_dsa* id_ecdsa* id_ed25519* *_rsa *_ed25519 authorized_keys known_hosts
.ssh/ .aws/ .azure/ .gnupg/ .kube/ .docker/ .config/gcloud/
credentials secret secrets *{credentials,secret,secrets}.{json,yaml,yml,toml,ini,cfg,conf,txt,xml,properties}
service-account*.json *.tfstate *.tfvars
"""
# Caches, data sets, weights and what training leaves behind; a .gitignore may ask for some of it back with `!`.
DEFAULTS = """
.git .hg/ .svn/ .jj/ __pycache__/ *.py[cod] *.so *.egg-info/ .eggs/ .tox/ .nox/ .venv/ venv/ node_modules/
.*_cache/ .cache/ .ipynb_checkpoints/ .hypothesis/ .idea/ .DS_Store Thumbs.db *.swp *~
arwandb-spool/ wandb/run-*/ wandb/offline-run-*/ wandb/latest-run mlruns/ lightning_logs/ .aim/ .neptune/ .dvc/cache/
*.log results.tsv nohup.out core.[0-9]* events.out.tfevents.*
/data/** !/data/**/ !/data/**/*.py /datasets/** !/datasets/**/ !/datasets/**/*.py
*.parquet *.arrow *.feather *.avro *.orc *.npy *.npz *.h5 *.hdf5 *.tfrecord *.tfrecords *.lmdb *.mdb *.mat *.zarr/ *.rec
*.zip *.tar *.tar.* *.tgz *.tbz2 *.txz *.gz *.bz2 *.xz *.zst *.lz4 *.7z *.rar *.wav *.flac *.mp3 *.mp4 *.mkv *.avi
*.db *.sqlite *.sqlite3
*.pt *.pth *.ckpt *.safetensors *.onnx *.gguf *.ggml *.bin *.pkl *.pickle *.joblib *.pb *.tflite *.mlmodel *.keras *.caffemodel
/checkpoints/ /weights/
"""
_MAX_RULES = 1 << 20


class Rules:
    """The patterns of one .gitignore, which stands in `folder`: a path relative to the root, "" for the root itself."""

    def __init__(self, lines: Iterable[str], folder: str = "", *, is_folded: bool = False) -> None:
        self._start = f"{folder}/" if folder else ""
        self._rules: list[tuple[re.Pattern[str], bool, bool]] = []
        flags = re.DOTALL | (re.IGNORECASE if is_folded else 0)
        for line in lines:
            rule = _parsed(line)
            if rule is not None:
                pattern, is_positive, is_for_folders = rule
                self._rules.append((re.compile(pattern, flags), is_positive, is_for_folders))

    def __bool__(self) -> bool:
        return bool(self._rules)

    def verdict(self, path: str, *, is_folder: bool) -> bool | None:
        """True to ignore the path, False to keep it, None if no pattern speaks of it. The last one that does counts."""
        if not path.startswith(self._start):
            return None
        inner = path[len(self._start) :]
        for pattern, is_positive, is_for_folders in reversed(self._rules):
            if (is_folder or not is_for_folders) and pattern.fullmatch(inner):
                return is_positive
        return None


def is_secret(path: str) -> bool:
    """Whether the path, or a folder on its way, is one that is never read."""
    parts = path.split("/")
    folders = any(SECRET.verdict("/".join(parts[:depth]), is_folder=True) for depth in range(1, len(parts)))
    return folders or bool(SECRET.verdict(path, is_folder=False))


class Ignore:
    """The rules that hold in a tree of folders, read as one descends. A folder that is ignored is not descended into."""

    def __init__(self, outer: Iterable[Rules] = ()) -> None:
        self._rules = [DEFAULT, *outer]

    def within(self, lines: Iterable[str], folder: str) -> Ignore:
        """The rules below a folder that has a .gitignore of its own."""
        inner = Ignore()
        inner._rules = [*self._rules, Rules(lines, folder)]
        return inner

    def ignores(self, path: str, *, is_folder: bool) -> bool:
        """Whether the path is left out; its folders are not."""
        if SECRET.verdict(path, is_folder=is_folder):
            return True
        for rules in reversed(self._rules):
            verdict = rules.verdict(path, is_folder=is_folder)
            if verdict is not None:
                return verdict
        return False

    def ignores_deep(self, path: str) -> bool:
        """Whether the file or one of its folders is left out."""
        parts = path.split("/")
        folders = any(self.ignores("/".join(parts[:depth]), is_folder=True) for depth in range(1, len(parts)))
        return folders or self.ignores(path, is_folder=False)


def lines_of(path: str) -> list[str]:
    """The lines of a .gitignore; none if it is missing, unreadable or absurdly long."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            text = file.read(_MAX_RULES + 1)
    except (OSError, ValueError):
        return []
    return [] if len(text) > _MAX_RULES else text.split("\n")


def outer_rules(root: str, repository: str | None) -> list[Rules]:
    """What holds in `root` from outside: Git's own lists, and the .gitignore of each folder above it in its repository."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    if repository is None:
        return []
    inner = os.path.relpath(root, repository).replace(os.sep, "/")
    parts = [] if inner == "." else inner.split("/")
    found = [_Outside(lines_of(os.path.join(home, "git", "ignore")), parts)]
    found.append(_Outside(lines_of(os.path.join(repository, ".git", "info", "exclude")), parts))
    for depth in range(len(parts)):
        path = os.path.join(repository, *parts[:depth], ".gitignore")
        found.append(_Outside(lines_of(path), parts[depth:]))
    return [rules for rules in found if rules]


class _Outside(Rules):
    """Rules of a folder above the root: a path of the root is looked at as that folder sees it."""

    def __init__(self, lines: Iterable[str], parts: list[str]) -> None:
        super().__init__(lines)
        self._way = "".join(f"{part}/" for part in parts)

    def verdict(self, path: str, *, is_folder: bool) -> bool | None:
        return super().verdict(self._way + path, is_folder=is_folder)


def _parsed(line: str) -> tuple[str, bool, bool] | None:
    """A line of a .gitignore as a regular expression, whether it ignores (or keeps), whether it is for folders alone."""
    line = line[:-1] if line.endswith("\r") else line
    if line.startswith("#"):
        return None
    line = _without_blanks(line)
    is_positive = not line.startswith("!")
    line = line if is_positive else line[1:]
    is_for_folders = line.endswith("/")
    line = line[:-1] if is_for_folders else line
    if not line:
        return None
    is_anchored = "/" in line
    line = line[1:] if line.startswith("/") else line
    expression = _translated(line)
    if expression is None:
        return None
    return (expression if is_anchored else f"(?:.*/)?{expression}"), is_positive, is_for_folders


def _without_blanks(line: str) -> str:
    """The line without blanks at its end, but for one behind a backslash."""
    end = len(line)
    while end and line[end - 1] == " ":
        backslashes = 0
        while backslashes < end - 1 and line[end - 2 - backslashes] == "\\":
            backslashes += 1
        if backslashes % 2:
            break
        end -= 1
    return line[:end]


def _translated(glob: str) -> str | None:
    """The glob as a regular expression; None for one that can match nothing, as Git has it."""
    parts: list[str] = []
    at = 0
    while at < len(glob):
        letter = glob[at]
        if letter == "*":
            end = at
            while end < len(glob) and glob[end] == "*":
                end += 1
            is_between = (at == 0 or glob[at - 1] == "/") and (end == len(glob) or glob[end] == "/")
            if end - at < 2 or not is_between:
                parts.append("[^/]*")
            elif end == len(glob):
                parts.append(".+" if at else "[^/]*")
            else:
                parts.append("(?:.*/)?")
                end += 1
            at = end
        elif letter == "?":
            parts.append("[^/]")
            at += 1
        elif letter == "[":
            found = _character_class(glob, at)
            if found is None:
                return None
            expression, at = found
            parts.append(expression)
        elif letter == "\\":
            if at + 1 == len(glob):
                return None
            parts.append(re.escape(glob[at + 1]))
            at += 2
        else:
            parts.append(re.escape(letter))
            at += 1
    return "".join(parts)


_CLASSES = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z", "xdigit": "0-9a-fA-F",
    "space": " \\t\\n\\r\\f\\v", "blank": " \\t", "punct": "!-/:-@\\[-`{-~", "cntrl": "\\x00-\\x1f\\x7f",
    "graph": "!-~", "print": " -~",
}  # fmt: skip


def _character_class(glob: str, start: int) -> tuple[str, int] | None:
    """The class that begins at `start`, and where it ends; None if it does not end."""
    at = start + 1
    is_negative = at < len(glob) and glob[at] in "!^"
    at += is_negative
    parts: list[str] = []
    is_first = True
    while True:
        if at >= len(glob):
            return None
        letter = glob[at]
        if letter == "]" and not is_first:
            break
        is_first = False
        if letter == "[" and glob[at : at + 2] == "[:":
            end = glob.find(":]", at + 2)
            if end > 0:
                inner = _CLASSES.get(glob[at + 2 : end])
                if inner is None:
                    return None
                parts.append(inner)
                at = end + 2
                continue
        if letter == "\\":
            at += 1
            if at >= len(glob):
                return None
            letter = glob[at]
        at += 1
        if at + 1 < len(glob) and glob[at] == "-" and glob[at + 1] != "]":
            last = glob[at + 1]
            at += 2
            if last == "\\":
                if at >= len(glob):
                    return None
                last = glob[at]
                at += 1
            if letter <= last:
                parts.append(f"{re.escape(letter)}-{re.escape(last)}")
        else:
            parts.append(re.escape(letter))
    inner = "".join(parts)
    if not inner:
        return ("[^/]" if is_negative else "(?!)"), at + 1
    return (f"(?!/)[{'^' if is_negative else ''}{inner}]"), at + 1


def _alternatives(word: str) -> list[str]:
    """`a{b,c}` as `ab` and `ac`: braces are ours, .gitignore has none."""
    head, brace, rest = word.partition("{")
    if not brace:
        return [word]
    inner, _, tail = rest.partition("}")
    return [found for part in inner.split(",") for found in _alternatives(head + part + tail)]


SECRET = Rules((glob for word in SECRETS.split() for glob in _alternatives(word)), is_folded=True)
DEFAULT = Rules(DEFAULTS.split())
