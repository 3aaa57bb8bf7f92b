"""What is kept equal to the platform: orders and refunds, by the names of their tables.

Belongs here: the names, so that worklist, quarantine and proofs are written once. Not here: what the rows hold
(orders.py, refunds.py).

A subject's rows have the columns ``modified_at``, ``created_at``, ``sent_at``, ``source`` and ``detail_modified_at``
with the same meaning, and its worklist those of ``sync.pending_order``.
"""

from __future__ import annotations

from typing import NamedTuple


class Subject(NamedTuple):
    """The names of a subject: of its rows' table, its worklist, the id that both are found by, and where rows wait.

    ``staged``: a session's own table of versions that are to be merged, and ``merged``: of those a merge let in
    (staging.py). ``staged_stays``: over transactions, until the next are staged.
    """

    name: str
    table: str
    worklist: str
    key: str
    staged: str
    merged: str
    staged_stays: bool = True

    @property
    def at_once(self) -> Subject:
        """The same, with rows that are staged and merged in one transaction: its end empties their tables."""
        return self._replace(staged=f"{self.staged}_at_once", merged=f"{self.merged}_at_once", staged_stays=False)

    @property
    def staged_lines(self) -> str:
        """Where the lines of staged versions wait, of a subject that has some."""
        return f"{self.staged}_line"

    @property
    def one(self) -> str:
        """One of them, in words."""
        return self.name.removesuffix("s")


ORDERS = Subject("orders", "core.orders", "sync.pending_order", "order_id", "staged_order", "merged_order")
REFUNDS = Subject("refunds", "core.refunds", "sync.pending_refund", "refund_id", "staged_refund", "merged_refund")
SUBJECTS = {subject.name: subject for subject in (ORDERS, REFUNDS)}
