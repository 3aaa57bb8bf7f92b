"""A shop whose session ended, as the data team sees it: one red run, then quiet ticks with a reason and a red check."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine

from order_pipeline.automation.authorizations import authorizations_sensor
from order_pipeline.automation.message_sensor import messages_sensor
from order_pipeline.definitions import build_defs
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sandbox.authorization import AuthorizationRules, TokenLifetimes
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.dagster_project.conftest import PlayedShops, run
from order_pipeline_tests.dagster_project.test_runs import tick
from order_pipeline_tests.sync.test_sessions import OTHER_SHOP, STRICT, Seller

TODAY = NOON.date()
# A host that may not refresh, three days before the end.
NO_REFRESH = AuthorizationRules(lifetimes=TokenLifetimes(expires_in=259_200, re_expires_in=0))


@pytest.fixture
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    """Two shops whose tokens are good for two hours; parametrize indirectly with other settings."""
    marketplace = open_marketplace(SandboxSettings(**STRICT | {"orders": 60} | getattr(request, "param", {})))
    with SandboxServer(marketplace) as server:
        yield Play(marketplace, server)


@pytest.fixture(autouse=True)
def _token_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_PIPELINE_TOKEN_KEY", Fernet.generate_key().decode())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def sellers(play: Play, engine: Engine) -> list[Seller]:
    sellers = [Seller(play, engine, shop.id) for shop in (DEMO_SHOP, OTHER_SHOP)]
    for seller in sellers:
        seller.authorise()
    return sellers


@pytest.fixture
def defs(warehouse_url: str, sellers: list[Seller]) -> Iterator[dg.Definitions]:
    shops = PlayedShops()
    shops.accesses.clear()
    shops.accesses.update({seller.shop.id: seller.access() for seller in sellers})
    yield build_defs(resource_overrides={"warehouse": WarehouseResource(database_url=warehouse_url), "shops": shops})
    shops.accesses.clear()


def look(defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=dict(defs.resources or {})) as context:
        found = authorizations_sensor(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def evaluation(found: dg.SensorResult | dg.SkipReason) -> dg.AssetCheckEvaluation:
    assert isinstance(found, dg.SensorResult)
    (event,) = found.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    return event


def test_a_paused_shop_is_red_once_then_quiet_with_a_red_check_until_it_is_authorised_again(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play, sellers: list[Seller]
) -> None:
    well = look(defs, instance, None)
    assert evaluation(well).passed
    first, last = str(TODAY - timedelta(days=6)), str(TODAY)
    assert run(defs, "load_history", instance, first, last).success
    play.clock.advance(30)
    play.marketplace.revoke_authorization(DEMO_SHOP.id)
    refused = run(defs, "sync_orders", instance, last)
    assert not refused.success
    # From now on the other shop is all that runs are about.
    play.marketplace.place_order(OTHER_SHOP.id)
    play.clock.advance(30)
    quiet = run(defs, "sync_orders", instance, last)
    assert quiet.success
    (check,) = (each for each in quiet.get_asset_check_evaluations() if each.check_name == "shops_are_authorised")
    assert not check.passed
    assert "shop demo-shop: paused since" in str(check.description)
    assert "order-pipeline authorize demo-shop" in str(check.description)
    # Where no run comes about, the check is told once, and ticks stay quiet.
    told = look(defs, instance, well.cursor if isinstance(well, dg.SensorResult) else None)
    assert not evaluation(told).passed
    assert isinstance(told, dg.SensorResult)
    again = look(defs, instance, told.cursor)
    assert isinstance(again, dg.SkipReason)
    assert "paused since" in str(again.skip_message)
    sellers[0].authorise()
    mended = look(defs, instance, told.cursor)
    assert evaluation(mended).passed
    assert run(defs, "sync_orders", instance, last).success


def test_the_sensor_of_orders_names_the_paused_shop_in_its_reason(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play
) -> None:
    assert run(defs, "load_history", instance, str(TODAY - timedelta(days=95)), str(TODAY)).success
    play.clock.advance(600)
    assert run(defs, "sync_orders", instance, str(TODAY)).success
    play.marketplace.revoke_authorization(DEMO_SHOP.id)
    with pytest.raises(dg.Failure, match="shop demo-shop"):
        tick(defs, instance)
    calls = play.marketplace.statistics()["calls"].get("taobao.trades.sold.increment.get", 0)
    found = tick(defs, instance)
    assert isinstance(found, dg.SkipReason), found
    assert "shop demo-shop: paused since" in str(found.skip_message)
    assert "shop other-shop: all" in str(found.skip_message)
    assert play.marketplace.statistics()["calls"]["taobao.trades.sold.increment.get"] == calls + 1


@pytest.mark.parametrize("play", [{"authorization": NO_REFRESH}], indirect=True)
def test_a_token_that_ends_soon_and_cannot_be_refreshed_is_a_warning(
    defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    event = evaluation(look(defs, instance, None))
    assert not event.passed
    assert event.severity == dg.AssetCheckSeverity.WARN
    assert "it cannot be refreshed, so authorise again before" in str(event.description)


def test_no_day_of_a_paused_shop_is_called_equal(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play
) -> None:
    yesterday = str(TODAY - timedelta(days=1))
    assert run(defs, "load_history", instance, yesterday, str(TODAY)).success
    play.marketplace.revoke_authorization(DEMO_SHOP.id)
    assert not run(defs, "sync_orders", instance, str(TODAY)).success
    proven = run(defs, "reconcile", instance, yesterday)
    assert proven.success
    (check,) = (each for each in proven.get_asset_check_evaluations() if each.check_name == "day_is_equal")
    assert not check.passed
    assert "not asked, as they are paused or not authorised (order-pipeline status): demo-shop" in str(
        check.description
    )


def test_a_withdrawal_that_a_message_tells_is_one_red_tick_and_then_a_reason(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play
) -> None:
    def listen() -> object:
        with dg.build_sensor_context(instance=instance, resources=dict(defs.resources or {})) as context:
            return messages_sensor(context)

    assert isinstance(listen(), dg.SkipReason)
    play.clock.advance(900)
    play.marketplace.revoke_authorization(DEMO_SHOP.id)
    with pytest.raises(dg.Failure, match="shop demo-shop is paused, its seller withdrew the authorisation"):
        listen()
    assert isinstance(listen(), dg.SkipReason)
    event = evaluation(look(defs, instance, None))
    assert not event.passed
    assert "withdrew the authorisation" in str(event.description)
