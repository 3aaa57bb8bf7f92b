"""One message of the message service -> the Message it means (Taobao contract §6).

Belongs here: topics, and how a message and its content are read. Not here: fetching and confirming (platform.py),
nor what is done about a message (sync).

Nothing here raises on any JSON: what cannot be read is a Message with a problem, kept as far as it may be.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from order_pipeline.platforms.protocol import Message
from order_pipeline.platforms.taobao.decoding import parse_json
from order_pipeline.platforms.taobao.fields import PERSONAL_FIELDS
from order_pipeline.platforms.taobao.values import UnreadableError, read_code, read_id, read_moment

T = TypeVar("T")

_TRADE = "taobao_trade_"
_REFUND = "taobao_refund_"
_WITHDRAWAL = "taobao_top_AuthCancel"


def _names(prefix: str, endings: str) -> list[str]:
    return [prefix + ending for ending in endings.split()]


TRACE_TOPIC = "taobao_logistics_LogsticDetailTrace"  # sic

# §6.3, in full. The platform adds topics without asking: an unknown one is kept and counted.
TOPICS = frozenset(
    [
        *_names(
            _TRADE,
            "TradeCreate TradeModifyFee TradeCloseAndModifyDetailOrder TradeClose TradeBuyerPay TradeBuyerStepPay "
            "TradeSellerShip TradePartlySellerShip TradeDelayConfirmPay TradePartlyRefund TradePartlyConfirmPay "
            "TradeSuccess TradeTimeoutRemind TradeRated TradeMemoModified TradeLogisticsAddressChanged TradeChanged "
            "TradeAlipayCreate OrderSkuChanged",
        ),
        *_names(
            _REFUND,
            "RefundCreated RefundSellerAgreeAgreement RefundSellerRefuseAgreement RefundBuyerModifyAgreement "
            "RefundBuyerReturnGoods RefundCreateMessage RefundClosed RefundSuccess TaobaoInterApplied TaobaoIntervened",
        ),
        *_names(
            "taobao_item_Item",
            "Add Upshelf Downshelf Delete Update ZeroStock SkuZeroStock StockChanged",
        ),
        TRACE_TOPIC,
        _WITHDRAWAL,
    ]
)
# What these families are about is an order, whatever happened to it: also in topics that are not known yet. A parcel
# on its way names its order too, ten times over, without changing it.
ORDER_FAMILIES = (_TRADE, _REFUND)
# What is permitted by name where messages about parcels are wanted: naming a topic takes all others away (§3.9).
TOPICS_WITH_TRACES = (
    *sorted(topic for topic in TOPICS if topic.startswith(ORDER_FAMILIES)),
    TRACE_TOPIC,
    _WITHDRAWAL,
)

# Beyond what no answer is kept with: who bought, and words of people (a courier's name and number in a transit event).
NOT_KEPT = PERSONAL_FIELDS | {"buyer_open_uid", "ouid", "seller_memo", "buyer_message", "desc"}
# The platform takes contents of up to 122,880 characters (§3.9, produce); one that cannot be read is kept in part.
KEPT_CHARACTERS = 4_000

_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")
# A field of the list above and its value, as far as it goes, in text that is no JSON any more.
_PERSONAL = re.compile(rf'"({"|".join(sorted(NOT_KEPT))})"\s*:\s*("(?:[^"\\]|\\.)*"?|[^,}}\s]*)', re.DOTALL)


def parse_message(record: object) -> Message:
    """Read one message of an answer. Never raises on any JSON value."""
    if not isinstance(record, dict):
        return _unreadable(record, f"a {type(record).__name__} instead of a message")
    problems: list[str] = []

    def read(field: str, reader: Callable[[object], T]) -> T | None:
        try:
            value = reader(record.get(field))
        except UnreadableError as problem:
            problems.append(f"{field}: {problem}")
            return None
        if isinstance(value, str) and _FORBIDDEN.search(value):
            problems.append(f"{field}: a NUL character or a lone surrogate")
            return None
        return value

    message_id = read("id", read_id)
    topic = read("topic", read_code) or ""
    published_at: datetime | None = read("pub_time", read_moment)
    seller_id = read("user_id", read_code)
    seller_nick = read("user_nick", read_code)
    fields, content, problem = _read_content(record.get("content"))
    if not topic:
        problems.append("topic: missing")
    if problem:
        problems.append(f"content: {problem}")
    order_id = refund_id = None
    if fields is not None and topic.startswith(ORDER_FAMILIES):
        try:
            order_id = read_id(fields.get("tid"))
        except UnreadableError as unreadable:
            problems.append(f"content: tid: {unreadable}")
        try:
            refund_id = read_id(fields["refund_id"]) if fields.get("refund_id") else None
        except UnreadableError as unreadable:
            problems.append(f"content: refund_id: {unreadable}")
    return Message(
        message_id=message_id or _made_id(record),
        confirmable=message_id is not None,
        topic=topic,
        known_topic=topic in TOPICS,
        seller_id=seller_id,
        seller_nick=seller_nick,
        published_at=published_at,
        order_id=order_id,
        refund_id=refund_id,
        content=content,
        problem="; ".join(problems) or None,
        withdraws=topic == _WITHDRAWAL,
    )


def _read_content(content: object) -> tuple[Mapping[str, Any] | None, str, str | None]:
    """Return the fields, the text to keep, and why there are no fields."""
    # Text by contract; a gateway that simplifies once too often would send the object.
    if isinstance(content, dict):
        return content, _written(content), None
    if not isinstance(content, str):
        return None, "", "missing" if content is None else f"a {type(content).__name__} instead of JSON text"
    try:
        fields = parse_json(content)
    except ValueError as error:
        return None, _redacted(content), f"{len(content)} characters that are no JSON ({error})"
    if not isinstance(fields, dict):
        return None, _redacted(content), f"a {type(fields).__name__} instead of an object"
    return fields, _written(fields), None


def _written(fields: Mapping[str, Any]) -> str:
    """Write the fields without personal data, as Postgres takes it."""
    kept = {name: value for name, value in fields.items() if name not in NOT_KEPT}
    try:
        text = json.dumps(kept, ensure_ascii=False)
        # As escapes they are only text.
        return json.dumps(kept) if _FORBIDDEN.search(text) else text
    except (RecursionError, ValueError):
        return ""


def _redacted(text: str) -> str:
    """Return the beginning of a text that cannot be read, without the personal data it still shows."""
    kept = _PERSONAL.sub(r'"\1": "***"', text)[:KEPT_CHARACTERS]
    return json.dumps(kept) if _FORBIDDEN.search(kept) else kept


def _made_id(record: object) -> str:
    """Return the same id for the same record: it comes again and again, as it cannot be confirmed."""
    try:
        text = json.dumps(record, sort_keys=True)
    except (RecursionError, ValueError):
        text = "nested too deeply"
    return f"unreadable-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _unreadable(record: object, reason: str) -> Message:
    return Message(
        message_id=_made_id(record),
        confirmable=False,
        topic="",
        known_topic=False,
        seller_id=None,
        seller_nick=None,
        published_at=None,
        order_id=None,
        refund_id=None,
        content="",
        problem=reason,
    )
