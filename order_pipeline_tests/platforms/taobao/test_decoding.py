"""From bytes to an envelope: every tolerance of Taobao contract §1.4, and nothing read as "no data"."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from order_pipeline.platforms.taobao.decoding import Envelope, ListPayload, decode, read_list, root_key, unwrap_list
from order_pipeline.platforms.taobao.errors import ErrorResponse
from order_pipeline.platforms.taobao.parsing import parse_trade
from order_pipeline.traffic.errors import MalformedAnswerError

METHOD = "taobao.trades.sold.get"
ROOT = "trades_sold_get_response"
KEYS = frozenset({"trades", "has_next", "total_results"})


def opened(body: bytes) -> Envelope:
    envelope = decode(body, METHOD, attempted="a call", payload_keys=KEYS)
    assert isinstance(envelope, Envelope)
    return envelope


def listed(payload: dict[str, Any], page_no: int = 1, page_size: int = 100) -> ListPayload:
    return read_list(payload, "trades", "trade", page_no=page_no, page_size=page_size, attempted="a call")


def wrapped(text: str) -> bytes:
    return f'{{"{ROOT}":{text}}}'.encode()


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("taobao.trade.fullinfo.get", "trade_fullinfo_get_response"),
        ("tmall.x.y", "tmall_x_y_response"),
        ("alibaba.a.b", "alibaba_a_b_response"),
    ],
)
def test_the_root_key_follows_from_the_method(method: str, key: str) -> None:
    assert root_key(method) == key


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "empty"),
        (b" \r\n ", "empty"),
        (b"<html><body>502</body></html>", "HTML or XML"),
        (b'<?xml version="1.0"?><error_response/>', "HTML or XML"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        ('{"a":"中"}'.encode()[:-3], "not UTF-8"),
        (b'{"a":"\x00"}', "NUL bytes"),
        (b"\x00\x00\x00", "NUL bytes"),
        (wrapped('{"a":1}')[:-2], "broken JSON"),
        (wrapped('{"a":"1')[:-2], "broken JSON"),
        (b"[1,2]", "JSON list, not an object"),
        (b"null", "JSON null, not an object"),
        (b'"text"', "JSON text, not an object"),
        (b"17", "JSON number, not an object"),
        (b"NaN", "JSON text, not an object"),
        (b"{}", f"no {ROOT}"),
        (b'{"trade_get_response":{}}', f"no {ROOT}"),
        (wrapped("null"), "is a null"),
        (wrapped("[]"), "is a list"),
        (b'{"error_response":"no"}', "error_response is a text"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_a_body_that_is_no_answer_is_named_and_never_read_as_no_data(body: bytes, named: str) -> None:
    with pytest.raises(MalformedAnswerError, match=named) as caught:
        opened(body)
    assert caught.value.retryable


def test_a_byte_order_mark_does_not_matter() -> None:
    assert opened(b"\xef\xbb\xbf" + wrapped('{"a":1}')).payload == {"a": 1}


def test_raw_control_characters_are_read_and_kept_escaped() -> None:
    envelope = opened(wrapped('{"seller_memo":"a\tb\nc\r\x01\x1f\\"d","x":\n\t1}'))
    assert envelope.payload == {"seller_memo": 'a\tb\nc\r\x01\x1f"d', "x": 1}
    assert "\\u0001" in envelope.text
    assert json.loads(envelope.text) == {ROOT: envelope.payload}


def test_numbers_beyond_64_bits_stay_exact() -> None:
    tid = 10**20 + 1
    assert opened(wrapped(f'{{"tid":{tid}}}')).payload == {"tid": tid}
    assert opened(wrapped(f'{{"tid":{tid},"memo":"\t"}}')).payload["tid"] == tid


def test_numbers_that_python_cannot_hold_are_kept_as_text() -> None:
    payload = opened(wrapped(f'{{"a":1e999,"b":{"1" * 5000}}}')).payload
    assert payload == {"a": "1e999", "b": "1" * 5000}


def test_tokens_that_json_does_not_have_are_read_and_kept_as_text() -> None:
    envelope = opened(wrapped('{"payment":NaN,"a":-Infinity,"b":"NaN","c":Infinity}'))
    assert envelope.payload == {"payment": "NaN", "a": "-Infinity", "b": "NaN", "c": "Infinity"}
    assert json.loads(envelope.text, parse_constant=pytest.fail) == {ROOT: envelope.payload}


@pytest.mark.parametrize(
    ("body", "clean"),
    [
        (wrapped('{"a":"b"}'), True),
        (wrapped('{"a":"\\ud83d\\ude00"}'), True),
        (wrapped('{"a":"\\u0000"}'), False),
        (wrapped('{"a":"\\ud800"}'), False),
        (wrapped('{"a":"\t"}'), False),
    ],
)
def test_only_a_text_that_can_hold_neither_nul_nor_lone_surrogate_is_called_clean(body: bytes, clean: bool) -> None:
    assert opened(body).text_is_clean is clean


def test_the_request_number_is_read_inside_and_beside_the_root() -> None:
    assert opened(wrapped('{"request_id":"abc"}')).request_id == "abc"
    assert opened(f'{{"{ROOT}":{{}},"request_id":"abc"}}'.encode()).request_id == "abc"
    assert opened(wrapped("{}")).request_id is None
    assert opened(wrapped('{"request_id":"\\u0000"}')).request_id is None


def test_a_simplified_answer_is_read() -> None:
    envelope = opened(b'{"trades":[{"tid":1}],"has_next":false,"request_id":"abc"}')
    assert listed(envelope.payload).rows == [{"tid": 1}]
    assert envelope.request_id == "abc"


def test_a_refusal_is_returned_whatever_its_types() -> None:
    error = decode(b'{"error_response":{"code":"40","msg":"Missing"}}', METHOD, attempted="a call")
    assert isinstance(error, ErrorResponse)
    assert error.code == "40"


@pytest.mark.parametrize(
    "trades", [None, {}, {"trade": []}, {"trade": None}, []], ids=["null", "object", "wrapped", "wrapped null", "bare"]
)
@pytest.mark.parametrize("end", [{"total_results": 0}, {"has_next": False}, {"total_results": "0"}])
def test_an_empty_list_in_any_shape_is_empty(trades: Any, end: dict[str, Any]) -> None:
    assert listed({"trades": trades} | end).rows == []
    assert listed(end).rows == []


@pytest.mark.parametrize(
    "trades", [{"trade": [{"tid": 1}]}, {"trade": {"tid": 1}}, [{"tid": 1}], {"tid": 1}, {"other_name": [{"tid": 1}]}]
)
def test_one_row_in_any_shape_is_one_row(trades: Any) -> None:
    assert listed({"trades": trades, "has_next": False}).rows == [{"tid": 1}]


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ({}, "neither has_next nor total_results"),
        ({"trades": {"trade": [{}]}}, "neither has_next nor total_results"),
        ({"trades": {}, "has_next": True}, "has_next is true, but the page is empty"),
        ({"total_results": 3}, "total_results is 3, but the first page is empty"),
        ({"trades": "x", "has_next": False}, "trades is a text"),
        ({"trades": {"trade": "x"}, "has_next": False}, "not a list"),
        ({"trades": 7, "total_results": 0}, "not a list"),
        ({"has_next": "maybe"}, "neither true nor false"),
        ({"has_next": []}, "neither true nor false"),
        ({"total_results": -1}, "no count"),
        ({"total_results": "many"}, "no count"),
        ({"total_results": True}, "no count"),
    ],
)
def test_a_list_that_contradicts_itself_is_no_answer(payload: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedAnswerError, match=named):
        listed(payload)


@pytest.mark.parametrize(("flag", "expected"), [("true", True), ("FALSE", False), (1, True), ("0", False)])
def test_a_flag_may_come_as_text_or_number(flag: Any, expected: bool) -> None:
    assert listed({"trades": [{}], "has_next": flag}).has_next is expected


def test_a_gateway_that_counts_instead_still_says_whether_more_follows() -> None:
    assert listed({"trades": [{}], "total_results": "43"}, page_no=1, page_size=40).has_next
    assert not listed({"trades": [{}], "total_results": 43}, page_no=2, page_size=40).has_next


def test_a_later_page_may_be_empty_when_rows_have_left() -> None:
    assert listed({"total_results": 3}, page_no=2).rows == []


def test_a_body_that_invites_slow_matching_is_refused_at_once() -> None:
    for body in (b'"' + b'\\"' * 500_000, b'{"' + b"a\t" * 500_000, b'"\\' * 300_000):
        with pytest.raises(MalformedAnswerError):
            opened(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [ROOT, "error_response", "trades", "trade", "has_next", "total_results", "code", "orders", "order"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


def read_everything(body: bytes) -> None:
    """Do all that is done with an answer; only a MalformedAnswerError may come of it."""
    try:
        envelope = decode(body, METHOD, attempted="a call", payload_keys=KEYS)
        if isinstance(envelope, ErrorResponse):
            return
        json.loads(envelope.text)
        envelope.text.encode()
        for row in listed(envelope.payload).rows:
            parse_trade(row, text_is_clean=envelope.text_is_clean)
    except MalformedAnswerError:
        pass


@settings(max_examples=400)
@given(st.binary(max_size=200))
@example(b"\xed\xa0\x80")
@example(b'{"error_response":{"code":' + b"9" * 5000 + b"}}")
def test_any_bytes_are_an_answer_or_malformed(body: bytes) -> None:
    read_everything(body)


@settings(max_examples=600)
@given(value=json_values, ascii_only=st.booleans(), root=st.sampled_from(["{}", '{"' + ROOT + '":{}}']))
def test_any_json_is_an_answer_or_malformed(value: Any, ascii_only: bool, root: str) -> None:
    text = root.replace("{}", json.dumps(value, ensure_ascii=ascii_only))
    read_everything(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=30), st.integers(0, 300))
def test_any_damage_to_a_good_answer_is_an_answer_or_malformed(damage: bytes, place: int) -> None:
    good = wrapped('{"has_next":true,"trades":{"trade":[{"tid":1,"orders":{"order":[{"oid":1}]}}]},"request_id":"a"}')
    read_everything(good[:place] + damage)
    read_everything(good[:place] + damage + good[place + len(damage) :])


def test_a_value_that_is_no_list_in_any_shape_is_none() -> None:
    assert unwrap_list("x", "trade") is None
    assert unwrap_list({"trade": 7}, "trade") is None
