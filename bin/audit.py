"""Known vulnerabilities of what requirements.txt pins. Exit code 0: none, or none that is not explained; 1: found some.

The list of vulnerabilities is asked over the network. Where that cannot be reached, this says so in one line and is
done, so that `make check` works on a plane; with ARWX_AUDIT=required, as in a release, it is a failure.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

# Vulnerability → why it does not touch arwx. Whoever adds a line says what is true of our use, and removes it in time.
ALLOWED: dict[str, str] = {}


def faults(report: dict[str, Any], allowed: dict[str, str]) -> list[str]:
    """One line for each vulnerability that nobody has explained."""
    return [
        f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {', '.join(vulnerability['fix_versions']) or 'nothing yet'}"
        for one in report["dependencies"]
        for vulnerability in one.get("vulns", [])
        if not {vulnerability["id"], *vulnerability.get("aliases", [])} & set(allowed)
    ]


def main(requirements: str = str(ROOT / "requirements.txt")) -> int:
    """Ask, and tell what was found."""
    command = [sys.executable, "-m", "pip_audit", "-f", "json", "--progress-spinner", "off", "--timeout", "5",
               "--disable-pip", "--require-hashes", "-r", requirements]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]
        print(f"pip-audit: not done, the list of vulnerabilities cannot be reached ({why})")
        return int(os.environ.get("ARWX_AUDIT") == "required")
    found = faults(report, ALLOWED)
    print("\n".join(found) or f"pip-audit: no known vulnerability in {len(report['dependencies'])} packages")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
