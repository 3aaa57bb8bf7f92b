"""One call over a real socket: what is sent, and what becomes of every way to fail."""

from __future__ import annotations

import gc
import gzip
import logging
import socket
import threading
import time
from datetime import UTC, datetime

import pytest

from order_pipeline.platforms.protocol import Answer, Window
from order_pipeline.platforms.taobao.client import TaobaoClient, TaobaoCredentials
from order_pipeline.platforms.taobao.decoding import Envelope
from order_pipeline.platforms.taobao.platform import TaobaoPlatform
from order_pipeline.platforms.taobao.signing import sign
from order_pipeline.platforms.taobao.transport import Limits
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import (
    AuthorizationError,
    CallerError,
    CallError,
    MalformedAnswerError,
    ThrottledError,
    TransientError,
)
from order_pipeline.traffic.retry import RetrySettings
from order_pipeline_tests.platforms.taobao.raw_gateway import Answer as RawAnswer
from order_pipeline_tests.platforms.taobao.raw_gateway import RawGateway, http, raw, reset, trickle
from order_pipeline_tests.platforms.taobao.samples import list_answer, trade

SECRET = "the-app-secret"
SESSION = "6100-the-session-key"
TIME = b'{"time_get_response":{"time":"2026-03-01 12:00:00","request_id":"r7"}}'
NOON = datetime(2026, 3, 1, 4, 0, 0, 500_000, tzinfo=UTC)
# The sample trades are created on the first of March at 20:00, Shanghai.
SAMPLES_DAY = Window(datetime(2026, 2, 28, 16, tzinfo=UTC), datetime(2026, 3, 1, 16, tzinfo=UTC))
QUICK = Limits(connect_seconds=0.5, read_seconds=0.5, total_seconds=0.8)


def credentials(url: str) -> TaobaoCredentials:
    return TaobaoCredentials(
        shop_id="shop-a", gateway_url=url, app_key="12345678", app_secret=SECRET, session_key=SESSION
    )


def client_of(url: str, log: CallLog | None = None, limits: Limits = QUICK) -> TaobaoClient:
    return TaobaoClient(credentials(url), log or CallLog(), clock=lambda: NOON, limits=limits)


def both(envelope: Envelope, answer: Answer) -> tuple[dict[str, object], Answer]:
    return envelope.payload, answer


def failure(*answers: RawAnswer, limits: Limits = QUICK) -> CallError:
    log = CallLog()
    with RawGateway(*answers) as gateway, pytest.raises(CallError) as caught:
        client_of(gateway.url, log, limits).call("taobao.time.get", {"a": "b"}, both)
    message = f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    for hidden in (SECRET, SESSION, "sign="):
        assert hidden not in message
    (call,) = log.drain()
    assert call.outcome == type(caught.value).__name__
    assert "taobao.time.get of shop shop-a" in str(caught.value)
    return caught.value


def test_everything_travels_in_the_body_and_is_signed() -> None:
    with RawGateway(http(TIME)) as gateway:
        client_of(gateway.url).call("taobao.time.get", {"fields": "tid,标题&=+", "empty": ""}, both)
    assert gateway.request_lines == ["POST /router/rest HTTP/1.1"]
    (form,) = gateway.forms
    signature = form.pop("sign")
    assert form == {
        "method": "taobao.time.get",
        "app_key": "12345678",
        "session": SESSION,
        "timestamp": "2026-03-01 12:00:00",
        "format": "json",
        "v": "2.0",
        "sign_method": "hmac-sha256",
        "fields": "tid,标题&=+",
    }
    assert signature == sign(form, SECRET)


def test_an_answer_comes_with_its_text_its_number_and_the_time_it_was_asked_for() -> None:
    log = CallLog()
    with RawGateway(http(TIME)) as gateway:
        payload, answer = client_of(gateway.url, log).call("taobao.time.get", {}, both)
    assert payload["time"] == "2026-03-01 12:00:00"
    assert answer == Answer(method="taobao.time.get", request_id="r7", sent_at=NOON, body=TIME.decode())
    (call,) = log.drain()
    assert (call.shop_id, call.method, call.outcome, call.request_id) == ("shop-a", "taobao.time.get", "ok", "r7")
    assert call.started_at == NOON
    assert 0 < call.seconds < 5


