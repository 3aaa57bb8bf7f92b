"""Walking a list whose order is not documented, while it changes (Taobao contract §3.6, §9).

Belongs here: which page of which window to ask for next. Not here: lists that are sorted (paging.py), what the rows
mean and how a page is fetched (refund_methods.py).

A window that fits into one page is one answer, and one answer is a picture of one moment: no row of it can have slid
between pages, whatever the list is sorted by. So a window that does not fit is cut in two, and again, until each part
does. A row that changes meanwhile leaves its part only upwards in time, into a later window. Only a single second that
holds more than a page is walked by its pages, from the last to the first, again and again until a whole walk brings
nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from order_pipeline.platforms.protocol import Window
from order_pipeline.platforms.taobao.decoding import malformed
from order_pipeline.platforms.taobao.paging import (
    SECOND,
    Fetch,
    Walk,
    WalkedPage,
    look_ahead,
)

# Cutting three months down to a second takes 23 steps, each of which an honest list that happens to be sorted may
# answer with the same page; a list that says has_next for ever is given up not much later.
MOST_ANSWERS_WITHOUT_NEWS = 30
# A second in the past gets no new rows, so the second walk of it confirms the first. The rest is for rows that leave.
MOST_WALKS_OF_A_SECOND = 6


def walk_unordered(window: Window, fetch: Fetch, *, attempted: str) -> Iterator[WalkedPage]:
    """Walk a list in any order and deliver every row with ``window.start <= moment < window.end`` at least once.

    Rows at ``window.end`` come only if the platform's bounds include it; the next window shares that second. For the
    same reason the calls begin one second before the wanted start. No (key, moment) is delivered twice.

    Args:
        window: what is wanted, in the platform's whole seconds.
        fetch: asks for one page.
        attempted: for messages.

    Yields:
        Every answer of the platform, newest part first.

    Raises:
        ValueError: the window's end is not behind its start, or its ends are no whole seconds.
        MalformedAnswerError: the list cannot be walked to an end.

    """
    if window.end <= window.start:
        raise ValueError(f"{attempted}: the window ends at {window.end}, not behind its start {window.start}")
    if window.start.microsecond or window.end.microsecond:
        raise ValueError(f"{attempted}: the window {window.start} to {window.end} is not in whole seconds")
    return look_ahead(_Bisection(fetch, attempted).part(window))


class _Bisection(Walk):
    """One walk."""

    def __init__(self, fetch: Fetch, attempted: str) -> None:
        super().__init__(fetch, attempted, patience=MOST_ANSWERS_WITHOUT_NEWS)

    def part(self, wanted: Window) -> Iterator[WalkedPage]:
        asked = Window(wanted.start - SECOND, wanted.end)
        page = self.ask(asked, 1)
        yield page
        if not page.answer.has_next:
            return
        self.refuse_standstill(page)
        span = wanted.end - wanted.start
        if span > SECOND:
            middle = wanted.start + timedelta(seconds=span // SECOND // 2)
            yield from self.part(Window(middle, wanted.end))
            yield from self.part(Window(wanted.start, middle))
        else:
            yield from self._until_stable(asked)

    def _until_stable(self, window: Window) -> Iterator[WalkedPage]:
        for number in range(MOST_WALKS_OF_A_SECOND):
            self.news = False
            yield from self._counted_and_back(window)
            if number and not self.news:
                return
        raise malformed(
            self.attempted, f"after {MOST_WALKS_OF_A_SECOND} walks the second before {window.end} still brings new rows"
        )

    def _counted_and_back(self, window: Window) -> Iterator[WalkedPage]:
        """Count the pages of a window and walk them backwards, so that rows that leave slide towards the walk."""
        counted = self.ask(window, 1, use_has_next=False)
        yield counted
        total, size = counted.answer.total_results, len(counted.answer.rows)
        if total is None:
            raise malformed(self.attempted, "the counting call has no total_results")
        if not size:
            return
        # The platform may serve smaller pages than were asked for, so its own page is the measure. It said that there
        # is a second one, whatever it counts.
        counted_last = max(2, -(-total // size))
        yield from self.last_to_first(window, counted_last, total)
