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
    (staging.py).
    """

    name: str
    table: str
    worklist: str
    key: str
    staged: str
    merged: str

    @property
    def one(self) -> str:
        """One of them, in words."""
        return self.name.removesuffix("s")


ORDERS = Subject("orders", "core.orders", "sync.pending_order", "order_id", "staged_order", "merged_order")
REFUNDS = Subject("refunds", "core.refunds", "sync.pending_refund", "refund_id", "staged_refund", "merged_refund")
SUBJECTS = {subject.name: subject for subject in (ORDERS, REFUNDS)}
