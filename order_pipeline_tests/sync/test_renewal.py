"""When a token is renewed, and what a refusal of it means: rules without a clock of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from order_pipeline.platforms.protocol import Token
from order_pipeline.platforms.taobao.authorization import read_token, refusal
from order_pipeline.sync.renewal import Verdict, describe, is_due, judge, lifetimes, needs_person, put_off
from order_pipeline.traffic.errors import (
    AuthorizationError,
    GrantRefusedError,
    MalformedAnswerError,
    RefreshLimitError,
    TransientError,
)
from order_pipeline.warehouse.tokens import TokenRow
from order_pipeline_tests.platforms.taobao.samples import fixture

NOW = datetime(2026, 3, 15, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def token(expires_in: int, refresh_expires_in: int) -> Token:
    return Token(
        access_token="a",
        refresh_token="r",
        expires_in=expires_in,
        refresh_expires_in=refresh_expires_in,
        account=None,
        account_name=None,
    )


def stored(**changes: object) -> TokenRow:
    row = TokenRow(
        "a", "1", "sealed", "print", None, False, NOW - DAY, "me@here", NOW - DAY, NOW + DAY, NOW + 9 * DAY, NOW + DAY,
        None, 0,
    )  # fmt: skip
    return row._replace(**changes)  # type: ignore[arg-type]


def test_lifetimes_are_those_of_the_answer() -> None:
    assert lifetimes(token(100, 1_000), NOW) == tuple(NOW + timedelta(seconds=s) for s in (100, 1_000, 80))
    # A refresh token that ends first has to be used first.
    assert lifetimes(token(1_000, 100), NOW)[2] == NOW + timedelta(seconds=80)
    assert lifetimes(token(100, 0), NOW) == (NOW + timedelta(seconds=100), None, None)


def test_the_recorded_tokens_are_read() -> None:
    oauth = read_token(fixture("oauth_token.sandbox-2016.json"), "x")
    assert (oauth.expires_in, oauth.refresh_expires_in, oauth.account) == (12_960_000, 15_552_000, "2076226623")
    answer = fixture("top_auth_token_create.recorded-2019.json")
    fields = msgspec.json.decode(answer["top_auth_token_create_response"]["token_result"])
    assert read_token(fields, "x").expires_in == 2_592_000


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"access_token": "a", "expires_in": "60", "refresh_token": "r", "re_expires_in": "90"}, (60, 90)),
        ({"access_token": "a", "expires_in": 60, "refresh_token": "r", "re_expires_in": 0}, (60, 0)),
        ({"access_token": "a", "expires_in": 60, "re_expires_in": 90}, (60, 0)),
        ({"access_token": "a", "expires_in": 60, "refresh_token": "r"}, (60, 0)),
    ],
)
def test_numbers_may_come_as_text_and_a_refresh_may_not_be_offered(
    fields: dict[str, object], expected: tuple[int, int]
) -> None:
    read = read_token(fields, "x")
    assert (read.expires_in, read.refresh_expires_in) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"access_token": "", "expires_in": 60},
        {"access_token": 5, "expires_in": 60},
        {"access_token": "a"},
        {"access_token": "a", "expires_in": 0},
        {"access_token": "a", "expires_in": "soon"},
        {"access_token": "a", "expires_in": -5},
        {"access_token": "a", "expires_in": 10**30},
    ],
)
def test_an_answer_that_is_no_token_is_none(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedAnswerError):
        read_token(fields, "x")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        # As observed. Not read from the recordings, which may be missing: the module has to load without them.
        ("refresh times limit exceed", RefreshLimitError),
        ("invalid_grant: refresh_token is invalid", GrantRefusedError),
        ("invalid_client: client_secret is wrong", AuthorizationError),
    ],
)
def test_a_refused_token_says_what_helps(words: str, kind: type[AuthorizationError]) -> None:
    assert type(refusal("refreshing", words)) is kind


def test_a_token_is_due_from_its_moment_on() -> None:
    assert not is_due(stored(next_refresh_at=NOW + timedelta(seconds=1)), NOW)
    assert is_due(stored(next_refresh_at=NOW), NOW)
    assert not is_due(stored(next_refresh_at=None), NOW)


def test_a_failed_try_is_made_again_as_soon_as_that_makes_sense() -> None:
    assert put_off(TransientError("x", "y", remedy="z"), NOW) == NOW + timedelta(minutes=1)
    assert put_off(RefreshLimitError("x", "y", remedy="z"), NOW) == NOW + timedelta(hours=1)
    assert put_off(GrantRefusedError("x", "y", remedy="z"), NOW) is None
    # A wrong app secret is mended in shops.yaml: then the refresh token is as good as before.
    assert put_off(AuthorizationError("x", "y", remedy="z"), NOW) == NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("row", "was_replaced", "again", "verdict"),
    [
        (stored(), True, True, Verdict.ASK_AGAIN),
        (stored(), False, False, Verdict.ASK_AGAIN),
        (None, False, False, Verdict.ASK_AGAIN),
        (None, False, True, Verdict.PAUSE),
        (stored(), False, True, Verdict.RENEW),
        (stored(next_refresh_at=None), False, True, Verdict.PAUSE),
        (stored(obtained_at=NOW - timedelta(seconds=5)), False, True, Verdict.PAUSE),
        (stored(refresh_problem="503", next_refresh_at=NOW + timedelta(seconds=50)), False, True, Verdict.WAIT),
        (stored(refresh_problem="503", next_refresh_at=NOW), False, True, Verdict.RENEW),
        (stored(refresh_problem="limit", next_refresh_at=NOW + timedelta(minutes=50)), False, True, Verdict.PAUSE),
    ],
)
def test_a_refused_session_pauses_its_shop_only_when_nothing_else_helps(
    row: TokenRow | None, was_replaced: bool, again: bool, verdict: Verdict
) -> None:
    assert judge(row, NOW, was_replaced=was_replaced, again=again) is verdict


def test_a_person_is_told_in_time_where_nothing_else_helps() -> None:
    assert not needs_person(stored(), NOW)
    assert needs_person(stored(next_refresh_at=None), NOW)
    assert not needs_person(stored(next_refresh_at=None, ends_at=NOW + 8 * DAY), NOW)
    assert "ended 2.0 days ago" in describe(stored(ends_at=NOW - 2 * DAY), NOW)
    assert "cannot be refreshed" in describe(stored(refresh_ends_at=None, next_refresh_at=None), NOW)
