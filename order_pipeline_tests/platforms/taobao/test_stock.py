"""A shop's goods: lists that move while they are walked, and the platform's methods over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from order_pipeline.platforms.protocol import StockItem, StockLevel, Window
from order_pipeline.platforms.taobao.item_walking import MOST_WALKS, ItemAnswer, walk_items
from order_pipeline.platforms.taobao.stock_methods import BANNERS
from order_pipeline.platforms.taobao.values import CHINA
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.traffic.errors import CallerError, MalformedAnswerError, OutcomeUnknownError
from order_pipeline_tests.conftest import NOON, Play

NOW = datetime(2026, 3, 15, 12, tzinfo=CHINA)
SHOP = "demo-shop"
SKUS = "taobao.item.skus.get"


class Shelf:
    """A list of items by number, each last changed at its own time, that something may happen to between two calls."""

    def __init__(self, items: dict[int, datetime], then: dict[int, int] | None = None, lie: int = 0) -> None:
        self.items = items
        self.then = then or {}
        self.lie = lie
        self.calls = 0

    def fetch(self, window: Window | None, page_no: int) -> ItemAnswer:
        self.calls += 1
        # At that call an item is taken off sale.
        self.items.pop(self.then.get(self.calls, -1), None)
        chosen = [item for item, at in self.items.items() if window is None or window.start <= at <= window.end]
        chosen.sort(reverse=True)
        shown = chosen[(page_no - 1) * 10 : page_no * 10]
        return ItemAnswer([str(item) for item in shown], len(chosen) + self.lie)

    def walked(self, deepest: int = 20_000) -> tuple[set[str | None], int]:
        pages = list(walk_items(self.fetch, lambda: NOW, page_size=10, attempted="test", deepest=deepest))
        return {each for page in pages for each in page.answer.ids}, sum(page.short_by for page in pages)


def shelf(count: int = 35) -> dict[int, datetime]:
    return {number: NOW - timedelta(hours=number) for number in range(count)}


def test_an_item_taken_off_sale_during_the_walk_hides_no_other() -> None:
    moving = Shelf(shelf(), then={2: 30})
    assert moving.walked() == ({str(number) for number in range(35)}, 0)
    still = Shelf(shelf())
    still.walked()
    assert (still.calls, moving.calls > still.calls) == (4, True)


def test_a_list_that_counts_wrongly_is_given_up_and_reported() -> None:
    lying = Shelf(shelf(), lie=2)
    seen, short_by = lying.walked()
    assert (len(seen), short_by) == (35, 2)
    assert lying.calls == MOST_WALKS * 4


def test_a_shop_of_more_items_than_are_served_is_cut_by_time() -> None:
    large = Shelf(shelf(95))
    assert large.walked(deepest=20) == ({str(number) for number in range(95)}, 0)
    one_second = Shelf(dict.fromkeys(range(50), NOW))
    with pytest.raises(MalformedAnswerError, match="50 items claim to have changed in the second"):
        one_second.walked(deepest=20)


@pytest.fixture(scope="module")
def market() -> Iterator[Play]:
    settings = SandboxSettings(orders=250, days=5, seed=7, driven_from=NOON, purchases_arrive=False)
    marketplace = open_marketplace(settings)
    with SandboxServer(marketplace) as server:
        yield Play(marketplace, server)


def truth(marketplace: Marketplace) -> dict[str, int]:
    with marketplace.looking() as now_ms:
        return {str(sku.sku_id): sku.quantity for sku in marketplace.stock(SHOP).every_sku(now_ms // 1000)}


def some_sku(market: Play, least: int = 5) -> tuple[str, str, int]:
    """Return an item's id, a SKU of it, and how many there are."""
    with market.marketplace.looking() as now_ms:
        book = market.marketplace.stock(SHOP)
        sku = next(each for each in book.every_sku(now_ms // 1000) if each.quantity >= least)
        return str(book.products()[sku.product_id].num_iid), str(sku.sku_id), sku.quantity


def test_every_item_and_every_level_is_the_truth(market: Play) -> None:
    platform = market.access().platform
    pages = list(platform.stocked_items())
    items: dict[str, StockItem] = {item.num_iid: item for page in pages for item in page.items}
    levels: list[StockLevel] = [level for page in platform.sku_levels(list(items)) for level in page.levels]
    expected = truth(market.marketplace)
    assert {level.sku_id: level.quantity for level in levels} == expected
    assert len(expected) > 500
    for item in list(items.values())[:50]:
        assert item.quantity == sum(level.quantity or 0 for level in levels if level.num_iid == item.num_iid)
    assert {item.is_onsale for item in items.values()} == {True, False}
    assert all(level.problem is None and level.sku_code for level in levels)
    assert len({page.answer.method for page in pages}) == 2
    assert len(pages) >= len(BANNERS)
    assert sum(page.short_by for page in pages) == 0


def test_stock_that_cannot_be_true_is_unknown_and_never_zero(market: Play) -> None:
    num_iid, _, _ = some_sku(market)
    platform = market.access().platform
    said = {}
    for kind in ("negative", "text", "huge", "missing"):
        market.marketplace.faults.switch_on(Fault("odd_stock", method=SKUS, kind=kind))
        (page,) = platform.sku_levels([num_iid])
        market.marketplace.faults.clear()
        assert {level.quantity for level in page.levels} == {None}
        said[kind] = page.levels[0].problem
    assert said["negative"] == "quantity: -7 is not between 0 and 900000000"
    assert said["missing"] == "quantity: missing"
    assert all(said.values())


def test_a_write_sets_absolute_numbers(market: Play) -> None:
    num_iid, sku_id, quantity = some_sku(market)
    platform = market.access().platform
    platform.write_levels(num_iid, {sku_id: quantity + 3})
    assert truth(market.marketplace)[sku_id] == quantity + 3
    platform.write_levels(num_iid, {sku_id: quantity})
    assert truth(market.marketplace)[sku_id] == quantity
    with pytest.raises(CallerError, match=r"isv\.sku-not-exist"):
        platform.write_levels(num_iid, {"5": 1})
    with pytest.raises(ValueError, match="below zero"):
        platform.write_levels(num_iid, {sku_id: -1})


@pytest.mark.parametrize("fault", [
    Fault("unknown_outcome", kind="done", count=1),
    Fault("unknown_outcome", kind="not_done", count=1),
    Fault("truncated", method="taobao.skus.quantity.update", count=1),
    Fault("connection_reset", method="taobao.skus.quantity.update", count=1),
])  # fmt: skip
def test_a_write_without_an_answer_is_made_once_and_said_to_be_unknown(market: Play, fault: Fault) -> None:
    num_iid, sku_id, quantity = some_sku(market)
    access = market.access()
    access.platform.now()
    market.marketplace.faults.switch_on(fault)
    before = access.calls.total
    with pytest.raises(OutcomeUnknownError, match="read again before it is written again"):
        access.platform.write_levels(num_iid, {sku_id: quantity + 1})
    assert access.calls.total == before + 1
    market.marketplace.faults.clear()
    access.platform.write_levels(num_iid, {sku_id: quantity})
