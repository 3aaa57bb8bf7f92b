"""How a trade looks on the wire: names, text forms, and what is left out because it has no value.

Belongs here: from state to the platform's fields (contract 1.4 and 4). Not here: the envelope around them
(``envelope``), which trades are listed (``ledger``).
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import msgspec

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.amounts import Amounts, LineAmounts, amounts_of
from order_pipeline.sandbox.chance import mix
from order_pipeline.sandbox.clock import DAY_SECONDS, wall_text
from order_pipeline.sandbox.demand import BasketLine
from order_pipeline.sandbox.fields import ELEMENT_NAMES, Selection
from order_pipeline.sandbox.people import oaid, person
from order_pipeline.sandbox.shops import Shop

# A buyer who does nothing has the parcel confirmed for them after ten days (Taobao's default).
_CONFIRM_TIMEOUT_SECONDS = 10 * DAY_SECONDS
_STAGED_SHIPS_WITHIN_DAYS = 15
# Few enough to be special, many enough to be seen in a small shop.
_ONE_GIFT_IN = 40
_ONE_BUNDLE_IN = 60
# The components of bundles are products that are not sold alone.
_PARTS_ABOVE = 50_000_000
_NEXT_ADDRESS = 1_000_003
VARIANTS = ("标准装", "家庭装", "试用装", "礼盒装")
_SHIPPED = frozenset({t.WAIT_BUYER_CONFIRM_GOODS, t.SELLER_CONSIGNED_PART})


class Product(msgspec.Struct, frozen=True, gc=False):
    """What a line sells."""

    num_iid: int
    cid: int
    outer_iid: str
    picture: str
    is_bundle: bool


@lru_cache(maxsize=32_768)
def money(cents: int) -> str:
    """Yuan with two places, the platform's text for money."""
    sign, cents = ("-", -cents) if cents < 0 else ("", cents)
    return f"{sign}{cents // 100}.{cents % 100:02d}"


@lru_cache(maxsize=32_768)
def _product(product_id: int, category: str) -> Product:
    return Product(
        num_iid=600_000_000_000 + product_id,
        cid=50_000_000 + zlib.crc32(category.encode()) % 30_000,
        outer_iid=f"P{product_id}",
        picture=f"https://img.alicdn.com/bao/uploaded/i4/sandbox/O1CN{product_id}_!!0-item_pic.jpg",
        is_bundle=mix(product_id, 94) % _ONE_BUNDLE_IN == 0,
    )


def product_of(source: BasketLine) -> Product:
    """Return what a line sells."""
    return _product(source.product_id, source.category)


def sku_id_of(line: t.Line) -> str:
    """Return the id of the variant that a line sells."""
    return str(5_000_000_000_000 + line.source.product_id * 10 + line.variant)


def sku_name_of(line: t.Line) -> str:
    """Return the properties of the variant that a line sells."""
    return variant_name(line.variant)


def variant_name(variant: int) -> str:
    """Return the properties of a variant."""
    return f"规格:{VARIANTS[variant % len(VARIANTS)]}"


def _moment(seconds: int) -> str | None:
    return wall_text(seconds) if seconds else None


def encode_trade(trade: t.Trade, shop: Shop, selection: Selection) -> bytes:
    """Return the selected fields of a trade as JSON; slashes are not yet escaped, that is the envelope's."""
    return msgspec.json.encode(render_trade(trade, shop, selection))


def render_trade(trade: t.Trade, shop: Shop, selection: Selection) -> dict[str, Any]:
    """Return the selected fields of a trade that have a value, in alphabetical order."""
    amounts = amounts_of(trade)
    full = _trade_fields(trade, shop, amounts)
    wanted = selection.trade
    if "orders" in wanted:
        names = selection.order
        orders = []
        for position, line in enumerate(trade.lines):
            fields = _order_fields(trade, position, line, shop, amounts.lines[position])
            orders.append({name: value for name in names if (value := fields[name]) is not None})
        full["orders"] = {"order": orders}
    if "promotion_details" in wanted and (promotions := _promotions(trade, amounts)):
        full["promotion_details"] = {"promotion_detail": promotions}
    if "oaid" in wanted:
        full["oaid"] = oaid(_addressee(trade), shop.app_key, shop.user_id, trade.created)
    rendered = {name: value for name in wanted if (value := full[name]) is not None}
    for name, parts in selection.parts.items():
        if name != "orders" and name in rendered:
            element = ELEMENT_NAMES[name]
            rendered[name] = {
                element: [{part: item[part] for part in parts if part in item} for item in full[name][element]]
            }
    return rendered


