"""Walking a list that changes while it is walked (Taobao contract §3.1, §3.2, §7.2; architecture §3 "Keyset walk").

Belongs here: which page of which window to ask for next, as a pure generator over a ``fetch`` function. Not here:
what the rows mean and how a page is fetched (platform.py).

Lists are sorted newest first, and a row that changes again jumps to the front. Pages 1, 2, 3 … of such a list skip
the rows that slide from an unread page to a read one. So the walk always asks for page 1 of a window whose end moves
down to the oldest moment seen: rows leave it only upwards, into a later window. Only where one second holds more
than a page, that second's pages are walked from the last to the first, where sliding rows are met again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from order_pipeline.platforms.protocol import Window
from order_pipeline.platforms.taobao.decoding import malformed

SECOND = timedelta(seconds=1)

# A second that claims more rows than this is a broken count: bulk edits of a whole shop stay below it, and a
# platform that lies about it costs a thousand calls of 100 rows at most.
MOST_ROWS_IN_ONE_SECOND = 100_000
# The count is taken before the pages, so the last page may lie a little behind the counted one.
MOST_UNCOUNTED_PAGES = 100
# Rows that left since the count leave empty pages at the end; ten thousand at once are not believed.
MOST_EMPTY_PAGES = 100
# An honest list repeats itself once behind a second that was walked page by page. One that goes on repeating itself
# and still says has_next would be asked for ever.
MOST_ANSWERS_WITHOUT_NEWS = 4


class Row(NamedTuple):
    """What the walk needs of a row.

    Attributes:
        key: the same for the same version of the same row: it is delivered once.
        moment: what the list is sorted by, aware, whole seconds; None if the row is too broken to say.

    """

    key: Hashable
    moment: datetime | None


class ListAnswer(msgspec.Struct, frozen=True):
    """One page; ``total_results`` if the call asked for a count; ``content`` is the caller's own."""

    rows: Sequence[Row]
    has_next: bool
    total_results: int | None
    content: Any = None


class WalkedPage(msgspec.Struct, frozen=True):
    """An answer on the way. ``fresh`` are the indexes of its rows that no earlier page of the walk had."""

    window: Window
    page_no: int
    answer: ListAnswer
    fresh: tuple[int, ...]
    has_more: bool = True


# fetch(window, page_no, use_has_next); with use_has_next false the answer counts instead (§3.11).
Fetch = Callable[[Window, int, bool], ListAnswer]


def walk(window: Window, fetch: Fetch, *, attempted: str, longest: timedelta | None = None) -> Iterator[WalkedPage]:
    """Walk a list newest first and deliver every row with ``window.start <= moment < window.end`` at least once.

    Rows at ``window.end`` come only if the platform's bounds include it; the next window shares that second. For the
    same reason the calls begin one second before the wanted start. A row that changes during the walk leaves the
    window. No (key, moment) is delivered twice.

    Args:
        window: what is wanted, in the platform's whole seconds.
        fetch: asks for one page.
        attempted: for messages.
        longest: the longest span a call may ask for; a longer window is walked in parts, newest first.

    Yields:
        Every answer of the platform, in order.

    Raises:
        ValueError: the window's end is not behind its start, or its ends are no whole seconds.
        MalformedAnswerError: the list cannot be walked to an end: it says has_next but brings nothing new, claims
            an impossible count, or shows no row of the window that was asked for.

    """
    if window.end <= window.start:
        raise ValueError(f"{attempted}: the window ends at {window.end}, not behind its start {window.start}")
    if window.start.microsecond or window.end.microsecond:
        raise ValueError(f"{attempted}: the window {window.start} to {window.end} is not in whole seconds")
    return look_ahead(Walk(fetch, attempted).parts(window, longest))


def parts_of(window: Window, longest: timedelta | None) -> list[Window]:
    """Split a window so that each part, asked for from one second before its start, spans at most ``longest``.

    Newest first; neighbours share a second.
    """
    if longest is None:
        return [window]
    parts = []
    end = window.end
    while end - window.start > longest - SECOND:
        parts.append(Window(end - longest + SECOND, end))
        end = parts[-1].start
    parts.append(Window(window.start, end))
    return parts


def look_ahead(pages: Iterator[WalkedPage]) -> Iterator[WalkedPage]:
    """Mark the last page; a page in hand is handed over even when the next one fails."""
    held = next(pages, None)
    while held is not None:
        try:
            following = next(pages, None)
        except Exception:
            yield held
            raise
        yield held if following is not None else msgspec.structs.replace(held, has_more=False)
        held = following