def test_calls_share_a_connection() -> None:
    with RawGateway(http(TIME)) as gateway:
        client = client_of(gateway.url)
        for _ in range(5):
            client.call("taobao.time.get", {}, both)
        assert gateway.connections == 1
        client.close()
        client.call("taobao.time.get", {}, both)
        assert gateway.connections == 2


def test_a_connection_ends_with_its_thread() -> None:
    with RawGateway(http(TIME)) as gateway:
        client = client_of(gateway.url)
        for _ in range(5):
            thread = threading.Thread(target=lambda: client.call("taobao.time.get", {}, both))
            thread.start()
            thread.join()
        assert gateway.connections == 5
        gc.collect()
        assert len(client._transport._sessions) == 0


def test_a_tls_connection_that_breaks_may_be_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet_without_tls() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=greet_without_tls, daemon=True).start()
        client = client_of(f"https://127.0.0.1:{listener.getsockname()[1]}/router/rest")
        with pytest.raises(TransientError, match="SSLError"):
            client.call("taobao.time.get", {}, both)


def test_a_compressed_answer_is_unpacked() -> None:
    with RawGateway(http(gzip.compress(TIME), headers="Content-Encoding: gzip\r\n")) as gateway:
        payload, _ = client_of(gateway.url).call("taobao.time.get", {}, both)
    assert payload["time"]


def test_an_answer_in_chunks_is_put_together() -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (TIME[:20], TIME[20:])) + b"0\r\n\r\n"
    with RawGateway(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)) as gateway:
        payload, _ = client_of(gateway.url).call("taobao.time.get", {}, both)
    assert payload["time"]


def test_an_answer_without_length_ends_with_the_connection() -> None:
    with RawGateway(raw(b"HTTP/1.1 200 OK\r\n\r\n" + TIME)) as gateway:
        payload, _ = client_of(gateway.url).call("taobao.time.get", {}, both)
    assert payload["time"]


OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "kind", "named"),
    [
        (http(b""), MalformedAnswerError, "empty"),
        (http(b"<html>maintenance</html>"), MalformedAnswerError, "HTML"),
        (http(TIME[:-9]), MalformedAnswerError, "broken JSON"),
        (http(b'{"error_response":{"code":27,"msg":"Invalid session"}}'), AuthorizationError, "re-authorise"),
        (http(b"garbage", headers="Content-Encoding: gzip\r\n"), MalformedAnswerError, "cannot be unpacked"),
        (http(gzip.compress(TIME)[:-12], headers="Content-Encoding: gzip\r\n"), MalformedAnswerError, "no answer"),
        (raw(OK_HEAD + TIME[:30]), TransientError, "IncompleteRead"),
        (raw(b""), TransientError, "RemoteDisconnected"),
        (raw(b"no http at all\r\n\r\n"), TransientError, "BadStatusLine"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), TransientError, "no complete answer"),
        (reset, TransientError, "reset"),
        (http(b"<html>", "502 Bad Gateway"), TransientError, "HTTP status 502"),
        (http(b"", "503 Service Unavailable"), TransientError, "HTTP status 503"),
        (http(b"", "408 Request Timeout"), TransientError, "HTTP status 408"),
        (http(b"", "404 Not Found"), CallerError, "HTTP status 404.*gateway_url"),
        (http(b"", "302 Found", "Location: http://127.0.0.1:1/login\r\n"), CallerError, "HTTP status 302"),
        (
            http(b'{"error_response":{"code":25,"msg":"Invalid signature"}}', "400 Bad Request"),
            AuthorizationError,
            "app_secret",
        ),
    ],
)
def test_every_broken_answer_is_of_the_right_kind(answer: RawAnswer, kind: type[CallError], named: str) -> None:
    with pytest.raises(kind, match=named):
        raise failure(answer)


@pytest.mark.parametrize(
    ("header", "seconds"), [("Retry-After: 17\r\n", 17.0), ("", 2.0), ("Retry-After: soon\r\n", 2.0)]
)
def test_too_many_requests_says_how_long_to_wait(header: str, seconds: float) -> None:
    error = failure(http(b"", "429 Too Many Requests", header))
    assert isinstance(error, ThrottledError)
    assert error.ban_seconds == seconds


