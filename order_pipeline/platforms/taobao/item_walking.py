"""Walking all items of a shop (Taobao contract §3.8): a picture of today, not a feed of changes.

Belongs here: which page to ask for next, as a pure generator over a ``fetch`` function. Not here: what the rows mean
(stock_methods.py), lists of changes (paging.py, bisecting.py).

Items are listed by the time that they went on sale, newest first, which sales do not change. But one that goes on or
off sale meanwhile shifts all behind it, and a row may be passed over. So a walk counts: it is whole when it brought as
many items as the list said throughout that it has; otherwise it is done again. Beyond 20,000 rows the platform serves
no page: then the list is cut by the time of last change, older part first, as items that change meanwhile move into the
newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from order_pipeline.platforms.protocol import Window
from order_pipeline.platforms.taobao.decoding import malformed
from order_pipeline.platforms.taobao.values import CHINA

# Its texts contradict each other (100,000 and 20,000); the smaller is what may be relied on.
DEEPEST_ROW = 20_000
# Going on and off sale is rare: a walk that was disturbed three times over has a list that counts wrongly.
MOST_WALKS = 3
# Older than the platform, so that no item is.
BEFORE_ALL = datetime(2003, 1, 1, tzinfo=CHINA)
SECOND = timedelta(seconds=1)


class ItemAnswer(NamedTuple):
    """One page: the ids of its rows (None: unreadable), how many the list says it has, and the caller's own."""

    ids: Sequence[str | None]
    total: int
    content: Any = None


class WalkedItems(NamedTuple):
    """An answer on the way; ``short_by``: how many items the list counts that it did not bring."""

    answer: ItemAnswer
    short_by: int = 0


# fetch(window of last change or None for all, page_no).
Fetch = Callable[[Window | None, int], ItemAnswer]


def walk_items(
    fetch: Fetch, now: Callable[[], datetime], *, page_size: int, attempted: str, deepest: int = DEEPEST_ROW
) -> Iterator[WalkedItems]:
    """Walk a list of items until a walk brought as many as it counts.

    Args:
        fetch: asks for one page.
        now: the platform's time, asked only where the list has to be cut.
        page_size: rows a page.
        attempted: for messages.
        deepest: the last row that the platform serves.

    Yields:
        Every answer, those of repeated walks too.

    Raises:
        MalformedAnswerError: a single second holds more items than the platform serves.

    """
    first = fetch(None, 1)
    if first.total <= deepest:
        yield from _whole(None, first, fetch, page_size)
        return
    # An item may change while the parts are walked: the newest part reaches beyond now, and is walked last.
    whole = Window(BEFORE_ALL, now().replace(microsecond=0) + timedelta(days=1))
    yield from _part(whole, fetch, page_size, attempted, deepest)


def _part(window: Window, fetch: Fetch, page_size: int, attempted: str, deepest: int) -> Iterator[WalkedItems]:
    # Whether bounds are inclusive is not documented: a second more on both sides serves either.
    asked = Window(window.start - SECOND, window.end + SECOND)
    first = fetch(asked, 1)
    if first.total <= deepest:
        yield from _whole(asked, first, fetch, page_size)
        return
    span = window.end - window.start
    if span <= SECOND:
        raise malformed(attempted, f"{first.total} items claim to have changed in the second of {window.start}")
    middle = window.start + timedelta(seconds=span // SECOND // 2)
    yield from _part(Window(window.start, middle), fetch, page_size, attempted, deepest)
    yield from _part(Window(middle, window.end), fetch, page_size, attempted, deepest)


def _whole(window: Window | None, first: ItemAnswer, fetch: Fetch, page_size: int) -> Iterator[WalkedItems]:
    for number in range(1, MOST_WALKS + 1):
        answer = first if number == 1 else fetch(window, 1)
        seen = {each for each in answer.ids if each is not None}
        unreadable = answer.ids.count(None)
        counted, is_still = answer.total, True
        page_no = 1
        while answer.ids and page_no * page_size < answer.total:
            yield WalkedItems(answer)
            page_no += 1
            answer = fetch(window, page_no)
            seen |= {each for each in answer.ids if each is not None}
            unreadable += answer.ids.count(None)
            is_still = is_still and answer.total == counted
        # Of a list that got shorter on the way, what was seen counts an item that left for one that was passed over.
        short_by = counted - len(seen) - unreadable
        if (short_by <= 0 and is_still) or number == MOST_WALKS:
            yield WalkedItems(answer, max(short_by, 0))
            return
        yield WalkedItems(answer)
