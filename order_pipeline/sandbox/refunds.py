"""How a refund looks on the wire (contract 4.3).

Belongs here: the fields of a refund, which is a line's money on its way back. Not here: which refunds are listed
(``ledger``), what an event of a refund does to its trade (``trade``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.amounts import amounts_of, refundable
from order_pipeline.sandbox.chance import mix
from order_pipeline.sandbox.clock import DAY_SECONDS, wall_text
from order_pipeline.sandbox.event_values import EXCHANGES, RefundStep
from order_pipeline.sandbox.people import person
from order_pipeline.sandbox.rendering import money, product_of, sku_id_of, sku_name_of
from order_pipeline.sandbox.shops import Shop

AGREED, RETURNED = "WAIT_BUYER_RETURN_GOODS", "WAIT_SELLER_CONFIRM_GOODS"
STATUSES = frozenset(
    (
        f"WAIT_SELLER_AGREE {AGREED} {RETURNED} SELLER_REFUSE_BUYER CLOSED SUCCESS "
        "WAIT_BUYER_CONFIRM_EXCHANGE_SELLER_SEND_GOODS EXCHANGE_TRANSFORM_TO_REFUND WAIT_SELLER_CONSIGN_GOODS"
    ).split()
)
ENDED = frozenset({"CLOSED", t.REFUND_SUCCESS})

_LISTED = (
    "refund_id tid oid status order_status good_status has_good_return refund_fee total_fee payment num title sku "
    "outer_id reason desc created modified end_time company_name sid refund_phase refund_version dispute_type "
    "operation_contraint attribute buyer_nick buyer_open_uid seller_nick"
)
_DETAIL_ONLY = (
    "num_iid good_return_time price address alipay_no shipping_type cs_status advance_status refund_remind_timeout"
)
MESSAGE_FIELDS = frozenset(
    "id refund_id owner_id owner_nick owner_role owner_open_uid content created message_type refund_phase".split()  # noqa: SIM905
)
LIST_FIELDS = frozenset(_LISTED.split())
DETAIL_FIELDS = LIST_FIELDS | frozenset(_DETAIL_ONLY.split())

_BUYER, _SELLER, _PLATFORM = 1, 2, 3  # owner_role (contract 3.6)
_SELLERS_TURN = frozenset(
    {AGREED, "SELLER_REFUSE_BUYER", t.REFUND_SUCCESS, "WAIT_BUYER_CONFIRM_EXCHANGE_SELLER_SEND_GOODS"}
)
_SAID = {
    "WAIT_SELLER_AGREE": "买家发起了退款申请",
    RETURNED: "买家已退货，等待卖家确认收货",
    "SELLER_REFUSE_BUYER": "卖家拒绝了退款申请",
    "CLOSED": "退款关闭",
    t.REFUND_SUCCESS: "退款成功",
}

_REASONS = ("缺货", "协商一致退款", "拍错/不想要", "质量问题", "未按约定时间发货", "七天无理由退换货")
_DESCRIPTIONS = ("部分退款", "包装破损/漏液", "尺码不合适 ")
# What the seller has left to answer; the platform's own default for goods that were sent is longer.
_ANSWER_WITHIN_SECONDS = 2 * DAY_SECONDS


def refund_events(trade: t.Trade, slot: int) -> list[tuple[int, t.Event]]:
    """Return the events of one refund so far, each with the version it gave the trade."""
    return [
        (version, event) for version, event in enumerate(trade.applied, start=1) if t.is_step_of(trade, event, slot)
    ]


def dispute_type(steps: Iterable[RefundStep]) -> str:
    """Return what a refund is about, from its steps so far."""
    kind = comes_back = ""
    for step in steps:
        kind = step.kind or kind
        comes_back = comes_back or (step.status if step.status == AGREED else "")
    return kind or ("REFUND_AND_RETURN" if comes_back else "REFUND")


def fee_of(trade: t.Trade, position: int, step: RefundStep) -> int:
    """Return what a refund gives back, in cents, in the state of its trade right after that step."""
    if step.kind in EXCHANGES:
        return 0
    return refundable(trade, position) if step.fee is None else step.fee


def phase_of(trade: t.Trade) -> str:
    """Return the refund phase of a trade in its state right after an event of the refund."""
    # Money that comes back after the success leaves the trade finished; before it, it closes.
    return "aftersale" if trade.status == t.TRADE_FINISHED else "onsale"


def encode_refund(trade: t.Trade, version: int, slot: int, shop: Shop, fields: Iterable[str]) -> bytes:
    """Return the fields that have a value, in alphabetical order, as JSON; slashes are not yet escaped.

    All values are those of the refund's own latest change up to the trade's ``version``: what happens to the trade
    later leaves them alone.
    """
    events = [(made, event) for made, event in refund_events(trade, slot) if made <= version]
    made, last = events[-1]
    values = _values(trade.at_version(made), slot, shop, [event for _, event in events], last.at_ms)
    return msgspec.json.encode({name: values[name] for name in sorted(fields) if values[name] is not None})


def _values(trade: t.Trade, slot: int, shop: Shop, events: list[t.Event], modified_ms: int) -> dict[str, Any]:
    position = slot % len(trade.lines)
    line = trade.lines[position]
    refund_id = trade.placement.refund_id(slot)
    source = line.source
    product = product_of(source)
    amounts = amounts_of(trade).lines[position]
    buyer = person(trade.placement.basket.household, shop.user_id)
    steps: list[RefundStep] = [event.value for event in events]
    step, kind = steps[-1], dispute_type(steps)
    fee = fee_of(trade, position, step)
    statuses = [each.status for each in steps]
    status, modified = statuses[-1], modified_ms // 1000
    comes_back, came_back = AGREED in statuses, RETURNED in statuses
    returned_at = next((event.at_ms // 1000 for event in events if event.value.status == RETURNED), None)
    number = mix(refund_id, 71)
    good_status = "BUYER_RETURNED_GOODS" if came_back else "BUYER_RECEIVED"
    return {
        "address": f"{shop.title} 退货地址/1号仓" if comes_back else None,
        "advance_status": 0,
        "alipay_no": f"{wall_text(trade.paid_at)[:10].replace('-', '')}2200{trade.tid % 10**14:014d}"
        if trade.paid_at
        else None,
        "attribute": f";bizCode:taobao;itemPrice:{source.unit_price};",
        "buyer_nick": buyer.nick,
        "buyer_open_uid": buyer.open_uid,
        "company_name": "申通快递" if came_back else None,
        "created": wall_text(events[0].at_ms // 1000),
        "cs_status": max(each.cs_status for each in steps) or 1,
        "desc": _DESCRIPTIONS[number // 8 % len(_DESCRIPTIONS)] if number % 3 == 0 else None,
        "dispute_type": kind,
        "end_time": wall_text(modified) if status in ENDED else None,
        "good_return_time": wall_text(returned_at) if returned_at else None,
        "good_status": good_status if line.consigned_at else "BUYER_NOT_RECEIVED",
        "has_good_return": comes_back,
        "modified": wall_text(modified),
        "num": line.quantity if step.quantity is None else step.quantity,
        "num_iid": product.num_iid,
        "oid": line.oid,
        "operation_contraint": "refund_onweb" if number % 16 == 0 else None,  # sic
        "order_status": line.status,
        "outer_id": product.outer_iid,
        # What stays with the seller.
        "payment": money(0 if line.is_returned else max(0, amounts.divided - line.returned - _open(line, step, fee))),
        "price": money(source.unit_price),
        "reason": _REASONS[number // 32 % len(_REASONS)],
        "refund_fee": money(fee),
        # A number in every recording although documented as text (contract 1.4).
        "refund_id": refund_id,
        "refund_phase": phase_of(trade),
        "refund_remind_timeout": None
        if status in ENDED
        else {"exist_timeout": True, "remind_type": 1, "timeout": wall_text(modified + _ANSWER_WITHIN_SECONDS)},
        "refund_version": modified_ms,
        "seller_nick": shop.seller_nick,
        "shipping_type": "virtual" if trade.placement.virtual else "express",
        "sid": f"77{number % 10**11:011d}" if came_back else None,
        "sku": f"{sku_id_of(line)}|{sku_name_of(line)}",
        "status": status,
        "tid": trade.tid,
        "title": source.title,
        "total_fee": money(amounts.total_fee),
    }


def _open(line: t.Line, step: RefundStep, fee: int) -> int:
    """Return what a refund will still take from its line."""
    return 0 if step.status in ENDED or line.is_returned else fee


def conversation(trade: t.Trade, slot: int, shop: Shop) -> list[dict[str, Any]]:
    """Return what was said about a refund so far, as refund.messages.get shows it, the first first."""
    buyer = person(trade.placement.basket.household, shop.user_id)
    refund_id = trade.placement.refund_id(slot)
    found = []
    for number, (made, event) in enumerate(refund_events(trade, slot)):
        step: RefundStep = event.value
        is_platform, is_seller = step.cs_status > 0, step.status in _SELLERS_TURN
        approved = step.status == AGREED and not step.said
        content = step.said or (
            f"退货地址：{shop.title} 退货地址/1号仓" if approved else _SAID.get(step.status, "状态已更新")
        )
        owner = (_SELLER, shop.seller_nick, None) if is_seller else (_BUYER, buyer.nick, buyer.open_uid)
        role, nick, uid = (_PLATFORM, "淘宝客服", None) if is_platform else owner
        values = {
            "content": content,
            "created": wall_text(event.at_ms // 1000),
            "id": refund_id % 10**12 * 100 + number,
            "message_type": "RETURN_GOODS_APPROVED" if approved else "NORMAL",
            "owner_id": shop.user_id if role == _SELLER else None,
            "owner_nick": nick,
            "owner_open_uid": uid,
            "owner_role": str(role),
            "refund_id": str(refund_id),
            "refund_phase": phase_of(trade.at_version(made)),
        }
        found.append({name: value for name, value in values.items() if value is not None})
    return found
