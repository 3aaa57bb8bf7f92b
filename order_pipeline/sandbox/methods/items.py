"""Goods and their stock over the wire (contract 3.8).

Belongs here: the item methods of the platform, the two that write among them. Not here: how stock moves (``stock``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from order_pipeline.sandbox.chance import mix
from order_pipeline.sandbox.clock import DAY_SECONDS, wall_text
from order_pipeline.sandbox.errors import PlatformError, invalid_argument, missing_argument
from order_pipeline.sandbox.methods.contract import Context, Method, moment, names, required, whole_number
from order_pipeline.sandbox.methods.paging import DEFAULT_PAGE_SIZE, bounds
from order_pipeline.sandbox.rendering import money, product_of, variant_name
from order_pipeline.sandbox.stock import INSTOCK, ONSALE, Product, Sku

# Contract 3.8.
LARGEST_PAGE = 200
DEEPEST_ROW = 20_000
DEEPEST_INVENTORY_PAGE = 101
MOST_FIELDS_OF_SKUS, MOST_ITEMS_OF_SKUS, MOST_ITEMS_IN_LIST, MOST_SKUS_WRITTEN = 20, 40, 20, 20
ABSOLUTE, DELTA = 1, 2

_LISTED_DAYS = 7
_LIST_NAMES = (
    "approve_status num_iid title nick type cid pic_url num props valid_thru list_time price has_discount has_invoice "
    "has_warranty has_showcase modified delist_time postage_id seller_cids outer_id sold_quantity"
)
_LIST_FIELDS = frozenset(_LIST_NAMES.split())
_ITEM_FIELDS = _LIST_FIELDS | {"skus", "sku", "created", "desc"}
_SKU_NAMES = "sku_id num_iid iid properties properties_name quantity price outer_id created modified status barcode"
_SKU_FIELDS = frozenset(_SKU_NAMES.split())
_COLUMNS = frozenset({"list_time", "delist_time", "num", "modified", "sold_quantity"})
_BANNERS = frozenset(
    {"for_shelved", "regular_shelved", "never_on_shelf", "off_shelf", "sold_out", "violation_off_shelf"}
)
_SHELVED = frozenset({"for_shelved", "regular_shelved", "off_shelf"})


def items_onsale_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the items on sale, by default those listed last first."""
    products = [product for product in _stock(context) if product.is_onsale]
    return _list(context, parameters, products)