def combination_of(source: BasketLine) -> dict[str, Any]:
    """Return what a bundle is made of."""
    product = product_of(source)
    parts = [
        {
            "item_id": product.num_iid + _PARTS_ABOVE + part,
            "item_name": f"{source.title} 单品{part}",
            "outer_iid": f"{product.outer_iid}-C{part}",
            "outer_sku_id": f"{product.outer_iid}-C{part}-0",
            "quantity": part,
            "sku_id": 5_000_000_000_000 + (source.product_id + _PARTS_ABOVE + part) * 10,
            "sku_title": f"规格:{VARIANTS[0]}",
        }
        for part in (1, 2)
    ]
    return {"combine_sub_item_do": parts}


def _addressee(trade: t.Trade) -> int:
    """Return whose address the parcel goes to: after a change somebody else's."""
    return trade.placement.basket.household + trade.addresses * _NEXT_ADDRESS


def _presale_days(trade: t.Trade) -> int:
    return trade.placement.presale_days or (_STAGED_SHIPS_WITHIN_DAYS if trade.step_status is not None else 0)


def _promise(trade: t.Trade) -> str | None:
    """Return the promise as free text, which only pre-sales that are paid in full have here."""
    days = trade.placement.presale_days
    return f"{wall_text(trade.created + days * DAY_SECONDS)}前" if days else None


def _flag(trade: t.Trade, name: str) -> int | None:
    return 1 if name in trade.holds else None


def _shipping_type(trade: t.Trade) -> str:
    if trade.placement.virtual:
        return "virtual"
    # Frozen at creation: "free" where the seller carries the postage.
    return "express" if trade.placement.post_fee else "free"


def _step_paid(trade: t.Trade, amounts: Amounts) -> str | None:
    if trade.step_status is None or trade.step_status == "FRONT_NOPAID_FINAL_NOPAID":
        return None
    return money(amounts.payment if trade.paid_at else trade.placement.deposit)


def _timeout(trade: t.Trade) -> str | None:
    # Moves to the lines once a refund is applied for (contract 4.1).
    if not trade.paid_at or trade.status not in _SHIPPED or any(line.refund_id for line in trade.lines):
        return None
    return wall_text(trade.consigned_at + _CONFIRM_TIMEOUT_SECONDS)


def _trade_fields(trade: t.Trade, shop: Shop, amounts: Amounts) -> dict[str, Any]:
    buyer = person(trade.placement.basket.household, shop.user_id)
    tid = trade.tid
    only = trade.lines[0] if len(trade.lines) == 1 else None
    product = _product(only.source.product_id, only.source.category) if only else None
    modified = wall_text(trade.modified)
    paid = trade.paid_at > 0
    succeeded = trade.status == t.TRADE_FINISHED
    held = amounts.payment if paid and trade.status not in t.ENDED else 0
    presale_days = _presale_days(trade)
    addressee = buyer if not trade.addresses else person(_addressee(trade), shop.user_id)
    return {
        "adjust_fee": money(amounts.adjust_fee),
        "alipay_no": f"{wall_text(trade.paid_at)[:10].replace('-', '')}2200{tid % 10**14:014d}" if paid else None,
        "async_modified": wall_text(trade.entered),
        "available_confirm_fee": money(held),
        "buyer_area": buyer.state + (buyer.city or ""),
        "buyer_message": trade.buyer_message,
        "buyer_nick": buyer.nick,
        "buyer_open_uid": buyer.open_uid,
        "buyer_rate": False,
        "cod_fee": "0.00",
        "cod_status": trade.cod_status,
        "commission_fee": "0.00",
        "consign_time": _moment(trade.consigned_at),
        "coupon_fee": 0,
        "created": wall_text(trade.created),
        "credit_card_fee": "0.00",
        "discount_fee": money(amounts.discount_fee),
        "end_time": _moment(trade.ended_at),
        "est_con_time": _promise(trade),
        "forbid_consign": _flag(trade, "forbid_consign"),
        "has_buyer_message": trade.buyer_message is not None,
        "has_post_fee": trade.post_fee > 0,
        "is_part_consign": trade.parcels > 1 or trade.status == t.SELLER_CONSIGNED_PART,
        "mark_desc": "卖家标记异常" if "top_hold" in trade.holds else None,
        "modified": modified,
        "new_presell": True if presale_days else None,
        # Item fields belong to the lines; only a single line shows them on the trade too.
        "num": only.quantity if only else 0,
        "num_iid": product.num_iid if product else None,
        "oaid": None,
        "orders": None,
        "pay_time": _moment(trade.paid_at),
        "payment": money(amounts.payment),
        "pic_path": product.picture if product else None,
        "post_fee": money(trade.post_fee),
        "price": money(only.source.unit_price) if only else None,
        "promotion_details": None,
        "received_payment": money(amounts.received),
        "receiver_address": addressee.address,
        "receiver_city": addressee.city,
        "receiver_country": "中国",
        "receiver_district": addressee.district,
        "receiver_mobile": addressee.mobile,
        "receiver_name": addressee.name,
        "receiver_phone": addressee.phone,
        "receiver_state": addressee.state,
        "receiver_town": addressee.town,
        "receiver_zip": addressee.zip,
        "seller_flag": trade.seller_flag,
        "seller_memo": trade.seller_memo,
        "seller_nick": shop.seller_nick,
        "seller_rate": succeeded,
        "send_time": wall_text(trade.created + presale_days * DAY_SECONDS) if presale_days else None,
        "shipping_type": _shipping_type(trade),
        "sid": str(tid),
        "snapshot_url": f"s:{tid}_1",
        "status": trade.status,
        "step_paid_fee": _step_paid(trade, amounts),
        "step_trade_status": trade.step_status,
        "team_buy_hold": _flag(trade, t.TEAM_BUY_HOLD),
        "tid": tid,
        "tid_str": str(tid),
        "timeout_action_time": _timeout(trade),
        "title": shop.title,
        "tmall_coupon_fee": 0,
        "top_hold": _flag(trade, "top_hold"),
        "total_fee": money(amounts.total_fee),
        "trade_from": trade.placement.origin,
        "type": trade.type,
    }


