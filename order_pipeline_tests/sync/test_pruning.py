"""What goes and what stays: nothing that is not loaded, nothing that a proof reads, and the tables stay equal."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from order_pipeline import configuration
from order_pipeline.commands.prune import prune_and_print
from order_pipeline.configuration import ConfigurationError
from order_pipeline.definitions import build_defs
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.evidence import weigh
from order_pipeline.sync.pruning import Pruned, prune
from order_pipeline.sync.reconciliation import reconcile_day
from order_pipeline.sync.replay import Result, replay
from order_pipeline.sync.windows import HISTORY_DAYS
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.months import LOGS, PAGES, adopt_strays, month_of
from order_pipeline.warehouse.parcels import FOLLOWED
from order_pipeline.warehouse.quarantine import open_records
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import pass_over, proof
from order_pipeline_tests.warehouse.keeping import EVERYTHING_GOES

SHOP = "demo-shop"
DETAIL = "taobao.trade.fullinfo.get"
MONTH = f"raw.page_{NOON:%Y_%m}"
AFTER_THE_MONTH = month_of(NOON)[1] + timedelta(days=2)


def value(engine: Engine, query: str) -> object:
    with transaction(engine) as connection:
        return connection.execute(text(query)).scalar()


def names(pruned: Pruned) -> set[str]:
    return {each.name for each in pruned.gone}


def test_answers_are_found_by_the_proof_wherever_their_month_lies_and_go_when_it_is_over(
    engine: Engine, play: Play
) -> None:
    access = play.access()
    pass_over(engine, access)
    play.clock.advance(60)
    pass_over(engine, access)
    with transaction(engine) as connection:
        order_ids = list(connection.execute(text("SELECT order_id FROM core.orders")).scalars())
        stored = connection.execute(text("SELECT count(*) FROM raw.page")).scalar()
        assert MONTH in adopt_strays(connection, PAGES)
    # Every row against the answer that it was loaded from, now out of a month's partition.
    assert weigh(access, engine, order_ids) == (frozenset(), frozenset())
    yesterday = NOON.date() - timedelta(days=1)
    proven = reconcile_day(access, engine, yesterday, access.platform.now())
    assert proven
    assert proven.row.equal

    # In its time nothing goes; a dry run changes nothing ever.
    assert names(prune(engine, EVERYTHING_GOES, NOON)) == set()
    would = prune(engine, EVERYTHING_GOES, AFTER_THE_MONTH, dry_run=True)
    assert names(would) >= {MONTH, f"sync.call_{NOON:%Y_%m}"}
    assert value(engine, "SELECT count(*) FROM raw.page") == stored
    gone = prune(engine, EVERYTHING_GOES, AFTER_THE_MONTH)
    assert MONTH in names(gone)
    assert gone.stays == ()
    assert value(engine, "SELECT count(*) FROM raw.page") == 0
    # The tables do not feel it, and what comes next is stored as ever.
    assert proof(engine, access, play.server.url).equal
    play.marketplace.place_order(SHOP)
    play.clock.advance(60)
    pass_over(engine, access)
    assert proof(engine, access, play.server.url).equal
    assert weigh(access, engine, order_ids).altered == frozenset()
    # A day whose answers are gone is listed instead of counted, and equal all the same.
    again = reconcile_day(access, engine, yesterday, access.platform.now())
    assert again
    assert (again.row.equal, again.row.listed) == (True, True)


def test_a_month_stays_while_anything_in_it_is_not_loaded(engine: Engine, play: Play) -> None:
    access = play.access()
    play.marketplace.faults.switch_on(Fault("poison", method=DETAIL, rate=0.02, seed=3, kind="money_text"))
    pass_over(engine, access)
    play.marketplace.faults.clear()
    pages = value(engine, "SELECT count(*) FROM raw.page")
    with transaction(engine) as connection:
        held = [record["quarantine_id"] for record in open_records(connection, None)]
    assert held
    (stays,) = prune(engine, EVERYTHING_GOES, AFTER_THE_MONTH).stays
    assert stays.name == MONTH
    assert any(re.search(rf"^{len(held)} records open in quarantine$", need) for need in stays.needed_by)
    assert any("orders known from lists only" in need for need in stays.needed_by)
    assert any("orders that wait for their details" in need for need in stays.needed_by)
    assert value(engine, "SELECT count(*) FROM raw.page") == pages

    # Replayed, fetched anew, loaded: now nothing is left that anybody could need.
    assert {replay(engine, number).result for number in held} == {Result.WOKEN}
    pass_over(engine, access)
    assert proof(engine, access, play.server.url).equal
    gone = prune(engine, EVERYTHING_GOES, AFTER_THE_MONTH)
    assert MONTH in names(gone)
    assert gone.stays == ()
    # Settled rows by the warehouse's clock, after their own time.
    settled = prune(engine, EVERYTHING_GOES, AFTER_THE_MONTH.replace(year=2200))
    assert ("sync.quarantine", len(held)) in {(each.name, each.rows) for each in settled.gone}
    assert value(engine, "SELECT count(*) FROM sync.quarantine") == 0


def test_proofs_that_later_ones_replaced_go_and_the_latest_never(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(
            text("""
                INSERT INTO sync.reconciliation (shop_id, day, reconciled_at, subject, expected, found, missing, stale,
                    extra, quarantined, refilled, unsettled, rounds, calls, seconds, listed, equal, totals)
                SELECT 's', date '2025-01-01' + d, timestamptz '2025-01-02' + n * interval '1 day', 'orders', 1, 1,
                       0, 0, 0, 0, 0, 0, 0, 1, 1, true, true, '{}'
                FROM generate_series(0, 4) d, generate_series(1, 8) n
            """)
        )
    latest = "SELECT string_agg(day || ' ' || reconciled_at, ', ' ORDER BY day) FROM bi.reconciliation"
    before = value(engine, latest)
    gone = prune(engine, EVERYTHING_GOES, AFTER_THE_MONTH)
    assert [(each.name, each.rows) for each in gone.gone if each.name == "sync.reconciliation"] == [
        ("sync.reconciliation", 35)
    ]
    assert value(engine, latest) == before


def test_the_command_says_what_would_go(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    with transaction(engine) as connection:
        connection.execute(
            text("INSERT INTO sync.call (shop_id, method, started_at, seconds, outcome) "
                 "VALUES ('s', 'm', '2020-01-05', 1, 'ok')")
        )  # fmt: skip
        adopt_strays(connection, LOGS[2])
    prune_and_print(engine, dry_run=True, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["dry_run"] is True
    assert [each["name"] for each in said["gone"]] == ["sync.call_2020_01"]
    prune_and_print(engine, dry_run=False, as_json=False)
    assert "sync.call_2020_01" in capsys.readouterr().out
    prune_and_print(engine, dry_run=False, as_json=False)
    assert "Nothing is past its time." in capsys.readouterr().out


def test_dagster_prunes_every_night(engine: Engine, warehouse_url: str) -> None:
    with transaction(engine) as connection:
        connection.execute(
            text("INSERT INTO sync.call (shop_id, method, started_at, seconds, outcome) "
                 "VALUES ('s', 'm', '2020-01-05', 1, 'ok')")
        )  # fmt: skip
    defs = build_defs(resource_overrides={"warehouse": WarehouseResource(database_url=warehouse_url)})
    schedule = defs.resolve_schedule_def("nightly_prune")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def(schedule.job_name).execute_in_process(instance=instance)
    assert result.success
    assert value(engine, "SELECT count(*) FROM sync.call") == 0


def test_how_long_things_are_kept_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = configuration.retention()
    # The platform lists so far back; the nightly proof reads the answers of any such day.
    assert kept.pages > HISTORY_DAYS
    assert configuration.LEAST_RETENTION_DAYS[configuration.KEEP_PAGES] > HISTORY_DAYS
    assert timedelta(days=configuration.LEAST_RETENTION_DAYS[configuration.KEEP_MESSAGES]) > FOLLOWED
    monkeypatch.setenv(configuration.KEEP_CALLS, "30")
    assert configuration.retention().calls == 30
    for wrong in ("99", "-5", "a year", "1e3"):
        monkeypatch.setenv(configuration.KEEP_PAGES, wrong)
        with pytest.raises(ConfigurationError, match=r"KEEP_PAGES_DAYS must be a number of days, 100 or more"):
            configuration.retention()
