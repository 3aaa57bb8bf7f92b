"""Whether lists of changes that bring nothing are believable: a fault looks like a quiet hour, other days can tell.

Belongs here: judging. Not here: asking, counting what other days had (sync/silence.py), whole days
(reconciliation.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

# Who buys comes by chance: where 15 orders are usual none comes once in three million times (e^-15). A shop is looked
# at some hundreds of independent times a day, so that is once in decades.
FEWEST_EXPECTED = 15
# With fewer days to compare with there is no "usual"; the median leaves out a single day's sale.
FEWEST_DAYS_BEFORE = 3


def is_unusually_silent(before: Sequence[int]) -> bool:
    """Return whether a span of time without one order is suspect.

    Args:
        before: how many orders were placed in the same span of the clock on each of the days before.

    """
    return len(before) >= FEWEST_DAYS_BEFORE and median(before) >= FEWEST_EXPECTED
