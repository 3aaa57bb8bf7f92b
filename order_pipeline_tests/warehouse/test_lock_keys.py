"""Advisory locks: two uses of one number would wait for each other, or take each other's place."""

from __future__ import annotations

import re
from pathlib import Path

from order_pipeline.warehouse import lock_keys


def test_no_two_locks_have_the_same_key_and_all_keys_stand_in_one_place() -> None:
    here = Path(lock_keys.__file__)
    keys = [value for value in vars(lock_keys).values() if isinstance(value, int)]
    assert len(keys) >= 7
    assert len(set(keys)) == len(keys)
    elsewhere = [
        path.name
        for path in here.parents[1].rglob("*.py")
        if path != here and re.search(r"^[A-Z_]*LOCKS? = \d", path.read_text(), re.MULTILINE)
    ]
    assert elsewhere == []
