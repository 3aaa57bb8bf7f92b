"""A call that hangs does not take the tick that it is made in: Dagster would end it after sixty seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from order_pipeline.automation import message_sensor, sensors
from order_pipeline.automation.sensors import in_turn
from order_pipeline.definitions import build_defs
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.dagster_project.conftest import PlayedShops
from order_pipeline_tests.dagster_project.test_runs import tick
from order_pipeline_tests.sync.test_messages import CONSUME
from order_pipeline_tests.sync.test_sessions import LENIENT, OTHER_SHOP, STRICT, Seller

LIMIT_SECONDS = 2.0
# What is left for everything else of a tick, on a busy machine.
SLACK_SECONDS = 20.0
# Without a limit an answer may take half a minute, and is asked for again.
SLOW_MILLISECONDS = 900


@pytest.fixture
def play() -> Iterator[Play]:
    """Two shops of two apps, good under their configured sessions."""
    marketplace = open_marketplace(SandboxSettings(**STRICT | LENIENT | {"orders": 60, "driven_from": NOON}))
    with SandboxServer(marketplace) as server:
        yield Play(marketplace, server)


@pytest.fixture
def defs(play: Play, engine: Engine, warehouse_url: str) -> Iterator[dg.Definitions]:
    shops = PlayedShops()
    shops.accesses.clear()
    for shop in (DEMO_SHOP, OTHER_SHOP):
        shops.accesses[shop.id] = Seller(play, engine, shop.id, shop.session_key).access()
    yield build_defs(resource_overrides={"warehouse": WarehouseResource(database_url=warehouse_url), "shops": shops})
    shops.accesses.clear()


def listen(defs: dg.Definitions, instance: dg.DagsterInstance) -> object:
    with dg.build_sensor_context(instance=instance, resources=dict(defs.resources or {})) as context:
        return message_sensor.messages_sensor(context)


@pytest.mark.parametrize("kind", ["trickle", "silence"])
def test_a_queue_that_hangs_ends_the_tick_in_time_and_loses_nothing(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    play: Play,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    listen(defs, instance)
    play.marketplace.place_order(DEMO_SHOP.id)
    play.clock.advance(5)
    monkeypatch.setattr(message_sensor, "CALLS_SECONDS", LIMIT_SECONDS)
    play.marketplace.faults.switch_on(Fault("slow_body", milliseconds=SLOW_MILLISECONDS, kind=kind, method=CONSUME))
    began = time.monotonic()
    with pytest.raises(dg.Failure, match=r"no complete answer|the time for it was up"):
        listen(defs, instance)
    assert time.monotonic() - began < LIMIT_SECONDS + SLACK_SECONDS
    play.marketplace.faults.clear()
    # Past its redelivery, and past the pause of a queue that failed.
    play.clock.advance(600)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.message_queue SET paused_until = '-infinity'"))
    assert isinstance(listen(defs, instance), dg.SensorResult)


def test_a_shop_that_hangs_takes_neither_the_tick_nor_the_turn_of_the_others(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "SHOP_SECONDS", LIMIT_SECONDS)
    play.marketplace.faults.switch_on(Fault("slow_body", kind="silence", shop=DEMO_SHOP.id))
    began = time.monotonic()
    found = tick(defs, instance)
    assert time.monotonic() - began < LIMIT_SECONDS + SLACK_SECONDS
    # The other shop's first load; a run for it names the one that hangs, and is red.
    assert isinstance(found, dg.SensorResult)
    assert [each.job_name for each in found.run_requests or ()] == ["load_history"]


def test_every_shop_is_first_in_its_turn(play: Play, engine: Engine) -> None:
    accesses = [Seller(play, engine, shop.id).access() for shop in (DEMO_SHOP, OTHER_SHOP)]
    orders = [[access.shop.id for access in in_turn(accesses, turn)] for turn in range(3)]
    assert orders == [["demo-shop", "other-shop"], ["other-shop", "demo-shop"], ["demo-shop", "other-shop"]]
    assert in_turn([], 5) == []
