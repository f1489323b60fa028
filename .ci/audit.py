"""Compare the pinned packages with the list of known vulnerabilities; ``make audit`` runs this.

A finding fails. Without a network, or behind a mirror that has no advisories, nothing was compared:
that is said, and is not a failure.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"

TIMEOUT_SECONDS = 180.0

MOST_UNKNOWN = 0.5
"""If the service does not know more than this fraction of the packages, it is not the real one."""

ACCEPTED: dict[str, str] = {}
"""Findings that do not concern livepick, by their id, each with the reason."""


def main() -> int:
    """Print the result, and return the exit status."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS)]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    for accepted in ACCEPTED:
        command += ["--ignore-vuln", accepted]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return _not_done(f"no answer within {TIMEOUT_SECONDS:.0f} s")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return _not_done((done.stderr.strip() or f"status {done.returncode}").splitlines()[-1])
    return report(packages)


def report(packages: list[dict[str, Any]]) -> int:
    """Print what was found in packages as pip-audit lists them, and return the exit status."""
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) > MOST_UNKNOWN * len(packages):
        return _not_done(f"the service does not know {len(unknown)} of {len(packages)} packages")
    found = 0
    for package in packages:
        for advisory in package.get("vulns", ()):
            fixed = ", ".join(advisory["fix_versions"]) or "none yet"
            print(f"{package['name']} {package['version']}: {advisory['id']}; fixed in {fixed}")
            found += 1
    if unknown:
        print(f"audit: not compared: {', '.join(unknown)}")
    known = len(packages) - len(unknown)
    print(f"audit: {known} packages, {found or 'no'} known vulnerabilities")
    return 1 if found else 0


def _not_done(why: str) -> int:
    print(f"audit: NOT DONE: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
