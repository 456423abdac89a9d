"""The way in from the command line: `arwx serve` is gunicorn at once, every other command is in `arwx.cli`."""

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run the command that the arguments name."""
    if sys.argv[1:] == ["serve"]:
        serve()
    from arwx import cli

    cli.run()


def serve() -> None:
    """Become gunicorn. It checks the settings and the database itself, so that nothing is loaded twice."""
    from arwx import config

    try:
        # But for this one: gunicorn looks at it before it comes to our settings, and does not take an empty one.
        os.environ["WEB_CONCURRENCY"] = str(config.workers(os.environ))
    except config.CannotStart as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    os.chdir(_ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "app:app"])  # noqa: S606


if __name__ == "__main__":
    main()
