"""Virtual environments: one for the SDK alone, as a user has it, and one for each other tracker."""

import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FOLDER = ROOT / ".venv" / "peers"


class DoesNotInstall(Exception):
    """pip could not install it here; the message is the last line that pip said."""


@cache
def python(*requirements: str) -> Path:
    """The interpreter of a venv with exactly these requirements; made on first use and kept."""
    folder = _FOLDER / "-".join(Path(requirement).name.partition("==")[0] for requirement in requirements)
    found, mark = folder / "bin" / "python", folder / ".ready"
    wanted = "\n".join(_stamp(requirement) for requirement in requirements)
    if mark.exists() and mark.read_text() == wanted:
        return found
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(found), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DoesNotInstall(done.stderr.strip().splitlines()[-1][:200])
    mark.write_text(wanted)
    return found


def sdk() -> Path:
    """The interpreter that has our wheel and nothing else."""
    return python(str(wheel()))


def wheel() -> Path:
    return max((ROOT / "dist").glob("arwandb-*.whl"))


def _stamp(requirement: str) -> str:
    """What tells a rebuilt wheel from the one that is installed."""
    file = Path(requirement)
    return f"{requirement} {file.stat().st_mtime_ns}" if file.exists() else requirement
