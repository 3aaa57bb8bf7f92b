"""Messages from notices: several in one, times of Shanghai, cut to what a messenger takes."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from order_pipeline.notifications.digest import Item, compose, parts
from order_pipeline.notifications.notifier import Message

AT = datetime(2026, 3, 15, 18, 30, 5, tzinfo=UTC)


def item(number: int = 1, severity: str = "warning", body: str = "What happened.", times: int = 1) -> Item:
    return Item(severity, f"thing {number}", body, AT, times)


def test_one_notice_says_what_and_when_in_shanghai() -> None:
    message = compose([item(times=7)])
    assert message.title == "[order_pipeline] warning: thing 1"
    assert message.text == "What happened.\n(2026-03-16 02:30:05 Asia/Shanghai, 7 times so far)"


def test_many_notices_are_one_message_with_the_first_ten_and_the_number_of_the_rest() -> None:
    message = compose([item(number, "error" if number == 30 else "info") for number in range(1, 48)])
    assert message.title == "[order_pipeline] error: thing 1 - and 46 more"
    assert "10. thing 10" in message.text
    assert "11. thing 11" not in message.text
    assert "… and 37 more; all of them: order-pipeline notices list" in message.text


def test_a_message_that_fits_is_left_as_it_is() -> None:
    message = compose([item()])
    assert parts(message, 2_048) == [message]


@settings(max_examples=50)
@given(st.text(max_size=4_000), st.integers(200, 3_000))
def test_parts_keep_to_the_limit_of_bytes_and_lose_nothing_but_line_breaks_unless_they_say_so(
    text: str, limit: int
) -> None:
    cut = parts(Message("标题", text), limit)
    assert 1 <= len(cut) <= 4
    for part in cut:
        assert len(f"{part.title}\n{part.text}".encode()) <= limit
    told = "".join(part.text for part in cut)
    if "cut here; all of them" in cut[-1].text:
        assert len(text.encode()) > limit
    else:
        assert told.replace("\n", "") == text.replace("\n", "")


def test_a_title_longer_than_the_limit_is_cut_too() -> None:
    (part, *_) = parts(Message("长" * 5_000, "text"), 2_048)
    assert len(f"{part.title}\n{part.text}".encode()) <= 2_048