def items_inventory_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the items in the warehouse: not on sale (the default), or on sale with nothing left (sold_out)."""
    banner = parameters.get("banner") or "for_shelved"
    if banner not in _BANNERS:
        raise invalid_argument("banner")
    whole_number(parameters, "page_no", 1, 1, DEEPEST_INVENTORY_PAGE)
    products: list[Product] = []
    if banner in _SHELVED:
        products = [product for product in _stock(context) if not product.is_onsale]
    elif banner == "sold_out":
        products = [product for product in _stock(context) if product.is_onsale and not _num(context, product)]
    return _list(context, parameters, products)


def _stock(context: Context) -> Iterable[Product]:
    return list(context.stock.products().values())


def _num(context: Context, product: Product) -> int:
    return sum(sku.quantity for sku in context.stock.skus(product, context.now))


def _modified(context: Context, product: Product) -> int:
    return max(sku.modified for sku in context.stock.skus(product, context.now))


def _list(context: Context, parameters: Mapping[str, str], products: list[Product]) -> Mapping[str, Any]:
    fields = _fields(parameters, _LIST_FIELDS)
    page_no = whole_number(parameters, "page_no", 1, 1, None)
    page_size = whole_number(parameters, "page_size", DEFAULT_PAGE_SIZE, 1, LARGEST_PAGE)
    # The page contradicts itself (100 000 and 20 000); the smaller is what a client may rely on.
    if page_no * page_size > DEEPEST_ROW:
        raise invalid_argument("page_no")
    if words := parameters.get("q"):
        products = [product for product in products if words in product.source.title]
    start, end = moment(parameters, "start_modified"), moment(parameters, "end_modified")
    if start is not None or end is not None:
        first, last = bounds(context, start or 0, context.now + 1 if end is None else end)
        products = [product for product in products if first <= _modified(context, product) <= last]
    column, _, direction = (parameters.get("order_by") or "list_time:desc").partition(":")
    if column not in _COLUMNS or direction not in ("", "asc", "desc"):
        raise invalid_argument("order_by")
    products.sort(
        key=lambda product: (_sorted_by(context, product, column), product.num_iid), reverse=direction != "asc"
    )
    answer: dict[str, Any] = {"total_results": len(products)}
    if shown := products[(page_no - 1) * page_size : page_no * page_size]:
        answer["items"] = {"item": [_item(context, product, fields) for product in shown]}
    return answer


def _sorted_by(context: Context, product: Product, column: str) -> int:
    if column == "num":
        return _num(context, product)
    if column == "modified":
        return _modified(context, product)
    return _sold(context, product) if column == "sold_quantity" else product.listed_at


def _sold(context: Context, product: Product) -> int:
    return sum(max(0, sku.sold) for sku in context.stock.skus(product, context.now))


def _fields(parameters: Mapping[str, str], available: frozenset[str], highest: int | None = None) -> frozenset[str]:
    required(parameters, "fields")
    fields = available.intersection(names(parameters, "fields", highest))
    if not fields:
        raise invalid_argument("fields")
    return fields


def _item(context: Context, product: Product, fields: frozenset[str]) -> Any:
    skus = context.stock.skus(product, context.now)
    source, wire = product.source, product_of(product.source)
    values: dict[str, Any] = {
        "approve_status": ONSALE if product.is_onsale else INSTOCK,
        "cid": wire.cid,
        "created": wall_text(product.listed_at),
        "delist_time": wall_text(product.listed_at + _LISTED_DAYS * DAY_SECONDS),
        "desc": source.title,
        "has_discount": False,
        "has_invoice": True,
        "has_showcase": False,
        "has_warranty": False,
        "list_time": wall_text(product.listed_at),
        "modified": wall_text(_modified(context, product)),
        "nick": context.seller.seller_nick,
        "num": sum(sku.quantity for sku in skus),
        "num_iid": wire.num_iid,
        "outer_id": wire.outer_iid,
        "pic_url": wire.picture,
        "postage_id": 0,
        "price": money(source.unit_price),
        "props": "",
        "seller_cids": "",
        "sold_quantity": sum(max(0, sku.sold) for sku in skus),
        "title": source.title,
        "type": "fixed",
        "valid_thru": _LISTED_DAYS,
    }
    shown = {name: values[name] for name in sorted(fields & values.keys()) if values[name] != ""}
    if fields & {"skus", "sku"}:
        shown["skus"] = {"sku": [_sku(product, sku) for sku in skus]}
    return context.encoded_record(wire.num_iid, shown)


def _sku(product: Product, sku: Sku, fields: frozenset[str] = _SKU_FIELDS) -> dict[str, Any]:
    wire = product_of(product.source)
    values: dict[str, Any] = {
        "barcode": f"69{mix(sku.sku_id, 77) % 10**11:011d}",
        "created": wall_text(product.listed_at),
        "modified": wall_text(sku.modified),
        "num_iid": wire.num_iid,
        "outer_id": outer_id_of(product, sku),
        "price": money(product.source.unit_price),
        "properties": f"20000:{300_000 + sku.variant}",
        "properties_name": f"20000:{300_000 + sku.variant}:{variant_name(sku.variant)}",
        "quantity": sku.quantity,
        "sku_id": sku.sku_id,
        "status": "normal",
    }
    return {name: value for name, value in values.items() if name in fields}


def outer_id_of(product: Product, sku: Sku) -> str:
    """Return the seller's own code of a variant, as in orders."""
    return f"{product_of(product.source).outer_iid}-{sku.variant}"


def item_seller_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return one item with its SKUs."""
    fields = _fields(parameters, _ITEM_FIELDS)
    return {"item": _item(context, _product(context, parameters), fields)}


def items_seller_list_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return several items; unknown and foreign ones are silently absent."""
    # Here the SKUs are asked for as ``sku`` (contract 3.8).
    fields = _fields(parameters, _ITEM_FIELDS - {"skus"})
    found = _named(context, parameters, MOST_ITEMS_IN_LIST)
    return {"items": {"item": [_item(context, product, fields) for product in found]}} if found else {}


