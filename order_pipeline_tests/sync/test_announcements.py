"""The rule of messages: no detail is fetched for nothing, and no change is lost, whatever comes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.platforms.protocol import Answer, Order, OrderDetail
from order_pipeline.sync.announcements import (
    DOUBTED_ATTEMPTS,
    LARGEST_CLOCK_ERROR,
    believed_publication,
    is_doubtful,
    is_known,
    wait_seconds,
)
from order_pipeline.sync.enrichment import UNTIL_SAID_AGAIN, Fetched, outcome_of
from order_pipeline.traffic.errors import NotFoundError
from order_pipeline.warehouse.worklist import EPOCH, KnownDetail, Outcome, Pending

NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def detail(modified: float, asked: float) -> KnownDetail:
    return KnownDetail(at(modified), at(asked))


def answered(
    modified: float, asked: float, *, announced: float | None = None, seen: datetime = EPOCH, attempts: int = 1
) -> Outcome:
    values = dict.fromkeys(Order.__struct_fields__)
    order = Order(**(values | {"order_id": "1", "modified_at": at(modified), "items": ()}))  # type: ignore[arg-type]
    answer = Answer(method="detail", request_id=None, sent_at=at(asked), body="{}")
    pending = Pending("1", seen, 1, attempts, None if announced is None else at(announced))
    return outcome_of(Fetched(pending, OrderDetail(answer=answer, order=order, rejected=None)))


def test_a_message_about_what_was_fetched_after_it_is_no_news() -> None:
    assert is_known(at(0), detail(modified=0, asked=2))
    assert is_known(at(0), detail(modified=0, asked=3600))
    assert is_known(at(0), detail(modified=60, asked=61))


def test_a_message_about_what_was_fetched_before_it_or_in_its_second_is_news() -> None:
    assert not is_known(at(0), None)
    assert not is_known(at(0), detail(modified=0, asked=1))
    assert not is_known(at(0), detail(modified=-60, asked=-50))


def test_details_that_do_not_show_the_change_are_news_however_late_they_were_asked_for() -> None:
    assert not is_known(at(0), detail(modified=-60, asked=3600))


@given(
    changed=st.floats(0, 100),
    published_after=st.floats(0, 2),
    asked=st.floats(0, 200),
    clock_behind=st.floats(0, 5),
    earlier=st.floats(-100, -10),
)
def test_what_counts_as_known_holds_the_change(
    changed: float, published_after: float, asked: float, clock_behind: float, earlier: float
) -> None:
    """A platform that serves what is; ours is the clock that is behind, its moments are whole seconds."""
    published = float(int(changed + published_after))
    holds = asked > changed
    modified = float(int(changed)) if holds else earlier
    if is_known(at(published), detail(modified, asked - clock_behind)):
        assert holds


@given(published=st.integers(0, 100), clock_behind=st.floats(0, 1), received_after=st.floats(0, 50))
def test_details_fetched_when_the_message_says_are_fetched_once(
    published: int, clock_behind: float, received_after: float
) -> None:
    received = published + received_after - clock_behind
    asked = received + wait_seconds(at(published), at(received)) + 1e-6
    outcome = answered(modified=published, asked=asked, announced=published)
    assert outcome.due_again is None
    assert outcome.known_until is not None
    assert is_known(at(published), KnownDetail(at(published), at(asked)))


def test_details_that_were_asked_for_too_early_are_asked_for_again_when_they_will_do() -> None:
    outcome = answered(modified=0, asked=1, announced=0)
    assert outcome.due_again == 1.0


def test_details_older_than_the_message_are_doubted_so_often_and_then_believed() -> None:
    waits = [answered(-60, 30, announced=0, attempts=attempts).due_again for attempts in range(1, DOUBTED_ATTEMPTS + 1)]
    assert waits == [15.0, 30.0, None]
    problem = answered(-60, 30, announced=0).problem
    assert problem is not None
    assert "a message of 2026-03-15 12:00:00" in problem
    assert not is_doubtful(at(0), at(-3), 1)


def test_what_a_list_saw_is_waited_for_longer() -> None:
    assert answered(-60, 30, announced=0, seen=at(0), attempts=DOUBTED_ATTEMPTS).due_again == 60.0


def test_an_announced_order_that_is_not_there_yet_is_asked_for_again() -> None:
    missing = NotFoundError("call", "not there", remedy="none")
    pending = Pending("1", EPOCH, 1, 1, at(0))
    assert outcome_of(Fetched(pending, missing)).due_again == 15.0
    assert outcome_of(Fetched(pending._replace(attempts=DOUBTED_ATTEMPTS), missing)).due_again == UNTIL_SAID_AGAIN
    assert outcome_of(Fetched(pending._replace(announced_at=None), missing)).due_again == UNTIL_SAID_AGAIN


@pytest.mark.parametrize("published_at", [None, at(1e8)])
def test_a_message_without_a_moment_or_from_the_future_was_published_before_it_came(
    published_at: datetime | None,
) -> None:
    assert believed_publication(published_at, at(0)) == at(0) + LARGEST_CLOCK_ERROR
    assert believed_publication(at(-5), at(0)) == at(-5)
