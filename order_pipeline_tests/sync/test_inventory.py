"""A day's stock and writing it back, against the sandbox's truth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from order_pipeline.commands import stock as stock_command
from order_pipeline.configuration import ConfigurationError, WriteStock
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.steering import Forfeit, MoveStock, NewLine, OrderAct, Pay, PayDeposit, Place
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.holds import derive_holds
from order_pipeline.sync.inventory import Snapshot, take_snapshot
from order_pipeline.sync.merchant_files import load_configured, load_list
from order_pipeline.sync.stock_writing import Written, write_stock
from order_pipeline.traffic.errors import CallError
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.embedded import EmbeddedServer
from order_pipeline.warehouse.merchant_lists import skus_without_supplier
from order_pipeline.warehouse.migrate import upgrade
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import now_due, pass_over, pass_over_refunds

SHOP = "demo-shop"
WRITE = "taobao.skus.quantity.update"
PRODUCT = 100_000
NUM_IID, SKU = str(600_000_000_000 + PRODUCT), str(5_000_000_000_000 + PRODUCT * 10)


@pytest.fixture(scope="module")
def warehouse(postgres: EmbeddedServer) -> Iterator[Engine]:
    """One warehouse for the module: loading the same orders anew for every test proves nothing more."""
    postgres.create_database("inventory")
    engine = connect(postgres.url("inventory"))
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(warehouse: Engine) -> Engine:
    """The module's warehouse, with its orders and without what other tests made of them."""
    with transaction(warehouse) as connection:
        connection.execute(
            text("""
                TRUNCATE core.stock_write, core.inventory_level, core.bundle_part, core.bundle_component,
                         core.supplier_item, sync.merchant_file, sync.call, raw.page
            """)
        )
        connection.execute(text("DELETE FROM sync.watermark WHERE channel = 'stock_dry_run'"))
    return warehouse


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    """One sandbox for the module, whose stock moves only by what the tests do."""
    settings = SandboxSettings(orders=60, days=2, seed=7, driven_from=NOON, purchases_arrive=False)
    marketplace = open_marketplace(settings)
    with SandboxServer(marketplace) as server:
        yield Play(marketplace, server)


def catch_up(engine: Engine, play: Play) -> None:
    play.clock.advance(10)
    access = play.access()
    now_due(engine)
    pass_over(engine, access)
    pass_over_refunds(engine, access)
    derive_holds(engine, SHOP, tell=False)


def ordered(play: Play, quantity: int, product: int = PRODUCT, order_type: str = "step") -> int:
    lines = (NewLine(product_id=product, quantity=quantity),)
    tid: int = Place(shop=SHOP, type=order_type, lines=lines).carry_out(play.marketplace)["tid"]
    return tid


def act(play: Play, kind: type[OrderAct], tid: int) -> None:
    kind(shop=SHOP, tid=tid).carry_out(play.marketplace)


