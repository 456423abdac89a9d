"""Build the wheel of the SDK with the standard library alone. The same sources give the same bytes, always.

python sdk/build_wheel.py OUTDIR
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import re
import sys
import tokenize
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Zip knows no earlier moment; nothing in the wheel may depend on when it was built.
_MOMENT = (1980, 1, 1, 0, 0, 0)


def version() -> str:
    """The version, as the package itself says it."""
    found = re.search(r'^__version__ = "([^"]+)"$', (HERE / "arwandb" / "__init__.py").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit("arwandb/__init__.py does not say its version")
    return found[1]


def build(folder: Path) -> Path:
    """Write the wheel into the folder and return its path."""
    info = f"arwandb-{version()}.dist-info"
    sources = (path for path in (HERE / "arwandb").rglob("*") if path.suffix == ".py" or path.name == "py.typed")
    files = {path.relative_to(HERE).as_posix(): lean(path) for path in sources}
    files[f"{info}/METADATA"] = _metadata().encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: arwandb\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in sorted(files.items())]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"arwandb-{version()}-py3-none-any.whl"
    # The dist-info stands last, as the format recommends.
    names = sorted(files, key=lambda name: (name.startswith(info), name))
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            member = zipfile.ZipInfo(name, _MOMENT)
            member.create_system, member.external_attr = 3, 0o100644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, files[name], compresslevel=9)
    return wheel


# Whose docstrings users read. Of the other modules only the first one is shipped, which says what they are about.
_READ = {
    "__init__",
    "artifacts",
    "autoresearch",
    "documents",
    "mcp",
    "offline",
    "receipts",
    "runs",
    "server",
    "settings",
}


def lean(path: Path) -> bytes:
    """The source as it is shipped, line for line: without comments and without docstrings of what users do not call.

    Both are for those who read the repository, and would be a seventh of the wheel.
    """
    source = path.read_bytes()
    is_read = path.stem in _READ or path.parent.name == "integration"
    lines = source.decode().splitlines(keepends=True)
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    for node in ast.walk(ast.parse(source)):
        is_named = isinstance(node, (ast.FunctionDef, ast.ClassDef))
        if not is_named or (is_read and not re.match(r"_(?!_)", node.name)):
            continue
        if len(node.body) > 1 and ast.get_docstring(node, clean=False) is not None:
            told = node.body[0]
            lines[told.lineno - 1 : told.end_lineno] = ["\n"] * (told.end_lineno - told.lineno + 1)
    return "".join(lines).encode()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _metadata() -> str:
    head = [
        "Metadata-Version: 2.4",
        "Name: arwandb",
        f"Version: {version()}",
        "Summary: Log training runs to arwx: the loop never waits, and nothing that was spooled is lost.",
        "License-Expression: MIT",
        "Requires-Python: >=3.10",
        "Classifier: Programming Language :: Python :: 3",
        "Classifier: Typing :: Typed",
        "Description-Content-Type: text/markdown",
    ]
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    start, heading, _ = readme.partition("\n## ")
    more = "The documentation is served by every arwx server at `/docs`.\n" if heading else ""
    return "\n".join(head) + "\n\n" + start + more


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python sdk/build_wheel.py OUTDIR")
    print(build(Path(sys.argv[1])))