@pytest.mark.parametrize(
    "message",
    [
        OK_HEAD + b" " * 100,
        b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 1000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1000,
    ],
    ids=["body", "headers", "chunk size", "body without length"],
)
def test_an_answer_that_trickles_ends_at_the_deadline(message: bytes) -> None:
    began = time.monotonic()
    error = failure(trickle(message, 0.05))
    assert isinstance(error, TransientError)
    assert "no complete answer" in str(error)
    # The whole of it would take 50 s.
    assert 0.7 < time.monotonic() - began < 25


def test_silence_ends_at_the_read_limit() -> None:
    began = time.monotonic()
    assert isinstance(failure(trickle(b"H", 30), limits=Limits(read_seconds=0.5)), TransientError)
    assert time.monotonic() - began < 20


def test_a_gateway_that_is_not_there_is_named_with_its_address() -> None:
    with RawGateway(http(TIME)) as gateway:
        url = gateway.url
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:\d+: ConnectionRefusedError.*gateway_url"):
        client_of(url).call("taobao.time.get", {}, both)


@pytest.mark.parametrize("url", ["", "gateway", "ftp://127.0.0.1/x", "http://"])
def test_an_address_that_is_none_is_the_callers_mistake(url: str) -> None:
    with pytest.raises(CallerError, match="gateway_url"):
        client_of(url).call("taobao.time.get", {}, both)


def test_an_answer_that_is_too_large_is_refused_even_when_it_was_packed() -> None:
    packed = gzip.compress(b" " * 10_000_000)
    error = failure(
        http(packed, headers="Content-Encoding: gzip\r\n"), limits=Limits(largest_body=1_000_000, total_seconds=5)
    )
    assert isinstance(error, MalformedAnswerError)
    assert "more than 1000000 bytes" in str(error)


def test_after_a_broken_answer_the_next_call_starts_afresh() -> None:
    log = CallLog()
    limits = Limits(largest_body=1000, total_seconds=5)
    with RawGateway(http(b"x" * 100_000), raw(OK_HEAD), http(TIME)) as gateway:
        client = client_of(gateway.url, log, limits)
        for _ in range(2):
            with pytest.raises(CallError):
                client.call("taobao.time.get", {}, both)
        payload, _ = client.call("taobao.time.get", {}, both)
    assert payload["time"]
    assert (log.total, log.failed) == (3, 2)


def test_the_code_of_a_refusal_is_in_the_call_log() -> None:
    log = CallLog()
    body = b'{"error_response":{"code":27,"msg":"m","sub_code":"session-expired","request_id":"ze1"}}'
    with RawGateway(http(body)) as gateway, pytest.raises(AuthorizationError):
        client_of(gateway.url, log).call("taobao.time.get", {}, both)
    (call,) = log.drain()
    assert (call.outcome, call.code, call.request_id) == ("SessionError", "27/session-expired", "ze1")


def test_credentials_do_not_show_themselves() -> None:
    shown = f"{credentials('http://user:password@host/')!r} {credentials('http://x/')!s}"
    assert not any(hidden in shown for hidden in (SECRET, SESSION, "12345678", "password"))


def test_a_failed_call_does_not_hold_on_to_the_request() -> None:
    error = failure(reset)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_the_password_in_an_address_is_not_shown() -> None:
    with RawGateway(reset) as gateway:
        client = client_of(gateway.url.replace("http://", "http://user:hunter2@"))
        with pytest.raises(TransientError) as caught:
            client.call("taobao.time.get", {}, both)
    assert "hunter2" not in str(caught.value)


def test_a_broken_page_is_asked_for_again_and_each_attempt_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    log = CallLog()
    retry = RetrySettings(first_wait_seconds=0.01)
    page = b'{"trade_fullinfo_get_response":{}}'
    with RawGateway(http(TIME), http(page), http(b"<html>", "502 Bad Gateway"), reset, http(page)) as gateway:
        platform = TaobaoPlatform(credentials(gateway.url), log, clock=lambda: NOON, retry=retry)
        with caplog.at_level(logging.WARNING), pytest.raises(MalformedAnswerError, match="there is no trade in it"):
            platform.order("17")
    assert [call.outcome for call in log.drain()] == [
        "ok",
        "MalformedAnswerError",
        "TransientError",
        "TransientError",
        "MalformedAnswerError",
        "MalformedAnswerError",
    ]
    assert len(caplog.records) == 4
    assert "attempt 1 of 5: taobao.trade.fullinfo.get of order 17, shop shop-a failed" in caplog.text
    assert SESSION not in caplog.text


