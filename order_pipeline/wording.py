"""How numbers are said to people.

Belongs here: what every sentence with a count needs. Under all rooms, so it knows none of them.
"""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a count with its words: ``counted(1, "line waits", "lines wait")``; ``many`` left out adds an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
