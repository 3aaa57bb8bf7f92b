"""Which fields each method offers, and what a client's ``fields`` parameter selects.

Belongs here: the columns of contract 4.1 and 4.2 and the reading of ``fields``. Not here: values
(``rendering``).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import lru_cache
from types import MappingProxyType

import msgspec

# Sub-objects that can be selected whole (``orders``) or field by field (``orders.oid``), with the name of
# their elements on the wire (contract 1.5).
ELEMENT_NAMES: Mapping[str, str] = MappingProxyType(
    {"orders": "order", "promotion_details": "promotion_detail", "service_orders": "service_order"}
)

# ``oaid`` is produced only for a call that asks for all of these (contract 3.4).
OAID_NEEDS = frozenset({"receiver_name", "receiver_address", "created", "receiver_mobile", "receiver_phone"})


def _names(text: str) -> list[str]:
    return text.split()


_EVERYWHERE = _names(
    "tid status type created pay_time consign_time end_time modified payment total_fee discount_fee adjust_fee "
    "post_fee received_payment credit_card_fee shipping_type num num_iid price pic_path title seller_nick "
    "buyer_nick buyer_open_uid receiver_name receiver_address receiver_mobile receiver_phone receiver_state "
    "receiver_city receiver_district receiver_town receiver_zip receiver_country oaid seller_flag "
    "step_trade_status step_paid_fee mark_desc orders buyer_rate seller_rate"
)
_NOT_IN_INCREMENT = _names("sid commission_fee cod_fee cod_status send_time is_part_consign trade_from")
_DETAIL_ONLY = _names(
    "tid_str timeout_action_time coupon_fee tmall_coupon_fee buyer_message seller_memo promotion_details "
    "new_presell est_con_time top_hold forbid_consign team_buy_hold "
    "alipay_no available_confirm_fee buyer_area has_post_fee snapshot_url"
)

_ORDER_EVERYWHERE = _names(
    "oid num_iid sku_id outer_iid outer_sku_id title sku_properties_name pic_path cid num price total_fee payment "
    "discount_fee adjust_fee divide_order_fee part_mjz_discount status refund_status refund_id consign_time "
    "end_time shipping_type logistics_company invoice_no seller_type buyer_rate seller_rate is_daixiao is_www"
)
_ORDER_DETAIL_ONLY = _names(
    "oid_str is_oversold is_service_order order_from snapshot_url estimate_con_time combine_item_info"
)

SOLD = frozenset([*_EVERYWHERE, *_NOT_IN_INCREMENT, "async_modified", "has_buyer_message"])
INCREMENT = frozenset([*_EVERYWHERE, "has_buyer_message"])
INCREMENT_BY_ENTRY = frozenset([*_EVERYWHERE, *_NOT_IN_INCREMENT, "async_modified", "has_buyer_message"]) - {
    "send_time",
    "trade_from",
}
DETAIL = frozenset([*_EVERYWHERE, *_NOT_IN_INCREMENT, *_DETAIL_ONLY])
ORDER_SOLD = frozenset(_ORDER_EVERYWHERE)
ORDER_INCREMENT = frozenset([*_ORDER_EVERYWHERE, "is_service_order"])
ORDER_DETAIL = frozenset([*_ORDER_EVERYWHERE, *_ORDER_DETAIL_ONLY])

_AVAILABLE = {
    "sold": (SOLD, ORDER_SOLD),
    "increment": (INCREMENT, ORDER_INCREMENT),
    "incrementv": (INCREMENT_BY_ENTRY, ORDER_INCREMENT),
    "detail": (DETAIL, ORDER_DETAIL),
}


class Selection(msgspec.Struct, frozen=True, gc=False):
    """What a call wants: trade fields and order fields in alphabetical order, and parts of other lists.

    ``parts`` maps a sub-object to the fields wanted of it; a sub-object missing there is wanted whole.
    ``key`` identifies the selection in caches.
    """

    key: str
    trade: tuple[str, ...]
    order: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]

    @property
    def is_empty(self) -> bool:
        """Whether nothing that exists was asked for."""
        return not self.trade


@lru_cache(maxsize=512)
def select(fields: str, view: str) -> Selection:
    """Read a comma list for a view: "sold", "increment", "incrementv" or "detail".

    Names the view does not offer are ignored, as the platform leaves out what it does not have.
    """
    available, order_available = _AVAILABLE[view]
    trade: set[str] = set()
    parts: dict[str, set[str]] = {}
    whole: set[str] = set()
    for name in (part.strip() for part in fields.split(",")):
        head, _, tail = name.partition(".")
        if head not in available or (tail and head not in ELEMENT_NAMES):
            continue
        trade.add(head)
        if tail:
            parts.setdefault(head, set()).add(tail)
        else:
            whole.add(head)
    if not trade >= OAID_NEEDS:
        trade.discard("oaid")
    order: Set[str] = set()
    if "orders" in trade:
        order = order_available if "orders" in whole else order_available & parts["orders"]
    partial = {name: tuple(sorted(wanted)) for name, wanted in parts.items() if name not in whole}
    key = f"{view}:{','.join(sorted(trade))}:{','.join(sorted(order))}:{partial}"
    return Selection(key, tuple(sorted(trade)), tuple(sorted(order)), MappingProxyType(partial))


def everything(view: str) -> Selection:
    """Every field a view offers."""
    return select(",".join(_AVAILABLE[view][0]), view)
