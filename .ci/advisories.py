"""Part of make lint: fails when an advisory is about a locked version, and says how many could not be asked about.

Reads the JSON of pip-audit from standard input. Lint has to work without a network, so what nobody could be asked about
is told and let pass; make audit insists on every version.
"""

from __future__ import annotations

import json
import sys


def main(audited: str) -> int:
    """Print what was found; the exit code says whether anything was."""
    try:
        dependencies = json.loads(audited)["dependencies"]
    except ValueError:
        print("lint: the advisories could not be asked at all; make audit says why")
        return 0
    unsafe = [each for each in dependencies if each.get("vulns")]
    for each in unsafe:
        advisories = ", ".join(found["id"] for found in each["vulns"])
        print(f"lint: {each['name']} {each['version']} is not safe ({advisories}): raise it, then make lock")
    skipped = sum("skip_reason" in each for each in dependencies)
    if skipped:
        print(f"lint: advisories about {skipped} of {len(dependencies)} locked versions cannot be asked from here")
    return 1 if unsafe else 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
