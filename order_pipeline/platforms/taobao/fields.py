"""What we ask the platform for (Taobao contract §3.1, §3.2, §3.4, §3.6, §4.1–4.3, §4.5–4.7).

Belongs here: field names by purpose and by method, the trade types and the statuses. Not here: what they mean
(parsing.py, refund_parsing.py).
"""

from __future__ import annotations

# Data about people, or that leads to them. We neither ask for it nor keep it if it comes unasked (§4.8).
PERSONAL_FIELDS = frozenset(
    {
        "alipay_id",
        "alipay_no",
        "buyer_alipay_no",
        "buyer_email",
        "buyer_ip",
        "buyer_memo",
        "buyer_nick",
        "buyer_open_id",
        "oaid",
        "receiver_address",
        "receiver_mobile",
        "receiver_name",
        "receiver_phone",
        "receiver_town",
        "receiver_zip",
        "seller_alipay_no",
        "seller_email",
        "seller_mobile",
        "seller_name",
        "seller_phone",
    }
)

# Every type of §4.6. The default filter of the lists knows five of them, and the orders of every other type are
# silently missing (§3.1). Left out: fenxiao, which only answers carry, and guarantee_trade, which is the union of
# fixed and auction.
TRADE_TYPES = (
    "fixed",
    "auction",
    "step",
    "independent_simple_trade",
    "independent_shop_trade",
    "auto_delivery",
    "ec",
    "cod",
    "game_equipment",
    "shopex_trade",
    "netcn_trade",
    "external_trade",
    "instant_trade",
    "b2c_cod",
    "hotel_trade",
    "super_market_trade",
    "super_market_cod_trade",
    "taohua",
    "waimai",
    "o2o_offlinetrade",
    "nopaid",
    "eticket",
    "tmall_i18n",
    "insurance_plus",
    "finance",
    "pre_auth_type",
    "lazada",
)
ALL_TYPES = ",".join(TRADE_TYPES)

# What a list can be narrowed to (§4.5). Anything else is refused, so a status that is new to us is not asked for.
STATUSES = frozenset(
    {
        "TRADE_NO_CREATE_PAY",
        "WAIT_BUYER_PAY",
        "PAY_PENDING",
        "WAIT_PRE_AUTH_CONFIRM",
        "PAID_FORBID_CONSIGN",
        "WAIT_SELLER_SEND_GOODS",
        "SELLER_CONSIGNED_PART",
        "WAIT_BUYER_CONFIRM_GOODS",
        "TRADE_BUYER_SIGNED",
        "TRADE_FINISHED",
        "TRADE_CLOSED",
        "TRADE_CLOSED_BY_TAOBAO",
    }
)

_TRADE = (
    "tid",
    "status",
    "type",
    "created",
    "pay_time",
    "consign_time",
    "end_time",
    "modified",
    "payment",
    "total_fee",
    "discount_fee",
    "adjust_fee",
    "post_fee",
    "received_payment",
    "credit_card_fee",
    "step_trade_status",
    "step_paid_fee",
    "shipping_type",
    "seller_flag",
    "buyer_open_uid",
    "receiver_state",
    "receiver_city",
    "receiver_district",
    "mark_desc",
    "service_orders",
)
_ONLY_CREATED_LIST_AND_DETAIL = (
    "send_time",
    "trade_from",
    "cod_status",
    "cod_fee",
    "commission_fee",
    "is_part_consign",
)
_ONLY_LISTS = ("has_buyer_message",)
_ONLY_CREATED_LIST = ("async_modified",)
_ONLY_DETAIL = (
    "buyer_message",
    "seller_memo",
    "promotion_details",
    "timeout_action_time",
    "coupon_fee",
    "tmall_coupon_fee",
    "new_presell",
    "top_hold",
    "forbid_consign",
    "team_buy_hold",
    # Promises: the latest pick-up and the latest delivery.
    "collect_time",
    "sign_time",
)
_LINE = (
    "oid",
    "num_iid",
    "sku_id",
    "outer_iid",
    "outer_sku_id",
    "title",
    "sku_properties_name",
    "cid",
    "num",
    "price",
    "total_fee",
    "discount_fee",
    "adjust_fee",
    "payment",
    "divide_order_fee",
    "part_mjz_discount",
    "status",
    "refund_status",
    "refund_id",
    "consign_time",
    "end_time",
    "shipping_type",
    "logistics_company",
    "invoice_no",
    "store_code",
    "bind_oid",
    "is_oversold",
    "item_meal_id",
    "item_meal_name",
)
_NOT_IN_LISTS_OF_LINES = frozenset({"is_oversold"})
_ONLY_DETAIL_OF_LINES = ("estimate_con_time", "combine_item_info")


