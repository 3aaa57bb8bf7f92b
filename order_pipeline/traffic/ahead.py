"""Iterating ahead: the next items are made in a thread of their own while the present one is worked on.

Belongs here: the thread, its bounded queue, its end. Not here: what is made (platforms) and what becomes of it (sync).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextvars import copy_context
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

# How often a thread that waits for room looks whether anybody still wants its items.
_LOOK_SECONDS = 0.1


class _End:
    """What comes behind the last item: the error that ended it, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """The items of an iterator, up to ``most`` of them made before they are asked for. To be used in a ``with`` block.

    An error of the iterator is raised where its next item would have come. The thread keeps to the time limit of who
    started it (time_limit.py), and is over when the block is left, after the item that it is at.
    """

    def __init__(self, items: Iterator[T], most: int) -> None:
        """Begin to iterate when the block is entered."""
        self._items = items
        self._made: queue.Queue[T | _End] = queue.Queue(maxsize=most)
        self._is_left = threading.Event()
        self._thread = threading.Thread(target=copy_context().run, args=(self._make,), name="ahead", daemon=True)

    def __enter__(self) -> Ahead[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_left.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._made.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is None:
                return
            else:
                raise item.error

    @property
    def is_waiting(self) -> bool:
        """Whether an item, or the end, is there to be taken."""
        return not self._made.empty()

    def _make(self) -> None:
        end = _End(None)
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            end = _End(error)
        self._put(end)

    def _put(self, item: T | _End) -> bool:
        while not self._is_left.is_set():
            try:
                self._made.put(item, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return True
        return False