def shows(play: Play, sku_id: str = SKU) -> int:
    with play.marketplace.looking() as now_ms:
        sku = play.marketplace.stock(SHOP).find(int(sku_id), now_ms // 1000)
        assert sku
        return sku.quantity


def set_stock(play: Play, quantity: int, sku_id: str = SKU) -> None:
    MoveStock(shop=SHOP, sku_id=int(sku_id), set=quantity).carry_out(play.marketplace)


def snapshot(engine: Engine, play: Play) -> Snapshot:
    return take_snapshot(play.access(), engine)


def level(engine: Engine, sku_id: str = SKU) -> dict[str, Any]:
    with transaction(engine) as connection:
        rows = connection.execute(text("SELECT * FROM bi.inventory_levels WHERE sku_id = :sku"), {"sku": sku_id})
        return dict(rows.mappings().one())


def scalar(engine: Engine, query: str, **values: Any) -> Any:
    with transaction(engine) as connection:
        return connection.execute(text(query), values).scalar()


def write(access: ShopAccess, engine: Engine, mode: WriteStock = WriteStock.ON) -> Written:
    return write_stock(access, engine, mode=mode)


@pytest.fixture
def held(engine: Engine, play: Play) -> Iterator[int]:
    """Let ten of a hundred pieces be held by a deposit; yield its order. Afterwards nothing is."""
    set_stock(play, 100)
    tid = ordered(play, 10)
    act(play, PayDeposit, tid)
    catch_up(engine, play)
    snapshot(engine, play)
    yield tid
    play.marketplace.faults.clear()
    with play.marketplace.looking():
        is_open = play.marketplace.find(SHOP, tid).status in ("WAIT_BUYER_PAY", "TRADE_NO_CREATE_PAY")
    if is_open:
        act(play, Forfeit, tid)


def test_a_snapshot_is_the_platforms_stock_with_what_is_spoken_for(engine: Engine, play: Play, held: int) -> None:
    paid = ordered(play, 4)
    act(play, PayDeposit, paid)
    act(play, Pay, paid)
    catch_up(engine, play)
    taken = snapshot(engine, play)
    with play.marketplace.looking() as now_ms:
        truth = {str(sku.sku_id): sku.quantity for sku in play.marketplace.stock(SHOP).every_sku(now_ms // 1000)}
    with transaction(engine) as connection:
        rows = connection.execute(text("SELECT sku_id, platform_quantity FROM bi.inventory_levels WHERE title <> ''"))
        assert dict(rows.tuples().all()) == truth
    found = level(engine)
    assert (found["platform_quantity"], found["held"], found["sellable"], found["in_stock"]) == (96, 10, 86, True)
    assert found["reserved"] >= 4
    # Each piece once, however many ways lead to it.
    assert taken.held == scalar(engine, "SELECT sum(held_quantity) FROM bi.inventory_holds")
    assert taken.reserved == scalar(engine, "SELECT sum(reserved_quantity) FROM bi.reserved_stock")
    assert scalar(engine, "SELECT count(*) FROM raw.page WHERE channel = 'inventory'") > 4
    # A deposit whose rest is paid is reserved at once, though its hold was not derived anew.
    act(play, Pay, held)
    play.clock.advance(10)
    now_due(engine)
    pass_over(engine, play.access())
    snapshot(engine, play)
    assert scalar(engine, "SELECT held_quantity FROM bi.inventory_holds WHERE order_id = :tid", tid=str(held)) == 10
    after = level(engine)
    assert (after["held"], after["reserved"] - found["reserved"], after["platform_quantity"]) == (0, 10, 86)


def test_a_day_without_stock_stays_one_and_an_older_snapshot_changes_nothing(engine: Engine, play: Play) -> None:
    set_stock(play, 0)
    snapshot(engine, play)
    assert level(engine)["in_stock"] is False
    set_stock(play, 5)
    behind = take_snapshot(play.access(100, timedelta(0)), engine)
    assert (level(engine)["platform_quantity"], level(engine)["in_stock"]) == (5, False)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE core.inventory_level SET seen_at = seen_at + interval '1 day'"))
    set_stock(play, 6)
    snapshot(engine, play)
    assert level(engine)["platform_quantity"] == 5
    assert behind.skus > 200


def test_what_a_write_in_doubt_may_have_taken_away_makes_no_day_without_stock(engine: Engine, play: Play) -> None:
    # Killed between the noted write and its answer, after it was carried out: ten pieces are there, and none is shown.
    with transaction(engine) as connection:
        connection.execute(
            text("""
                INSERT INTO core.stock_write
                    (shop_id, num_iid, sku_id, before, target, withheld_before, withheld, claimed, status, actor)
                VALUES ('demo-shop', :item, :sku, 10, 0, 0, 10, 10, 'planned', 'a test')
            """),
            {"item": NUM_IID, "sku": SKU},
        )
    set_stock(play, 0)
    snapshot(engine, play)
    assert level(engine)["in_stock"] is None
    with transaction(engine) as connection:
        connection.execute(text("UPDATE core.stock_write SET status = 'done'"))
    snapshot(engine, play)
    assert level(engine)["in_stock"] is True


def test_stock_that_cannot_be_true_is_named_and_the_rest_goes_on(engine: Engine, play: Play, held: int) -> None:
    play.marketplace.faults.switch_on(
        Fault("odd_stock", method="taobao.item.skus.get", kind="negative", rate=0.1, seed=4)
    )
    odd = snapshot(engine, play)
    unknown = scalar(engine, "SELECT count(*) FROM bi.inventory_levels WHERE platform_quantity IS NULL")
    assert 5 < unknown == odd.unknown < odd.skus / 2
    filled = """
        SELECT count(*) FROM bi.inventory_levels
        WHERE platform_quantity IS NULL AND (sellable IS NOT NULL OR in_stock OR problem IS NULL)
    """
    assert scalar(engine, filled) == 0
    assert any("-7 is not between 0 and 900000000; look at the item" in problem for problem in odd.problems)
    play.marketplace.faults.clear()
    with transaction(engine) as connection:
        connection.execute(text("UPDATE core.order_items SET sku_id = '77' WHERE order_id = :tid"), {"tid": str(held)})
        connection.execute(text("UPDATE core.presale_hold SET sku_id = '77' WHERE order_id = :tid"), {"tid": str(held)})
    lost = snapshot(engine, play)
    assert [problem for problem in lost.problems if "SKU 77" in problem and "lists no such SKU" in problem]
    assert (level(engine, "77")["held"], level(engine, "77")["sellable"]) == (10, None)


def test_bundles_reserve_their_parts_as_orders_or_the_merchants_list_say(
    engine: Engine, play: Play, held: int, tmp_path: Path
) -> None:
    assert held
    part = str(int(SKU) + 1)
    set_stock(play, 50, part)
    snapshot(engine, play)
    path = tmp_path / "bundles.csv"
    codes = f"{level(engine)['sku_code']},{level(engine, part)['sku_code']}"
    path.write_text(f"bundle_code,component_code,quantity\n{codes},3\nSET,{codes.split(',')[1]},x\n")
    loaded = load_list(engine, "bundles", path)
    mistake = "row 3, column quantity: 'x' is no whole number; write digits only, or leave it empty"
    assert (loaded.rows, loaded.problems) == (1, (mistake,))
    own = level(engine, part)
    snapshot(engine, play)
    found = level(engine, part)
    reserved = level(engine)["reserved"]
    assert (found["held"] - own["held"], found["held_in_bundles"]) == (30, 30)
    assert found["reserved_in_bundles"] == reserved * 3
    # Sales inside the merchant's own bundles are unknown to the platform, so they come off too.
    assert found["sellable"] == max(50 - own["held"] - 30 - reserved * 3, 0)
    # The platform's own bundles are learnt from their orders.
    product = int(scalar(engine, "SELECT min(bundle_num_iid) FROM core.bundle_component")) - 600_000_000_000
    act(play, Pay, ordered(play, 5, product, order_type="fixed"))
    catch_up(engine, play)
    snapshot(engine, play)
    bundles = """
        SELECT count(DISTINCT (num_iid, sku_id)) * 2 FROM core.order_items WHERE extra ? 'combine_item_info'
    """
    assert scalar(engine, "SELECT count(*) FROM core.bundle_component") == scalar(engine, bundles)
    parts = """
        SELECT array_agg(DISTINCT l.reserved_in_bundles::int) FROM core.inventory_level l
        JOIN core.bundle_component c USING (shop_id, num_iid, sku_id) WHERE c.bundle_num_iid = :num_iid
    """
    assert {5, 10} <= set(scalar(engine, parts, num_iid=str(600_000_000_000 + product)))


def test_what_is_held_is_taken_off_once_and_given_back_when_it_is_free(engine: Engine, play: Play, held: int) -> None:
    access = play.access()
    refused = write(access, engine)
    assert refused.done == 0
    assert "no dry run was ever looked at" in refused.problems[0]
    dry = write(access, engine, WriteStock.DRY_RUN)
    assert [(each.sku_id, each.before, each.target, each.claimed) for each in dry.planned if each.sku_id == SKU] == [
        (SKU, 100, 90, 10)
    ]
    assert shows(play) == 100
    assert write(access, engine).is_well
    assert shows(play) == 90
    before = play.marketplace.calls[WRITE]
    again = write(access, engine)
    assert (again.planned, again.done, play.marketplace.calls[WRITE]) == ((), 0, before)
    snapshot(engine, play)
    assert (level(engine)["sellable"], level(engine)["platform_quantity"]) == (90, 90)
    # One is sold meanwhile, and the held ones are paid for: the platform takes them off itself.
    act(play, Pay, ordered(play, 1, order_type="fixed"))
    act(play, Pay, held)
    catch_up(engine, play)
    assert shows(play) == 79
    assert write(access, engine).is_well
    assert shows(play) == 89
    assert write(access, engine).planned == ()


@pytest.mark.parametrize("fault", [
    Fault("unknown_outcome", kind="done", count=1),
    Fault("unknown_outcome", kind="not_done", count=1),
    Fault("truncated", method=WRITE, count=1),
])  # fmt: skip
def test_a_write_whose_answer_got_lost_is_looked_after_and_never_doubled(
    engine: Engine, play: Play, held: int, fault: Fault
) -> None:
    assert held
    access = play.access()
    write(access, engine, WriteStock.DRY_RUN)
    play.marketplace.faults.switch_on(fault)
    before = play.marketplace.calls[WRITE]
    written = write(access, engine)
    assert written.is_well, written.problems
    assert shows(play) == 90
    # Every item once; what the sandbox did not carry out it does not count.
    assert play.marketplace.calls[WRITE] - before == len({each.num_iid for each in written.planned})
    statuses = scalar(
        engine,
        "SELECT array_agg(status ORDER BY write_id) FROM core.stock_write WHERE sku_id = :sku AND status <> 'dry_run'",
        sku=SKU,
    )
    assert statuses in (["done"], ["not_done", "done"])
    assert write(access, engine).planned == ()


def test_a_platform_that_never_answers_leaves_the_write_in_doubt_until_it_is_seen(
    engine: Engine, play: Play, held: int
) -> None:
    assert held
    access = play.access()
    write(access, engine, WriteStock.DRY_RUN)
    play.marketplace.faults.switch_on(Fault("unknown_outcome", kind="not_done"))
    failed = write(access, engine)
    assert not failed.is_well
    assert "read again before it is written again" in failed.problems[0]
    assert shows(play) == 100
    play.marketplace.faults.clear()
    # Killed between the noted write and its answer, after it was carried out.
    with transaction(engine) as connection:
        connection.execute(
            text("""
                INSERT INTO core.stock_write
                    (shop_id, num_iid, sku_id, before, target, withheld_before, withheld, claimed, status, actor)
                VALUES ('demo-shop', :item, :sku, 100, 90, 0, 10, 10, 'planned', 'a test')
            """),
            {"item": NUM_IID, "sku": SKU},
        )
    set_stock(play, 90)
    healed = write(access, engine)
    assert healed.is_well
    assert (shows(play), SKU in {each.sku_id for each in healed.planned}) == (90, False)
    # A number that the platform does not show is no reason to write.
    play.marketplace.faults.switch_on(Fault("odd_stock", method="taobao.item.skus.get", kind="text"))
    assert write(access, engine).planned == ()


def test_a_platform_that_refuses_is_said_and_changes_nothing(engine: Engine, play: Play, held: int) -> None:
    access = play.access()
    write(access, engine, WriteStock.DRY_RUN)
    play.marketplace.faults.switch_on(Fault("isp", method="taobao.item.skus.get"))
    with pytest.raises(CallError, match=r"taobao\.item\.skus\.get"):
        write(access, engine)
    play.marketplace.faults.clear()
    assert write(access, engine, WriteStock.OFF) == Written(SHOP, WriteStock.OFF)
    assert shows(play) == 100
    assert held


def test_the_command_shows_and_writes(
    engine: Engine, play: Play, held: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert held
    shop = play.shop(write_stock=WriteStock.ON)
    assert not stock_command.write(engine, [shop], dry_run=False, as_json=False)
    assert "no dry run was ever looked at" in capsys.readouterr().out
    assert stock_command.write(engine, [shop], dry_run=True, as_json=True)
    assert f'"sku_id": "{SKU}"' in capsys.readouterr().out
    assert stock_command.write(engine, [shop], dry_run=False, as_json=False)
    said = capsys.readouterr().out
    assert "write_stock is on" in said
    assert shows(play) == 90


def test_lists_that_the_environment_names_are_loaded_when_they_change(
    engine: Engine, held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert held
    path = tmp_path / "suppliers.csv"
    monkeypatch.setenv("ORDER_PIPELINE_SUPPLIERS", str(path))
    assert "cannot be read (No such file or directory)" in load_configured(engine)[0]
    path.write_bytes(f"sku_id,supplier,lead_time_days\n{SKU},义乌市场,14\n{SKU}1,义乌市场,soon\n".encode("gb18030"))
    wrong = load_configured(engine)
    mistake = "column lead_time_days: 'soon' is no whole number; write digits only, or leave it empty"
    assert wrong == [f"suppliers: row 3, {mistake}"]
    assert scalar(engine, "SELECT array_agg(supplier) FROM core.supplier_item") == ["义乌市场"]
    with transaction(engine) as connection:
        count, sample = skus_without_supplier(connection, SHOP, 5)
        onsale = connection.execute(text("SELECT count(*) FROM bi.inventory_levels WHERE is_onsale")).scalar_one()
    assert (count, len(sample)) == (onsale - 1, 5)
    path.write_text("sku_id,supplier\n")
    with pytest.raises(ConfigurationError, match="no row of it can be used, so the suppliers stay as they are"):
        load_list(engine, "suppliers", path)
    assert scalar(engine, "SELECT count(*) FROM core.supplier_item") == 1
