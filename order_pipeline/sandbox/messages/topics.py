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
from order_pipeline.sandbox.people import person
from order_pipeline.sandbox.refunds import AGREED, phase_of, refund_events
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


# What only a test can bring about, such as an exchange.
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
    succeeded = event.value == t.REFUND_SUCCESS
    for position in event.lines:
        line = trade.lines[position]
        comes_back = any(step.value == AGREED for _, step in refund_events(trade, position))
        yield (
            _TOPIC_OF_REFUND.get(event.value, _OTHER_REFUND_TOPIC),
            {
                "buyer_nick": buyer.nick,
                "buyer_open_uid": buyer.open_uid,
                "refund_phase": phase_of(trade),
                "refund_fee": money(amounts.lines[position].divided),
                "modified": wall_text(event.at_ms // 1000),
                "bill_type": "return_bill" if comes_back else "refund_bill",
                "oid": line.oid,
                "seller_nick": shop.seller_nick,
                "refund_id": line.refund_id,
                "tid": trade.tid,
            },
        )
        if succeeded and trade.status not in t.ENDED:
            yield _TRADE + "PartlyRefund", _trade_content(trade, shop, amounts, position)
    if succeeded and trade.status == t.TRADE_CLOSED:
        yield _TRADE + "Close", _trade_content(trade, shop, amounts)
