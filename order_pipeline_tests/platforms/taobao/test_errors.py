"""The platform's refusals, sorted by what helps (Taobao contract §5)."""

from __future__ import annotations

import pytest

from order_pipeline.platforms.taobao.errors import ban_seconds, classify, error_response
from order_pipeline.traffic.errors import (
    AuthorizationError,
    CallerError,
    CallError,
    NotFoundError,
    SessionError,
    ThrottledError,
    TransientError,
)
from order_pipeline_tests.platforms.taobao.samples import fixture


def classified(code: object, sub_code: object = None, sub_msg: str = "", msg: str = "m") -> CallError:
    fields = {"code": code, "msg": msg, "sub_code": sub_code, "sub_msg": sub_msg, "request_id": "r1"}
    return classify(error_response(fields), "taobao.x of shop a")


@pytest.mark.parametrize(
    ("code", "sub_code", "kind"),
    [
        (4, None, TransientError),
        (5, None, TransientError),
        (6, None, TransientError),
        (8, None, TransientError),
        (10, None, TransientError),
        (7, "accesscontrol.limited-by-app-access-count", ThrottledError),
        ("7", None, ThrottledError),
        (15, "accesscontrol.limited-by-dynamic-access-count", ThrottledError),
        (15, "isp.top-remote-connection-timeout", TransientError),
        (15, "isp.service-unavailable-tmall", TransientError),
        (50, "isp.remote-service-error", TransientError),
        (530, "isp.unknown-error", TransientError),
        (999, "isp.something-new", TransientError),
        (15, "isp.null-pointer-exception", CallerError),
        (15, "isp.top-parse-error", CallerError),
        (15, "isp.top-mapping-parse-error", CallerError),
        (15, "isv.trade-not-exist", NotFoundError),
        (50, "isv.trade-not-exist", NotFoundError),
        (15, "isv.invalid-orderid:NO_DATA", NotFoundError),
        (15, "isv.invalid-orderid:OTHER", CallerError),
        (15, "isv.invalid-parameter:user_id_num", CallerError),
        (560, "isv.user-not-exist:invalid-nick", CallerError),
        (15, "1", CallerError),
        (15, None, CallerError),
        (21, None, CallerError),
        (32, None, CallerError),
        (40, None, CallerError),
        ("40", None, CallerError),
        ("41", None, CallerError),
        (None, None, CallerError),
        (12345, None, CallerError),
        (15, "isv.request-replay-error", TransientError),
        (26, None, SessionError),
        (27, "session-expired", SessionError),
        (27, None, SessionError),
        (15, "invalid-sessionkey", SessionError),
        (24, None, AuthorizationError),
        (25, None, AuthorizationError),
        (28, None, AuthorizationError),
        (29, "isv.appkey-not-exists", AuthorizationError),
        (30, None, AuthorizationError),
        (31, None, AuthorizationError),
        (15, "isv.timestamp-limit-error", AuthorizationError),
        (11, "isv.permission-api-package-limit", AuthorizationError),
        (12, None, AuthorizationError),
        (13, None, AuthorizationError),
        (47, None, AuthorizationError),
        (53, None, AuthorizationError),
    ],
)
def test_each_refusal_is_of_the_kind_that_says_whether_a_retry_helps(
    code: object, sub_code: object, kind: type[CallError]
) -> None:
    assert type(classified(code, sub_code)) is kind


@pytest.mark.parametrize(
    ("code", "sub_code", "remedy"),
    [
        (27, "session-expired", "re-authorise the shop"),
        (26, None, "re-authorise the shop"),
        (25, None, "app_secret"),
        (29, None, "app_key"),
        (31, None, "clock is off by more than 10 minutes from the platform's: fix NTP"),
        (11, None, "permission package"),
        (11, "isv.permission-ip-whitelist-limit", "IP whitelist"),
        (53, None, "security level"),
    ],
)
def test_what_a_person_has_to_do_is_in_the_message(code: int, sub_code: str | None, remedy: str) -> None:
    message = str(classified(code, sub_code))
    assert remedy in message
    assert "a retry does not help" in message
    assert "request r1" in message
    assert "taobao.x of shop a" in message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("This ban will last for 1 more seconds", 1.0),
        ("This ban will last for 31062 more seconds", 31062.0),
        ("this ban will last for 1 more second", 1.0),
        ("This ban will last for 999999999999 more seconds", 86400.0),
        ("This ban will last for ever", 2.0),
        ("", 2.0),
    ],
)
def test_the_seconds_of_a_ban_are_read(text: str, seconds: float) -> None:
    assert ban_seconds(text) == seconds
    error = classified(7, None, text)
    assert isinstance(error, ThrottledError)
    assert error.ban_seconds == seconds


def test_every_recorded_error_is_named_with_its_codes() -> None:
    for recorded in fixture("errors.recorded.json"):
        fields = recorded["json"]["error_response"]
        message = str(classify(error_response(fields), "a call"))
        assert f"code {fields['code']}" in message
        assert fields.get("sub_code", "") in message


def test_a_secret_that_the_platform_echoes_is_not_quoted() -> None:
    fields = {"code": 25, "msg": "bad sign 66987CB115214E59E6EC978214934FB8 of hello with 6100abc"}
    message = str(classify(error_response(fields, hidden=("hello", "6100abc", "")), "a call"))
    assert "66987CB1" not in message
    assert "hello" not in message
    assert "6100abc" not in message


def test_a_message_stays_one_short_line() -> None:
    message = str(classified(15, "isv.x", "line\nbreak\u2028\x00\ud800" + "x" * 100_000))
    assert message.isprintable()
    assert len(message) < 1000


def test_an_error_of_odd_types_is_still_classified() -> None:
    error = error_response({"code": {"a": 1}, "msg": [1], "sub_code": 7.5, "sub_msg": None, "request_id": ""})
    assert type(classify(error, "a call")) is CallerError