def item_skus_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the SKUs of several items; those of unknown and foreign ones are silently absent."""
    fields = _fields(parameters, _SKU_FIELDS, MOST_FIELDS_OF_SKUS)
    rows = [
        context.encoded_record(sku.sku_id, _sku(product, sku, fields))
        for product in _named(context, parameters, MOST_ITEMS_OF_SKUS)
        for sku in context.stock.skus(product, context.now)
    ]
    return {"skus": {"sku": rows}} if rows else {}


def _named(context: Context, parameters: Mapping[str, str], highest: int) -> list[Product]:
    required(parameters, "num_iids")
    wanted = names(parameters, "num_iids", highest)
    if not all(text.isascii() and text.isdigit() for text in wanted):
        raise invalid_argument("num_iids")
    return [product for text in dict.fromkeys(wanted) if (product := context.stock.product(int(text)))]


def _product(context: Context, parameters: Mapping[str, str]) -> Product:
    text = required(parameters, "num_iid")
    if not (text.isascii() and text.isdigit()):
        raise invalid_argument("num_iid")
    product = context.stock.product(int(text))
    if product is None:
        # The sub_code is not established.
        raise PlatformError(15, "Remote service error", "isv.item-not-exist", "商品不存在")
    return product


# --- writes ---------------------------------------------------------------------------------------------------


def item_quantity_update(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Set or change the stock of one SKU; a change that would leave less than nothing is refused."""
    product = _product(context, parameters)
    kind = whole_number(parameters, "type", ABSOLUTE, ABSOLUTE, DELTA)
    quantity = _number(required(parameters, "quantity"), "quantity")
    skus = context.stock.skus(product, context.now)
    if text := parameters.get("sku_id"):
        found = [sku for sku in skus if str(sku.sku_id) == text]
    elif text := parameters.get("outer_id"):
        found = [sku for sku in skus if outer_id_of(product, sku) == text][:1]
    else:
        # What an item's own quantity means while it has SKUs is not established, and all have some here.
        raise missing_argument("sku_id")
    if not found:
        raise _no_sku()
    level = quantity if kind == ABSOLUTE else found[0].quantity + quantity
    if level < 0:
        if kind == ABSOLUTE:
            raise invalid_argument("quantity")
        raise PlatformError(15, "Remote service error", "isv.invalid-parameter:quantity", "库存不能为负")
    return _write(context, product, [(found[0], level)])


def skus_quantity_update(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Set or change the stock of several SKUs of an item; where less than nothing would be left, nothing is."""
    product = _product(context, parameters)
    kind = whole_number(parameters, "type", ABSOLUTE, ABSOLUTE, DELTA)
    name = "skuid_quantities" if parameters.get("skuid_quantities") else "outerid_quantities"
    pairs = [part.rpartition(":") for part in required(parameters, name).split(";") if part]
    if len(pairs) > MOST_SKUS_WRITTEN:
        raise invalid_argument(name)
    levels: dict[int, tuple[Sku, int]] = {}
    skus = context.stock.skus(product, context.now)
    for wanted, _, text in pairs:
        quantity = _number(text, name)
        if not wanted or (kind == ABSOLUTE and quantity < 0):
            raise invalid_argument(name)
        by_id = name == "skuid_quantities"
        found = [sku for sku in skus if wanted == (str(sku.sku_id) if by_id else outer_id_of(product, sku))]
        if not found:
            raise _no_sku()
        for sku in found:
            before = levels.get(sku.sku_id, (sku, sku.quantity))[1]
            levels[sku.sku_id] = (sku, quantity if kind == ABSOLUTE else max(0, before + quantity))
    return _write(context, product, list(levels.values()))


def _number(text: str, name: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise invalid_argument(name)
    return int(text)


def _no_sku() -> PlatformError:
    return PlatformError(15, "Remote service error", "isv.sku-not-exist", "SKU不存在")


def _write(context: Context, product: Product, levels: list[tuple[Sku, int]]) -> Mapping[str, Any]:
    for sku, level in levels:
        increment = level - sku.quantity
        context.stock.write(sku, level, context.now)
        _tell(context, product, sku, increment)
    skus = context.stock.skus(product, context.now)
    written = frozenset({"sku_id", "quantity", "modified"})
    item = {
        "modified": wall_text(_modified(context, product)),
        "num": sum(sku.quantity for sku in skus),
        "num_iid": product.num_iid,
        "skus": {"sku": [_sku(product, sku, written) for sku in skus]},
    }
    return {"item": item}


def _tell(context: Context, product: Product, sku: Sku, increment: int) -> None:
    """Announce a write, and that nothing is left of a SKU or of the whole item (contract 6.3)."""
    left = _num(context, product)
    content: dict[str, Any] = {"nick": context.seller.seller_nick, "num_iid": product.num_iid, "num": left}
    of_sku = content | {"sku_id": sku.sku_id, "sku_num": sku.quantity}
    told = [("StockChanged", of_sku | {"increment": increment})]
    if not sku.quantity:
        told.append(("SkuZeroStock", of_sku))
    if not left:
        told.append(("ZeroStock", content))
    for topic, what in told:
        name = f"taobao_item_Item{topic}"
        context.marketplace.messages.announce(context.seller.id, name, what, context.now_ms, if_named=True)


METHODS = (
    Method("taobao.items.onsale.get", items_onsale_get),
    Method("taobao.items.inventory.get", items_inventory_get),
    Method("taobao.item.seller.get", item_seller_get),
    Method("taobao.items.seller.list.get", items_seller_list_get),
    Method("taobao.item.skus.get", item_skus_get),
    Method("taobao.item.quantity.update", item_quantity_update, writes=True),
    Method("taobao.skus.quantity.update", skus_quantity_update, writes=True),
)