def _order_fields(trade: t.Trade, position: int, line: t.Line, shop: Shop, amounts: LineAmounts) -> dict[str, Any]:
    source: BasketLine = line.source
    product = _product(source.product_id, source.category)
    return {
        "adjust_fee": money(line.adjust),
        "buyer_rate": False,
        "cid": product.cid,
        "combine_item_info": combination_of(source) if product.is_bundle else None,
        "consign_time": _moment(line.consigned_at),
        "discount_fee": money(source.discount),
        "divide_order_fee": money(amounts.divided),
        "end_time": _moment(line.ended_at),
        "estimate_con_time": _promise(trade),
        "invoice_no": line.invoice_no,
        "is_daixiao": False,
        "is_oversold": False,
        "is_service_order": False,
        "is_www": True,
        "logistics_company": line.company,
        "num": line.quantity,
        "num_iid": product.num_iid,
        "oid": line.oid,
        "oid_str": str(line.oid),
        "order_from": trade.placement.origin,
        "outer_iid": product.outer_iid,
        "outer_sku_id": f"{product.outer_iid}-{line.variant}",
        "part_mjz_discount": money(amounts.share),
        "payment": money(amounts.payment),
        "pic_path": product.picture,
        "price": money(source.unit_price),
        # A number in every recording although documented as text (contract 1.4).
        "refund_id": line.refund_id or None,
        "refund_status": line.refund_status,
        "seller_rate": trade.status == t.TRADE_FINISHED,
        "seller_type": shop.seller_type,
        "shipping_type": _shipping_type(trade),
        "sku_id": sku_id_of(line),
        "sku_properties_name": sku_name_of(line),
        "snapshot_url": f"s:{line.oid}_{position + 1}",
        "status": line.status,
        "title": source.title,
        "total_fee": money(amounts.total_fee),
    }


def _promotions(trade: t.Trade, amounts: Amounts) -> list[dict[str, Any]]:
    """Line discounts carry the line's id, the trade's discount the trade's (contract 4.1, recordings)."""
    found = [
        _promotion(line.oid, "单品优惠", f"SandboxItem-{line.source.product_id}", line.source.discount)
        for line in trade.lines
        if line.source.discount
    ]
    if amounts.discount_fee:
        found.append(_promotion(trade.tid, "满就送", "SandboxTrade-1", amounts.discount_fee))
    if mix(trade.tid, 93) % _ONE_GIFT_IN == 0:
        gift = {"gift_item_id": "600000099999", "gift_item_name": "赠品 试用装", "gift_item_num": "1"}
        found.append(_promotion(trade.tid, "满就送", "SandboxGift-1", 0) | gift)
    return found


def _promotion(owner: int, name: str, promotion_id: str, cents: int) -> dict[str, Any]:
    return {
        "discount_fee": money(cents),
        "id": owner,
        "promotion_desc": f"{name}:省{money(cents)}元",
        "promotion_id": promotion_id,
        "promotion_name": name,
    }
