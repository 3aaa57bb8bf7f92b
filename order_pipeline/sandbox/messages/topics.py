"""Which messages a change of an order makes, and what is in them (contract 6.3).

Belongs here: from one event of a trade to topics and contents. Not here: who gets them and when (``queues``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.amounts import Amounts, amounts_of
from order_pipeline.sandbox.chance import fraction
from order_pipeline.sandbox.clock import wall_text
from order_pipeline.sandbox.event_values import EXCHANGES, RefundStep
from order_pipeline.sandbox.people import person
from order_pipeline.sandbox.refunds import dispute_type, fee_of, phase_of, refund_events
from order_pipeline.sandbox.rendering import money, product_of
from order_pipeline.sandbox.shops import Shop

Message = tuple[str, dict[str, Any]]

AUTH_CANCEL = "taobao_top_AuthCancel"

_TRADE = "taobao_trade_Trade"
_REFUND = "taobao_refund_Refund"
_TOPIC_OF_KIND: Mapping[str, str] = MappingProxyType(
    {
        t.CREATED: _TRADE + "Create",
        t.DEPOSIT_PAID: _TRADE + "BuyerStepPay",
        t.DEPOSIT_FORFEITED: _TRADE + "Close",
        t.PAID: _TRADE + "BuyerPay",
        t.CLOSED_UNPAID: _TRADE + "Close",
        t.PRICE_ADJUSTED: _TRADE + "ModifyFee",
        t.QUANTITY_CHANGED: _TRADE + "CloseAndModifyDetailOrder",
        t.SKU_CHANGED: "taobao_trade_OrderSkuChanged",
        t.MEMO_EDITED: _TRADE + "MemoModified",
        t.SIGNED: _TRADE + "Changed",
        t.FINISHED: _TRADE + "Success",
        t.TOUCHED: _TRADE + "Changed",
        t.HELD: _TRADE + "Changed",
    }
)
_TOPIC_OF_REFUND: Mapping[str, str] = MappingProxyType(
    {
        "WAIT_SELLER_AGREE": _REFUND + "Created",
        "WAIT_BUYER_RETURN_GOODS": _REFUND + "SellerAgreeAgreement",
        "WAIT_SELLER_CONFIRM_GOODS": _REFUND + "BuyerReturnGoods",
        "SELLER_REFUSE_BUYER": _REFUND + "SellerRefuseAgreement",
        "CLOSED": _REFUND + "Closed",
        t.REFUND_SUCCESS: _REFUND + "Success",
    }
)


def _names(prefix: str, endings: str) -> list[str]:
    return [prefix + ending for ending in endings.split()]


_TOPIC_OF_INTERVENTION: Mapping[int, str] = MappingProxyType(
    {2: "taobao_refund_TaobaoInterApplied", 3: "taobao_refund_TaobaoIntervened"}
)
_BILLS: Mapping[str, str] = MappingProxyType({"REFUND_AND_RETURN": "return_bill"})
# What has no topic of its own: another amount, the further steps of an exchange.
_OTHER_REFUND_TOPIC = _REFUND + "BuyerModifyAgreement"

# Everything an app can subscribe to (contract 6.3); a shop here emits only some of them.
TOPICS = frozenset(
    [
        AUTH_CANCEL,
        "taobao_trade_OrderSkuChanged",
        "taobao_logistics_LogsticDetailTrace",  # sic
        "taobao_refund_TaobaoInterApplied",
        "taobao_refund_TaobaoIntervened",
        *_names(
            _TRADE,
            "Create ModifyFee CloseAndModifyDetailOrder Close BuyerPay BuyerStepPay SellerShip PartlySellerShip "
            "DelayConfirmPay PartlyRefund PartlyConfirmPay Success TimeoutRemind Rated MemoModified "
            "LogisticsAddressChanged Changed AlipayCreate",
        ),
        *_names(
            _REFUND,
            "Created SellerAgreeAgreement SellerRefuseAgreement BuyerModifyAgreement BuyerReturnGoods CreateMessage "
            "Closed Success",
        ),
        *_names("taobao_item_Item", "Add Upshelf Downshelf Delete Update ZeroStock SkuZeroStock StockChanged"),
    ]
)

# The status is missing in most recordings (contract 6.3), so nobody may rely on it.
_STATUS_SHARE = 0.3
_GUARANTEE_TRADE = frozenset({"fixed", "auction"})  # messages do carry the union's name (contract 4.6)


def messages_of(trade: t.Trade, shop: Shop) -> Iterator[Message]:
    """Give the messages that the latest event of ``trade`` makes, in the order in which they are published."""
    event = trade.applied[-1]
    amounts = amounts_of(trade)
    if event.kind == t.REFUND:
        yield from _refund_messages(trade, shop, event, amounts)
        return
    if event.kind == t.CONSIGNED:
        partly = trade.status == t.SELLER_CONSIGNED_PART
        yield _TRADE + ("PartlySellerShip" if partly else "SellerShip"), _trade_content(trade, shop, amounts)
        return
    if event.kind == t.ADDRESS_CHANGED:
        buyer = person(trade.placement.basket.household, shop.user_id)
        ids = {"buyer_nick": buyer.nick, "buyer_open_uid": buyer.open_uid, "tid": trade.tid}
        yield _TRADE + "LogisticsAddressChanged", ids
        return
    position = event.lines[0] if event.lines else None
    content = _trade_content(trade, shop, amounts, position)
    if event.kind in (t.CLOSED_UNPAID, t.DEPOSIT_FORFEITED) and len(trade.lines) == 1:
        source = trade.lines[0].source
        content["num_iid"] = product_of(source).num_iid
        content["num"] = trade.lines[0].quantity
        content["price"] = money(source.unit_price)
    elif event.kind == t.PAID:
        content["post_fee"] = money(trade.post_fee)
    elif event.kind == t.MEMO_EDITED:
        content |= {"action_type": "seller", "seller_memo": trade.seller_memo, "seller_flag": trade.seller_flag}
    yield _TOPIC_OF_KIND[event.kind], content


def _trade_content(trade: t.Trade, shop: Shop, amounts: Amounts, position: int | None = None) -> dict[str, Any]:
    buyer = person(trade.placement.basket.household, shop.user_id)
    content = {
        "buyer_nick": buyer.nick,
        "buyer_open_uid": buyer.open_uid,
        "payment": money(amounts.payment),
        "oid": trade.tid if position is None else trade.lines[position].oid,
        "tid": trade.tid,
        "type": "guarantee_trade" if trade.type in _GUARANTEE_TRADE else trade.type,
        "seller_nick": shop.seller_nick,
    }
    if fraction(trade.tid, trade.version, 61) < _STATUS_SHARE:
        content["status"] = trade.status
    return content


def _refund_messages(trade: t.Trade, shop: Shop, event: t.Event, amounts: Amounts) -> Iterator[Message]:
    """One message a line, as each line has a refund of its own; money that comes back before the end closes lines."""
    buyer = person(trade.placement.basket.household, shop.user_id)
    step: RefundStep = event.value
    succeeded = step.status == t.REFUND_SUCCESS and step.kind not in EXCHANGES
    for position in event.lines:
        line = trade.lines[position]
        slot = trade.placement.refund_slot(position, step.number)
        steps: list[RefundStep] = [made.value for _, made in refund_events(trade, slot)]
        kind = dispute_type(steps)
        replaces = kind in EXCHANGES
        yield (
            _refund_topic(steps),
            {
                "buyer_nick": buyer.nick,
                "buyer_open_uid": buyer.open_uid,
                "refund_phase": phase_of(trade),
                "refund_fee": money(fee_of(trade, position, step)),
                "modified": wall_text(event.at_ms // 1000),
                "bill_type": "replace_bill" if replaces else _BILLS.get(kind, "refund_bill"),
                "oid": line.oid,
                "seller_nick": shop.seller_nick,
                "refund_id": trade.placement.refund_id(slot),
                "tid": trade.tid,
            },
        )
        if succeeded and trade.status not in t.ENDED:
            yield _TRADE + "PartlyRefund", _trade_content(trade, shop, amounts, position)
    if succeeded and trade.status == t.TRADE_CLOSED:
        yield _TRADE + "Close", _trade_content(trade, shop, amounts)


def _refund_topic(steps: list[RefundStep]) -> str:
    """Return the topic of the last step: what the platform did or somebody wrote, else what it changed."""
    step, earlier = steps[-1], steps[-2] if len(steps) > 1 else None
    if topic := _TOPIC_OF_INTERVENTION.get(step.cs_status):
        return topic
    if step.said:
        return _REFUND + "CreateMessage"
    if earlier is not None and earlier.status == step.status:
        return _OTHER_REFUND_TOPIC
    return _TOPIC_OF_REFUND.get(step.status, _OTHER_REFUND_TOPIC)
