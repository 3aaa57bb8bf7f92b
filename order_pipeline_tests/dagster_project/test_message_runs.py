"""Messages as Dagster works with them: the sensor's tick, the run it asks for, and what the UI is told."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import Engine, text

from order_pipeline import configuration
from order_pipeline.automation.message_sensor import DRAINING, MOST_DETAILS, messages_sensor
from order_pipeline.automation.sensors import orders_sensor
from order_pipeline.definitions import build_defs
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync import following, messages
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.following import QUIET_SECONDS, follow
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.message_queues import only_reader
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import hear, pass_over, proof

SHOP = "demo-shop"
TODAY = str(NOON.date())
CONSUME = "taobao.tmc.messages.consume"
DETAIL = "taobao.trade.fullinfo.get"


class HeardShops(ShopsResource):
    """The shops of a test's sandbox, on its driven clock."""

    # Of the class, since Dagster makes resources anew for every run.
    accesses: ClassVar[dict[str, ShopAccess]] = {}

    def open(self, engine: Engine, ids: Sequence[str] = ()) -> list[ShopAccess]:  # noqa: ARG002
        return [self.accesses[shop_id] for shop_id in ids or self.accesses]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def access(engine: Engine, play: Play) -> ShopAccess:
    """A shop that is loaded and heard, of which nothing is due."""
    access = play.access()
    pass_over(engine, access)
    hear(engine, access)
    play.clock.advance(600)
    pass_over(engine, access)
    hear(engine, access)
    return access


@pytest.fixture
def defs(warehouse_url: str, access: ShopAccess) -> dg.Definitions:
    shops = HeardShops()
    shops.accesses[SHOP] = access
    return build_defs(resource_overrides={"warehouse": WarehouseResource(database_url=warehouse_url), "shops": shops})


def tick(defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=dict(defs.resources or {})) as context:
        return messages_sensor(context)


