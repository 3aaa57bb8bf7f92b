"""Messages as the platform sends them: recorded ones, broken ones, and what is kept of each."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.platforms.protocol import MessageBatch
from order_pipeline.platforms.taobao.messages import NOT_KEPT, TOPICS, parse_message
from order_pipeline.platforms.taobao.platform import TaobaoCredentials, TaobaoPlatform
from order_pipeline.platforms.taobao.values import CHINA
from order_pipeline.sandbox.messages import topics as sandbox_topics
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import AuthorizationError, CallerError, MalformedAnswerError
from order_pipeline.traffic.retry import RetrySettings
from order_pipeline_tests.platforms.taobao.raw_gateway import RawGateway, http

# As the recordings of 2014, 2019 and 2022 look (contract §6.3), with ids of our own.
RECORDED = {
    "user_id": 1736500001,
    "user_nick": "seller_a",
    "content": '{"buyer_nick":"buyer_a","payment":"15.70","oid":519847000001083,"tid":519847000001083,'
    '"type":"guarantee_trade","seller_nick":"seller_a"}',
    "id": 1172200053212681005,
    "pub_time": "2014-01-26 17:39:41",
    "pub_app_key": "12497914",
    "topic": "taobao_trade_TradeRated",
}
REFUND_CONTENT = (
    '{"buyer_nick":"c**","buyer_open_uid":"AAHLuAVrAABxoR0DtQvAnon0","refund_phase":"onsale",'
    '"refund_fee":"1.00","modified":"2022-09-29 14:17:15","bill_type":"refund_bill","oid":2918463730000005258,'
    '"seller_nick":"seller_f","refund_id":181784770000005852,"tid":2918463730000005258}'
)
REFUND = RECORDED | {"topic": "taobao_refund_RefundCreated", "content": REFUND_CONTENT}
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def platform(gateway: RawGateway) -> TaobaoPlatform:
    return TaobaoPlatform(
        TaobaoCredentials(
            shop_id="shop-a", gateway_url=gateway.url, app_key="12345", app_secret="secret", session_key="6100session"
        ),
        CallLog(),
        retry=RetrySettings(attempts=1),
    )


def answers(*bodies: dict[str, Any] | str) -> RawGateway:
    return RawGateway(*[http((body if isinstance(body, str) else json.dumps(body)).encode()) for body in bodies])


def consumed(payload: Any) -> MessageBatch:
    with answers(
        {"tmc_messages_consume_response": payload}, {"time_get_response": {"time": "2026-03-10 12:00:00"}}
    ) as gateway:
        return platform(gateway).messages(None)


def test_a_recorded_message_names_its_order_seller_and_moment() -> None:
    message = parse_message(RECORDED)
    assert message.message_id == "1172200053212681005"
    assert message.confirmable
    assert (message.order_id, message.refund_id) == ("519847000001083", None)
    assert (message.seller_id, message.seller_nick) == ("1736500001", "seller_a")
    assert message.published_at == datetime(2014, 1, 26, 17, 39, 41, tzinfo=CHINA)
    assert message.known_topic
    assert message.problem is None


def test_a_message_of_a_refund_names_its_order_too() -> None:
    message = parse_message(REFUND)
    assert (message.order_id, message.refund_id) == ("2918463730000005258", "181784770000005852")


def test_ids_may_be_text() -> None:
    content = json.dumps({"tid": "2918463730000005258", "refund_id": "1"})
    message = parse_message(REFUND | {"id": "77", "user_id": "5", "content": content})
    assert (message.message_id, message.seller_id) == ("77", "5")
    assert (message.order_id, message.refund_id) == ("2918463730000005258", "1")


def test_nothing_about_the_buyer_is_kept() -> None:
    for record in (RECORDED, REFUND):
        kept = parse_message(record).content
        assert "buyer" not in kept
        assert json.loads(kept)["seller_nick"]
    memo = parse_message(RECORDED | {"content": '{"tid": 1, "seller_memo": "call 138...", "seller_flag": 2}'})
    assert json.loads(memo.content) == {"tid": 1, "seller_flag": 2}


@given(st.integers(0, len(REFUND_CONTENT)))
def test_nothing_about_the_buyer_is_kept_of_a_content_that_breaks_off(at: int) -> None:
    message = parse_message(REFUND | {"content": REFUND_CONTENT[:at]})
    assert "AAHLu" not in message.content
    assert "c**" not in message.content
    assert at == len(REFUND_CONTENT) or message.problem is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"content": "{broken"}, "no JSON"),
        ({"content": "[1]"}, "instead of an object"),
        ({"content": None}, "content: missing"),
        ({"content": 7}, "instead of JSON text"),
        ({"content": "{}"}, "tid"),
        ({"content": '{"tid": 1e99}'}, "tid"),
        ({"topic": None}, "topic: missing"),
        ({"topic": "a\x00b"}, "NUL"),
        ({"pub_time": "0000-00-00 00:00:00"}, "pub_time"),
        ({"user_nick": ["x"]}, "user_nick"),
        ({"content": "[" * 100_000}, "nested"),
    ],
)
def test_a_message_that_cannot_be_read_is_kept_with_the_reason(change: dict[str, Any], said: str) -> None:
    message = parse_message(RECORDED | change)
    assert message.problem is not None
    assert said in message.problem
    assert message.message_id == "1172200053212681005"


def test_a_message_without_a_readable_id_gets_the_same_one_each_time_and_is_not_confirmed() -> None:
    message = parse_message(RECORDED | {"id": None})
    assert message.message_id.startswith("unreadable-")
    assert not message.confirmable
    assert parse_message(RECORDED | {"id": None}).message_id == message.message_id
    assert parse_message(REFUND | {"id": None}).message_id != message.message_id


def test_raw_control_characters_in_a_content_are_read() -> None:
    message = parse_message(RECORDED | {"content": '{"tid": 5, "type": "a\x01\tb"}'})
    assert (message.order_id, message.problem) == ("5", None)


def test_what_postgres_refuses_is_kept_as_escapes() -> None:
    message = parse_message(RECORDED | {"content": '{"tid": 5, "note": "a\\u0000\\ud800"}'})
    assert "\\u0000" in message.content
    assert "\x00" not in message.content


def test_an_unknown_topic_of_orders_still_names_its_order_and_a_parcel_on_its_way_does_not() -> None:
    new = parse_message(RECORDED | {"topic": "taobao_trade_TradeTeleported"})
    assert not new.known_topic
    assert new.order_id == "519847000001083"
    moving = parse_message(RECORDED | {"topic": "taobao_logistics_LogsticDetailTrace"})
    assert moving.known_topic
    assert moving.order_id is None


def test_the_topics_are_those_of_the_contract() -> None:
    assert TOPICS == sandbox_topics.TOPICS


@given(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(RECORDED, JSON)))
def test_no_message_is_too_odd_to_read(record: Any) -> None:
    message = parse_message(record)
    assert message.message_id
    for text in (message.topic, message.content, message.seller_nick or "", message.seller_id or ""):
        text.encode()
        assert "\x00" not in text


@given(st.dictionaries(st.sampled_from(sorted(NOT_KEPT | {"tid", "x"})), st.text(min_size=3), max_size=5))
def test_no_field_of_people_is_ever_kept(fields: dict[str, str]) -> None:
    kept = json.loads(parse_message(RECORDED | {"content": json.dumps(fields)}).content)
    assert not NOT_KEPT & kept.keys()


@pytest.mark.parametrize("payload", [{}, {"messages": {}}, {"messages": {"tmc_message": []}}, {"messages": None}])
def test_an_empty_queue_in_any_shape_is_empty(payload: dict[str, Any]) -> None:
    assert consumed({"request_id": "r", **payload}).messages == ()


@pytest.mark.parametrize(
    "messages", [{"tmc_message": [RECORDED]}, {"tmc_message": RECORDED}, [RECORDED], {"message": [RECORDED]}]
)
def test_a_message_comes_in_any_wrapper(messages: Any) -> None:
    (message,) = consumed({"messages": messages}).messages
    assert message.order_id == "519847000001083"


@pytest.mark.parametrize("body", ["", "<html></html>", "[]", '{"x": 1}', '{"tmc_messages_consume_response": 1}'])
def test_a_broken_answer_is_never_an_empty_queue(body: str) -> None:
    with answers(body) as gateway, pytest.raises(MalformedAnswerError):
        platform(gateway).messages(None)


def test_messages_are_received_at_the_platforms_time() -> None:
    batch = consumed({"messages": {"tmc_message": [RECORDED]}})
    assert timedelta(0) <= batch.received_at - datetime(2026, 3, 10, 12, tzinfo=CHINA) < timedelta(seconds=5)


def test_the_app_is_asked_without_a_session_and_the_seller_with_one() -> None:
    with answers(
        {"tmc_messages_consume_response": {}},
        {"tmc_messages_confirm_response": {"is_success": True}},
        {"tmc_user_permit_response": {"is_success": True}},
    ) as gateway:
        reader = platform(gateway)
        reader.messages("vip")
        reader.confirm_messages("vip", ["1", "2"])
        reader.permit_messages()
    consume, confirm, permit = gateway.forms
    assert (consume["method"], consume["group_name"], consume["quantity"]) == (
        "taobao.tmc.messages.consume",
        "vip",
        "200",
    )
    assert (confirm["method"], confirm["s_message_ids"]) == ("taobao.tmc.messages.confirm", "1,2")
    assert (permit["method"], permit["session"]) == ("taobao.tmc.user.permit", "6100session")
    assert "session" not in consume | confirm
    assert "topics" not in permit


def test_the_default_group_is_not_named() -> None:
    with answers({"tmc_messages_consume_response": {}}) as gateway:
        platform(gateway).messages(None)
    assert "group_name" not in gateway.forms[0]


def test_a_confirmation_that_is_not_one_is_an_error() -> None:
    refusal = {"tmc_messages_confirm_response": {"is_success": False}}
    with answers(refusal) as gateway, pytest.raises(MalformedAnswerError, match="1 messages of group default"):
        platform(gateway).confirm_messages(None, ["1"])
    with answers("{}") as gateway:
        platform(gateway).confirm_messages(None, [])
        assert gateway.forms == []
        with pytest.raises(ValueError, match="200"):
            platform(gateway).confirm_messages(None, ["1"] * 201)


def test_a_missing_permission_and_a_missing_group_say_what_to_do() -> None:
    refusal = {"code": 11, "msg": "Insufficient isv permissions", "sub_code": "isv.permission-api-package-empty"}
    with answers({"error_response": refusal}) as gateway, pytest.raises(AuthorizationError, match="permission package"):
        platform(gateway).permit_messages()
    refusal = {"code": 41, "msg": "Invalid Arguments:group_name"}
    with answers({"error_response": refusal}) as gateway, pytest.raises(CallerError, match="group gone"):
        platform(gateway).messages("gone")


def test_the_seller_is_read_from_an_order() -> None:
    def nick_of(trades: Any) -> str | None:
        with answers({"trades_sold_get_response": {"has_next": False, **trades}}) as gateway:
            return platform(gateway).seller_nick()

    assert nick_of({"trades": {"trade": [{"tid": 1, "seller_nick": "店"}]}}) == "店"
    assert nick_of({"trades": {"trade": [{"tid": 1}]}}) is None
    assert nick_of({}) is None
