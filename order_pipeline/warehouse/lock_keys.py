"""The keys of the warehouse's advisory locks: any numbers, as long as nobody else uses them in this database.

Belongs here: the numbers, side by side, so that no two are the same. Not here: who holds them, and for how long.
They never change their meaning: during an upgrade an older process holds the same ones.
"""

from __future__ import annotations

# Locks of one key.
MIGRATION_LOCK = 7_302_441
FOLDER_LOCK = 7_302_451
MONTHS_LOCK = 7_302_452

# First keys of locks of two; the second says which worker, shop or queue.
WORKER_LOCKS = 7_302_442
RENEWAL_LOCKS = 7_302_443
READER_LOCKS = 7_302_444