class Walk:
    """One walk: the rows that may still come again, and how long nothing new came."""

    def __init__(self, fetch: Fetch, attempted: str, *, patience: int = MOST_ANSWERS_WITHOUT_NEWS) -> None:
        """Begin. ``patience``: how many answers in a row may bring nothing new and say has_next."""
        self._fetch = fetch
        self.attempted = attempted
        self._patience = patience
        self._seen: set[Row] = set()
        # Rows outside the window asked for, and rows without a moment: few, so none is ever forgotten.
        self._strays: set[Row] = set()
        self.news = False
        self._answers_without_news = 0

    def parts(self, window: Window, longest: timedelta | None) -> Iterator[WalkedPage]:
        """Walk a list that is sorted newest first, in parts of ``longest``."""
        for part in parts_of(window, longest):
            yield from self._keyset(part)

    def _keyset(self, wanted: Window) -> Iterator[WalkedPage]:
        start, end = wanted.start - SECOND, wanted.end
        read_second: datetime | None = None
        while True:
            asked = Window(start, end)
            page = self.ask(asked, 1)
            yield page
            if not page.answer.has_next:
                return
            self.refuse_standstill(page)
            moments = self._momentsinside(page)
            if not moments or any(older > newer for newer, older in pairwise(moments)):
                # Without a moment to go down to, or without the documented order, only counted pages are safe.
                yield from self._backwards(asked, None)
                return
            oldest = moments[-1]
            if oldest < wanted.start:
                return
            if oldest + SECOND < end:
                end = oldest + SECOND
            else:
                # The page does not reach below one second: read that second whole, then go on below it.
                if oldest != read_second:
                    yield from self._backwards(Window(oldest - SECOND, oldest + SECOND), oldest)
                    read_second = oldest
                if oldest <= wanted.start:
                    return
                # A whole page at the asked end itself proves that the platform's end is inclusive.
                end = oldest - SECOND if oldest == end else oldest
            self._forget_newer_than(end)

    def _backwards(self, window: Window, second: datetime | None) -> Iterator[WalkedPage]:
        """Count a window and walk its pages from the last to the first; stop at rows newer than ``second``."""
        counted = self.ask(window, 1, use_has_next=False)
        yield counted
        total, size = counted.answer.total_results, len(counted.answer.rows)
        if total is None:
            raise malformed(self.attempted, "the counting call has no total_results")
        if total > MOST_ROWS_IN_ONE_SECOND and second is not None:
            raise malformed(self.attempted, f"total_results claims {total} rows around {second}")
        if total <= size:
            return
        # The platform may serve smaller pages than were asked for, so its own page is the measure.
        counted_last = -(-total // size)
        for page in self.last_to_first(window, counted_last, total):
            yield page
            moments = self._momentsinside(page)
            if page.page_no < counted_last and second is not None and moments and min(moments) > second:
                return

    def last_to_first(self, window: Window, counted_last: int, total: int) -> Iterator[WalkedPage]:
        """Walk the pages from the last to the first, where ``total`` rows were counted, so many pages of them.

        Raises MalformedAnswerError where the list has no end, or is far shorter than it says.
        """
        page_no = counted_last
        page = self.ask(window, page_no)
        yield page
        while page.answer.has_next:
            page_no += 1
            if page_no - counted_last > MOST_UNCOUNTED_PAGES:
                raise malformed(self.attempted, f"has_next stays true far behind the {total} rows it counted")
            page = self.ask(window, page_no)
            yield page
        empty = 0
        for earlier in range(page_no - 1, 0, -1):
            page = self.ask(window, earlier)
            yield page
            empty = 0 if page.answer.rows else empty + 1
            if empty > MOST_EMPTY_PAGES:
                raise malformed(self.attempted, f"total_results claims {total} rows, but page after page is empty")

    def ask(self, window: Window, page_no: int, *, use_has_next: bool = True) -> WalkedPage:
        """Ask for a page. Raises MalformedAnswerError when it is none of the window's."""
        answer = self._fetch(window, page_no, use_has_next)
        if not answer.rows and (answer.has_next or (page_no == 1 and answer.total_results)):
            raise malformed(self.attempted, f"page {page_no} is empty, but the list is said to go on")
        if answer.rows and not any(inside(row, window) for row in answer.rows):
            raise malformed(
                self.attempted,
                f"not one of {len(answer.rows)} rows lies in the window asked for, {window.start} to {window.end}",
            )
        fresh = []
        for index, row in enumerate(answer.rows):
            known = self._seen if row.moment is not None and inside(row, window) else self._strays
            if row not in known:
                known.add(row)
                fresh.append(index)
        self.news = self.news or bool(fresh)
        return WalkedPage(window, page_no, answer, tuple(fresh))

    def refuse_standstill(self, page: WalkedPage) -> None:
        """Raise MalformedAnswerError for a list that says has_next for ever; asked after each answer that says it."""
        self._answers_without_news = 0 if self.news else self._answers_without_news + 1
        self.news = False
        if self._answers_without_news > self._patience:
            raise malformed(
                self.attempted,
                f"has_next stays true, but {self._answers_without_news} answers in a row brought nothing new "
                f"(now at {page.window.end})",
            )

    def _momentsinside(self, page: WalkedPage) -> list[datetime]:
        return [row.moment for row in page.answer.rows if row.moment is not None and inside(row, page.window)]

    def _forget_newer_than(self, end: datetime) -> None:
        """Keep the memory of a walk flat: rows newer than a second above its end do not come again."""
        self._seen = {row for row in self._seen if row.moment is not None and row.moment <= end + SECOND}


def inside(row: Row, window: Window) -> bool:
    """Return whether a row belongs to what was asked for, whichever ends that includes."""
    # A row that cannot say its moment gets the benefit of the doubt.
    return row.moment is None or window.start <= row.moment <= window.end
