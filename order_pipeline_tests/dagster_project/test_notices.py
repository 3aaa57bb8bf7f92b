"""What Dagster has people told: failed runs, checks that turn, and notices that cannot be delivered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from order_pipeline.automation.notices import check_notices_sensor, notices_sensor
from order_pipeline.configuration import NOTIFY_URL
from order_pipeline.sandbox.faults import Fault
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.notices import HeldNotice, Notice, Severity, latest_notices, raise_notice
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.dagster_project.conftest import run
from order_pipeline_tests.notifications.service import TAKEN, Service, running_service

TODAY = str(NOON.date())
CHECK = dg.AssetCheckKey(dg.AssetKey("fullinfo_orders"), "nothing_is_quarantined")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with running_service() as service:
        monkeypatch.setenv(NOTIFY_URL, f"feishu://SECRET@TOKEN?server={service.url}")
        yield service


def held(engine: Engine) -> list[HeldNotice]:
    with transaction(engine) as connection:
        return sorted(latest_notices(connection, 100), key=lambda each: each.notice_id)


def evaluate(instance: dg.DagsterInstance, *, passed: bool, warns: bool = False, said: str = "3 records wait") -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=CHECK.asset_key,
            check_name=CHECK.name,
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
            description=None if passed else said,
            metadata={},
        )
    )


def tick(
    sensor: dg.SensorDefinition, defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None
) -> tuple[dg.SensorResult | dg.SkipReason, str | None]:
    """Return what a tick of the sensor brings, and the cursor it leaves."""
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=dict(defs.resources or {})) as context:
        found = sensor(context)
        assert isinstance(found, dg.SensorResult | dg.SkipReason)
        return found, (found.cursor if isinstance(found, dg.SensorResult) and found.cursor else context.cursor)


def test_a_failed_run_is_told_with_job_asset_day_and_reason_and_the_next_like_it_only_counts(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play, engine: Engine
) -> None:
    play.marketplace.faults.switch_on(Fault("http_error", method="taobao.trades.sold.get"))
    sensor, cursor = defs.resolve_sensor_def("run_failures_sensor"), None
    for number in range(3):
        # As the daemon ticks it; the first tick only remembers where it begins.
        with dg.build_sensor_context(
            instance=instance,
            cursor=cursor,
            repository_def=defs.get_repository_def(),
            sensor_name=sensor.name,
            resources=dict(defs.resources or {}),
        ) as context:
            sensor.evaluate_tick(context)
            cursor = context.cursor
        if number < 2:
            assert not run(defs, "load_history", instance, TODAY).success
    (told,) = held(engine)
    assert told.times_raised == 2
    assert told.title == f"run of load_history failed for {TODAY}"
    assert "history_pages: " in told.body
    assert "shop demo-shop" in told.body
    assert "taobao.trades.sold.get" in told.body
    assert "What happened: history_pages: 1 of 1 shops failed" in told.body
    assert "Failure:" not in told.body


def test_a_check_is_told_when_it_turns_red_and_when_it_is_green_again_and_not_in_between(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine
) -> None:
    found, cursor = tick(check_notices_sensor, defs, instance)
    assert "no check was evaluated" in str(found.skip_message if isinstance(found, dg.SkipReason) else "")
    said = []
    for passed in (True, False, False, True, True):
        evaluate(instance, passed=passed)
        found, cursor = tick(check_notices_sensor, defs, instance, cursor)
        assert isinstance(found, dg.SkipReason)
        said.append(str(found.skip_message))
    assert said == [
        "1 evaluations: 0 turned red, 0 turned green",
        "1 evaluations: 1 turned red, 0 turned green",
        "1 evaluations: 0 turned red, 0 turned green",
        "1 evaluations: 0 turned red, 1 turned green",
        "1 evaluations: 0 turned red, 0 turned green",
    ]
    red, green = held(engine)
    assert red.title == "check nothing_is_quarantined of fullinfo_orders is red"
    assert "3 records wait" in red.body
    assert (red.severity, red.times_raised) == ("error", 2)
    assert green.title == "check nothing_is_quarantined of fullinfo_orders is green again"
    # A lost cursor reads the same events again, and says nothing twice.
    tick(check_notices_sensor, defs, instance)
    assert held(engine) == [red, green]


def test_a_check_that_warns_is_a_warning_and_an_error_when_it_turns_red(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine
) -> None:
    evaluate(instance, passed=False, warns=True)
    _, cursor = tick(check_notices_sensor, defs, instance)
    assert (held(engine)[0].severity, held(engine)[0].title.rpartition(" ")[2]) == ("warning", "yellow")
    evaluate(instance, passed=False)
    tick(check_notices_sensor, defs, instance, cursor)
    (only,) = held(engine)
    assert (only.severity, only.title.rpartition(" ")[2]) == ("error", "red")


def test_the_sensor_delivers_and_says_with_numbers_what_it_did(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, service: Service
) -> None:
    with transaction(engine) as connection:
        raise_notice(connection, Notice("kind", "a", Severity.ERROR, "title", "body"))
    found, _ = tick(notices_sensor, defs, instance)
    assert isinstance(found, dg.SkipReason)
    assert "1 notice in 1 message" in str(found.skip_message)
    assert len(service.got) == 1


def test_a_dead_service_turns_a_check_yellow_after_a_while_and_stops_no_tick(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, service: Service
) -> None:
    service.says(200, {"code": 19021, "msg": "sign match fail"})
    with transaction(engine) as connection:
        raise_notice(
            connection,
            Notice("kind", "a", Severity.ERROR, "title", "body"),
            at=datetime.now(UTC) - timedelta(minutes=20),
        )
    found, cursor = tick(notices_sensor, defs, instance)
    assert isinstance(found, dg.SensorResult)
    (event,) = found.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert not event.passed
    assert event.severity == dg.AssetCheckSeverity.WARN
    assert "1 notice waits for delivery" in str(event.description)
    assert "code 19021" in str(event.description)
    # The same once more is no news.
    again, cursor = tick(notices_sensor, defs, instance, cursor)
    assert isinstance(again, dg.SkipReason)
    service.says(200, TAKEN)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.notice_sink SET next_attempt_at = '-infinity'"))
    mended, _ = tick(notices_sensor, defs, instance, cursor)
    assert isinstance(mended, dg.SensorResult)
    (event,) = mended.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert event.passed


def test_a_wrong_address_turns_the_check_yellow_and_neither_a_tick_nor_the_nightly_run_red(
    defs: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NOTIFY_URL, "dingtak://geheim")
    found, cursor = tick(notices_sensor, defs, instance)
    assert isinstance(found, dg.SensorResult)
    (event,) = found.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert "did you mean dingtalk://" in str(event.description)
    again, _ = tick(notices_sensor, defs, instance, cursor)
    assert isinstance(again, dg.SkipReason)
    assert "did you mean dingtalk://" in str(again.skip_message)
    closed = run(defs, "close_day", instance, TODAY)
    assert closed.success
    (nightly,) = (each for each in closed.get_asset_check_evaluations() if each.check_name == "notices_are_delivered")
    assert not nightly.passed
    assert nightly.severity == dg.AssetCheckSeverity.WARN
    assert "geheim" not in f"{event.description}{again.skip_message}{nightly.description}"