def test_an_answer_about_another_order_is_no_answer() -> None:
    with RawGateway(http(TIME), http(b'{"trade_fullinfo_get_response":{"trade":{"tid":18}}}')) as gateway:
        platform = TaobaoPlatform(
            credentials(gateway.url), CallLog(), clock=lambda: NOON, retry=RetrySettings(attempts=1)
        )
        with pytest.raises(MalformedAnswerError, match="it is about order 18"):
            platform.order("17")


@pytest.mark.parametrize("time_field", [b"", b'"time":"",', b'"time":"noon",', b'"time":7,'])
def test_a_time_that_is_none_is_no_answer(time_field: bytes) -> None:
    body = b'{"time_get_response":{' + time_field + b'"request_id":"r"}}'
    with RawGateway(http(body)) as gateway:
        platform = TaobaoPlatform(credentials(gateway.url), CallLog(), retry=RetrySettings(attempts=1))
        with pytest.raises(MalformedAnswerError, match="time"):
            platform.now()


def test_the_time_an_answer_was_sent_is_the_platforms_and_never_later_than_it_was() -> None:
    # The platform says 12:00:00 when it is between 12:00:00 and 12:00:01; our clock is wrong by seven minutes.
    ours = iter([datetime(2026, 3, 1, 4, 7, second, tzinfo=UTC) for second in range(30)])
    with RawGateway(http(TIME), http(b'{"trade_fullinfo_get_response":{"trade":{"tid":17}}}')) as gateway:
        platform = TaobaoPlatform(credentials(gateway.url), CallLog(), clock=lambda: next(ours))
        assert platform.now() == datetime(2026, 3, 1, 4, 0, 0, tzinfo=UTC)
        # Sent at 04:07:00, answered at 04:07:01, so our clock is at least 7:01 ahead; the next call starts at 04:07:02.
        detail = platform.order("17")
    assert detail.answer.sent_at == datetime(2026, 3, 1, 4, 0, 1, tzinfo=UTC)
    assert detail.rejected is not None


def test_an_order_that_comes_again_is_handed_over_if_it_could_not_be_read_before() -> None:
    # The same second is on both pages. In the first answer the amount of one order is spoilt, in the second it is not.
    spoilt, sound, last = trade(tid=1, payment="1O6.80"), trade(tid=1), trade(tid=2, modified="2026-03-02 08:00:00")
    first, second = list_answer(trade(tid=3), spoilt, has_next=True), list_answer(trade(tid=3), sound, last)
    with RawGateway(http(TIME), http(first), http(second)) as gateway:
        platform = TaobaoPlatform(credentials(gateway.url), CallLog(), retry=RetrySettings(attempts=1))
        pages = list(platform.created_orders(SAMPLES_DAY))
    assert [[order.order_id for order in page.orders] for page in pages] == [["3"], ["1", "2"]]
    assert [[record.order_id for record in page.rejected] for page in pages] == [["1"], []]


def test_an_unreadable_order_that_comes_again_unchanged_is_handed_over_once() -> None:
    spoilt = trade(tid=1, payment="1O6.80")
    first, second = list_answer(spoilt, has_next=True), list_answer(spoilt, trade(tid=2))
    with RawGateway(http(TIME), http(first), http(second)) as gateway:
        platform = TaobaoPlatform(credentials(gateway.url), CallLog(), retry=RetrySettings(attempts=1))
        pages = list(platform.created_orders(SAMPLES_DAY))
    assert [[record.order_id for record in page.rejected] for page in pages] == [["1"], []]


def test_a_page_size_that_the_platform_does_not_serve_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 100 rows a page"):
        TaobaoPlatform(credentials("http://127.0.0.1/"), CallLog(), page_size=101)


def test_a_sample_list_is_an_answer() -> None:
    with RawGateway(http(list_answer())) as gateway:
        payload, _ = client_of(gateway.url).call("taobao.trades.sold.get", {}, both)
    assert payload["has_next"] is False