def run(defs: dg.Definitions, instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("sync_messages").execute_in_process(
        instance=instance, partition_key=TODAY, raise_on_error=False, run_config={"ops": config} if config else {}
    )


def change(play: Play, count: int = 1, memo: str = "memo") -> None:
    with play.marketplace.looking():
        everything = [trade.tid for trade, _ in play.marketplace.ledger(SHOP).versions()]
    for tid in everything[:count]:
        play.marketplace.edit_memo(SHOP, tid, memo)


def test_a_tick_fetches_the_few_that_were_announced_and_asks_for_a_run_that_stays(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, access: ShopAccess
) -> None:
    change(play, 7)
    play.clock.advance(5)
    found = tick(defs, instance)
    assert _memos(engine, "memo") == 7
    assert proof(engine, access, play.server.url).equal
    (request,) = found.run_requests
    assert (request.job_name, request.partition_key) == ("sync_messages", TODAY)
    assert request.run_config["ops"] == {
        "fullinfo_orders": {"config": {"shops": [SHOP], "linger_seconds": QUIET_SECONDS}},
        "refunds": {"config": {"shops": [SHOP]}},
    }


def test_a_tick_leaves_many_to_the_run_that_it_asks_for(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, access: ShopAccess
) -> None:
    many = MOST_DETAILS + 2
    change(play, many)
    play.clock.advance(5)
    found = tick(defs, instance)
    assert len(found.run_requests) == 1
    assert _memos(engine, "memo") == 0
    # Staying is tested below.
    narrowed = {"shops": [SHOP]}
    result = run(defs, instance, fullinfo_orders={"config": narrowed}, refunds={"config": narrowed})
    assert result.success
    (heard,) = result.asset_materializations_for_node("order_messages")
    assert heard.metadata["messages_new"].value == 0
    assert heard.metadata["dagster/partition_row_count"].value == _stored(engine)
    assert heard.metadata["messages_unreadable"].value == 0
    (whole,) = result.asset_materializations_for_node("fullinfo_orders")
    assert whole.metadata["orders_loaded"].value == many
    preview = whole.metadata["preview"]
    assert isinstance(preview, dg.TableMetadataValue)
    assert {name for record in preview.records for name in record.data} == {
        *("shop_id", "order_id", "status", "type", "payment", "created_at", "paid_at", "modified_at")
    }
    assert all(check.passed for check in result.get_asset_check_evaluations())
    assert proof(engine, access, play.server.url).equal
    # Nothing is due any more, so nothing more is run.
    assert "no details are due; app 12345678: 0 new messages of 0" in tick(defs, instance, found.cursor).skip_message


def test_a_run_reads_what_came_since_the_tick(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, access: ShopAccess
) -> None:
    change(play, 3)
    play.clock.advance(5)
    result = run(defs, instance)
    (heard,) = result.asset_materializations_for_node("order_messages")
    assert heard.metadata["messages_new"].value == 3
    assert heard.metadata["orders_announced"].value == 3
    assert heard.metadata["calls"].value == 2
    topics = heard.metadata["topics"]
    assert isinstance(topics, dg.TableMetadataValue)
    assert "taobao_trade_TradeMemoModified" in {record.data["topic"] for record in topics.records}
    assert proof(engine, access, play.server.url).equal


def test_a_run_that_stays_fetches_what_comes_meanwhile_and_ends_when_it_is_quiet(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    engine: Engine,
    play: Play,
    access: ShopAccess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change(play, 2, "before")
    play.clock.advance(5)

    # Between two looks of the run something changes, once it has loaded what it found at its beginning.
    changed: list[int] = []
    really_pause = following._pause

    def pause(accesses: Sequence[ShopAccess], of: Engine, seconds: float) -> None:
        if not changed and _memos(engine, "before") == 2:
            changed.append(2)
            change(play, 5, "meanwhile")
            play.clock.advance(5)
        else:
            really_pause(accesses, of, seconds)

    monkeypatch.setattr(following, "_pause", pause)
    result = run(defs, instance, fullinfo_orders={"config": {"linger_seconds": 2.0}})
    assert result.success
    assert changed
    (whole,) = result.asset_materializations_for_node("fullinfo_orders")
    assert whole.metadata["orders_loaded"].value == 2 + 5
    assert _memos(engine, "meanwhile") == 5
    seconds = whole.metadata["seconds_following"].value
    assert isinstance(seconds, float)
    assert seconds >= 2.0
    assert proof(engine, access, play.server.url).equal
    # A shop that is never quiet does not keep a run for ever.
    change(play, 1, "again")
    began = time.monotonic()
    followed = follow([access], engine, quiet_seconds=60, longest_seconds=0.5)
    assert followed.looks >= 1
    assert time.monotonic() - began < 30


def test_a_run_that_stays_ends_when_what_it_runs_under_is_told_to_end(
    engine: Engine, play: Play, access: ShopAccess, tmp_path: Path
) -> None:
    """Through the wrapper of the code server's command: what it starts is told, and it ends with its code."""
    program = (
        "import sys, time; from order_pipeline import configuration\n"
        "print('up', flush=True)\n"
        "deadline = time.monotonic() + 60\n"
        "while not configuration.is_ending() and time.monotonic() < deadline: time.sleep(0.05)\n"
        "sys.exit(7 if configuration.is_ending() else 1)"
    )
    # As a code server does: SIGTERM alone does not end it.
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + program
    command = [sys.executable, "-m", "order_pipeline.launchers.ending", sys.executable, "-c", deaf]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrapper:
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline() == "up\n"
        wrapper.terminate()
        assert wrapper.wait(60) == 7
    # And what follows the messages looks whether it was.
    ending = tmp_path / "ending"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(configuration.ENDING, str(ending))
        ending.touch()
        change(play, 3, "at the end")
        play.clock.advance(5)
        followed = follow([access], engine, quiet_seconds=600)
    assert followed.looks == 1
    assert _memos(engine, "at the end") == 3


def _memos(engine: Engine, memo: str) -> int:
    with transaction(engine) as connection:
        found = connection.execute(text("SELECT count(*) FROM core.orders WHERE seller_memo = :memo"), {"memo": memo})
        return int(found.scalar_one())


def test_a_second_tick_has_a_run_key_of_its_own(defs: dg.Definitions, instance: dg.DagsterInstance, play: Play) -> None:
    change(play)
    play.clock.advance(5)
    first = tick(defs, instance)
    change(play, memo="again")
    play.clock.advance(5)
    second = tick(defs, instance, first.cursor)
    assert first.run_requests[0].run_key != second.run_requests[0].run_key


@pytest.mark.parametrize("job", DRAINING)
def test_no_run_is_asked_for_while_one_drains_the_worklist(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, job: str
) -> None:
    at_work = create_run_for_test(instance, job_name=job, status=DagsterRunStatus.STARTED)
    change(play, 2)
    play.clock.advance(5)
    found = tick(defs, instance)
    assert f"2 orders and refunds were due, run {at_work.run_id[:8]} is at work" in found.skip_message
    assert "2 new messages of 2, 2 orders announced" in found.skip_message
    # Only a run that follows the messages has them sooner than the tick; the others drain when they come to it.
    assert _memos(engine, "memo") == (0 if job == "sync_messages" else 2)
    assert ("2 details were fetched at once" in found.skip_message) == (job != "sync_messages")


def test_details_that_the_platform_refuses_are_left_to_the_run(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play
) -> None:
    change(play, 2)
    play.clock.advance(5)
    play.marketplace.faults.switch_on(Fault(name="http_error", method=DETAIL))
    assert len(tick(defs, instance).run_requests) == 1


def test_a_run_for_messages_does_not_keep_the_lists_from_being_looked_at(
    defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    create_run_for_test(instance, job_name="sync_messages", status=DagsterRunStatus.STARTED)
    with dg.build_sensor_context(instance=instance, resources=dict(defs.resources or {})) as context:
        found = orders_sensor(context)
    assert isinstance(found, dg.SkipReason)
    assert "are known" in str(found.skip_message)


def test_a_queue_that_stumbles_is_red_once_and_then_waits(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a busy machine takes from one tick to the next.
    monkeypatch.setattr(messages, "FIRST_PAUSE_SECONDS", 300)
    play.marketplace.faults.switch_on(Fault(name="http_error", method=CONSUME))
    with pytest.raises(dg.Failure, match="HTTP status 502"):
        tick(defs, instance)
    assert re.search(r"not read for (300|2\d\d) more seconds", tick(defs, instance).skip_message)


def test_an_app_without_messages_is_never_red_and_says_why(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play
) -> None:
    HeardShops.accesses[SHOP] = play.access(message_group="not-there")
    assert "group not-there" in tick(defs, instance).skip_message
    assert re.search(r"not read for (3600|35\d\d) more seconds", tick(defs, instance).skip_message)
    result = run(defs, instance)
    assert result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["queues_are_read"].passed
    assert "group not-there" in str(checks["queues_are_read"].description)
    assert checks["every_message_was_read"].passed


def test_a_failing_queue_turns_a_check_yellow_and_the_details_are_fetched(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, access: ShopAccess
) -> None:
    create_run_for_test(instance, job_name="sync_messages", status=DagsterRunStatus.STARTED)
    change(play, 4)
    play.clock.advance(5)
    tick(defs, instance)
    play.marketplace.faults.switch_on(Fault(name="http_error", method=CONSUME))
    result = run(defs, instance)
    assert result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["queues_are_read"].passed
    assert checks["queues_are_read"].severity == dg.AssetCheckSeverity.WARN
    assert "HTTP status 502" in str(checks["queues_are_read"].description)
    assert proof(engine, access, play.server.url).equal


def test_a_message_that_cannot_be_read_is_counted_in_a_check(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play
) -> None:
    play.marketplace.faults.switch_on(Fault(name="message_spoilt", kind="broken_content"))
    change(play, 2)
    play.clock.advance(5)
    result = run(defs, instance)
    assert result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert "2 messages could not be read" in str(checks["every_message_was_read"].description)


def test_another_reader_is_left_to_it(defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine) -> None:
    with only_reader(engine, "12345678", ""):
        assert "another process is reading" in tick(defs, instance).skip_message


def _stored(engine: Engine) -> int:
    with transaction(engine) as connection:
        return int(connection.execute(text("SELECT count(*) FROM raw.message")).scalar_one())
