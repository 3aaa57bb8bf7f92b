"""What make lint makes of the advisories about locked versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "advisories.py"
SOUND = {"name": "sound", "version": "1", "vulns": []}
UNSAFE = {"name": "unsafe", "version": "2", "vulns": [{"id": "CVE-2026-1"}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("audited", "code", "says"),
    [
        (json.dumps({"dependencies": [SOUND]}), 0, ""),
        (json.dumps({"dependencies": [SOUND, UNSAFE]}), 1, "unsafe 2 is not safe (CVE-2026-1)"),
        (json.dumps({"dependencies": [SOUND, UNKNOWN]}), 0, "1 of 2 locked versions cannot be asked"),
        ("", 0, "could not be asked at all"),
    ],
    ids=["sound", "unsafe", "partly unknown", "no network"],
)
def test_an_advisory_fails_lint_and_what_cannot_be_asked_is_told(audited: str, code: int, says: str) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], input=audited, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert says in done.stdout
    assert bool(says) == bool(done.stdout)