def _join(trade: tuple[str, ...], lines: tuple[str, ...]) -> str:
    return ",".join(trade + tuple(f"orders.{name}" for name in lines))


_LIST_LINE = tuple(name for name in _LINE if name not in _NOT_IN_LISTS_OF_LINES)

CREATED_LIST_FIELDS = _join(_TRADE + _ONLY_CREATED_LIST_AND_DETAIL + _ONLY_LISTS + _ONLY_CREATED_LIST, _LIST_LINE)
CHANGED_LIST_FIELDS = _join(_TRADE + _ONLY_LISTS, _LIST_LINE)
DETAIL_FIELDS = _join(_TRADE + _ONLY_CREATED_LIST_AND_DETAIL + _ONLY_DETAIL, _LINE + _ONLY_DETAIL_OF_LINES)
# Enough to see whether an order of ours is the platform's: its version, where it stands (of a pre-sale the step, too,
# of which ``status`` says nothing), money and pieces. About 150 bytes an order, where the whole list row has 2,000.
VERSION_FIELDS = "tid,created,modified,status,step_trade_status,payment,orders.oid,orders.num"
COUNT_FIELDS = "tid"

# What a list of refunds can be narrowed to (§4.7).
REFUND_STATUSES = frozenset(
    {
        "WAIT_SELLER_AGREE",
        "WAIT_BUYER_RETURN_GOODS",
        "WAIT_SELLER_CONFIRM_GOODS",
        "SELLER_REFUSE_BUYER",
        "CLOSED",
        "SUCCESS",
        "WAIT_BUYER_CONFIRM_EXCHANGE_SELLER_SEND_GOODS",
        "EXCHANGE_TRANSFORM_TO_REFUND",
        "WAIT_SELLER_CONSIGN_GOODS",
    }
)
# Of a refund the buyer is known by its order; the address is where goods are sent back to.
PERSONAL_FIELDS_OF_REFUNDS = PERSONAL_FIELDS | {"address", "buyer_open_uid", "ouid"}

_REFUND = (
    "refund_id",
    "tid",
    "oid",
    "status",
    "order_status",
    "good_status",
    "has_good_return",
    "refund_fee",
    "total_fee",
    "payment",
    "num",
    "title",
    "sku",
    "outer_id",
    "reason",
    "desc",
    "created",
    "modified",
    "end_time",
    "company_name",
    "sid",
    "refund_phase",
    "refund_version",
    "dispute_type",
    "operation_contraint",  # sic
    "attribute",
)
_ONLY_DETAIL_OF_REFUNDS = (
    "price",
    "num_iid",
    "good_return_time",
    "shipping_type",
    "cs_status",
    "advance_status",
    "refund_remind_timeout",
    "split_taobao_fee",
    "split_seller_fee",
    "combine_item_info",
    "new_sku",
)
REFUND_LIST_FIELDS = ",".join(_REFUND)
REFUND_DETAIL_FIELDS = ",".join(_REFUND + _ONLY_DETAIL_OF_REFUNDS)
REFUND_VERSION_FIELDS = "refund_id,modified,status,refund_fee,num"
REFUND_COUNT_FIELDS = "refund_id"
