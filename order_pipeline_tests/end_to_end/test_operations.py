"""A synced shop as those see it who run it and those who attack it: nothing leaks, and every errand can be done.

One world for the whole module, as a sync of a process of its own takes seconds; what destroys it stands last.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import psycopg2
import pytest
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine, text

from order_pipeline.automation.pruning import prune_event_log
from order_pipeline.cli import cli
from order_pipeline.commands.environment import open_instance
from order_pipeline.configuration import read_shops
from order_pipeline.metrics.collector import PipelineCollector
from order_pipeline.platforms.protocol import Token
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.sync.inventory import take_snapshot
from order_pipeline.sync.messages import read_messages
from order_pipeline.sync.sessions import token_row
from order_pipeline.sync.windows import HISTORY_DAYS
from order_pipeline.warehouse import embedded
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.tokens import store_token
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.people import personal_values
from order_pipeline_tests.proving import begin_refunds_lately, pass_over, proof

SHOP = DEMO_SHOP.id
DAYS = 4
# Never where rows are: their names would be found in themselves.
TABLES = text("""
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'personal')
""")


class World(NamedTuple):
    """A shop that was synced, what its process printed, and every secret that was in reach."""

    play: Play
    folder: Path
    engine: Engine
    printed: str
    secrets: dict[str, str]


def command(*arguments: str) -> Result:
    """Run a command in this process: starting one takes seconds."""
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)


def write_shops(folder: Path, play: Play, *names: str) -> None:
    shop = {
        "platform": "taobao",
        "gateway_url": play.server.gateway_url,
        "app_key": DEMO_SHOP.app_key,
        "app_secret": "${TEST_APP_SECRET}",
        "session_key": "${TEST_SESSION_KEY}",
        "keep_personal_data": True,
    }
    broken = shop | {"app_secret": "${TEST_WRONG_SECRET}", "session_key": "${TEST_WRONG_SESSION}"}
    entries = [{"id": name} | (shop if name == SHOP else broken) for name in names]
    (folder / "shops.yaml").write_text(json.dumps({"shops": entries}))


@pytest.fixture(scope="module")
def world(postgres: embedded.EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("project")
    root = Path(__file__).parents[2]
    for name in ("dagster.yaml", "workspace.yaml"):
        (folder / name).write_text((root / name).read_text())
    secrets = {
        "TEST_APP_SECRET": DEMO_SHOP.app_secret,
        "TEST_SESSION_KEY": DEMO_SHOP.session_key,
        "TEST_WRONG_SECRET": "wrong-secret-4711",
        "TEST_WRONG_SESSION": "6100wrong4711session",
        "ORDER_PIPELINE_TOKEN_KEY": Fernet.generate_key().decode(),
        "refresh token": "refresh-geheim-4711",
        "database password": "database-geheim-4711",
        "robot secret": "SECrobot4711",
        "robot token": "tokenrobot4711",
    }
    connection = psycopg2.connect(postgres.url("postgres").replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE operations TEMPLATE template STRATEGY FILE_COPY")
    connection.close()
    # The embedded server asks for no password, and so takes any.
    url = postgres.url("operations").replace("postgres@/", f"postgres:{secrets['database password']}@/")
    marketplace = open_marketplace(SandboxSettings(orders=80, days=3, seed=7, driven_from=NOON))
    with pytest.MonkeyPatch.context() as patch, SandboxServer(marketplace) as server:
        play = Play(marketplace, server)
        patch.chdir(folder)
        for name, value in secrets.items():
            if name.isupper():
                patch.setenv(name, value)
        patch.setenv("ORDER_PIPELINE_DATABASE_URL", url)
        patch.setenv("DAGSTER_POSTGRES_URL", url)
        patch.setenv("ORDER_PIPELINE_NOTIFY_URL", "dingtalk://{robot secret}@{robot token}".format_map(secrets))
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.delenv("ORDER_PIPELINE_SHOPS", raising=False)
        engine = connect(url)
        write_shops(folder, play, SHOP, "broken-shop")
        shop, _ = read_shops(folder / "shops.yaml")
        begin_refunds_lately(engine, play.access())
        with transaction(engine) as opened:
            token = Token(
                access_token=DEMO_SHOP.session_key, refresh_token=secrets["refresh token"], expires_in=86_400 * 30,
                refresh_expires_in=86_400 * 30, account=None, account_name=None,
            )  # fmt: skip
            store_token(opened, token_row(shop, token, datetime.now(UTC), through_gateway=False, by="test"))
        # Once it is permitted, what changes is also said by message.
        read_messages([play.access()], engine)
        with marketplace.looking():
            tids = [trade.tid for trade, _ in marketplace.ledger(SHOP).versions()][:9]
        for tid in tids:
            marketplace.edit_memo(SHOP, tid, "gift wrap")
        play.clock.advance(5)
        # Some records cannot be read, so that what is said and kept of those is looked at too.
        fault = Fault(name="poison", method="taobao.trade.fullinfo.get", rate=0.05, seed=3, kind="money_text")
        marketplace.faults.switch_on(fault)
        worked = work()
        marketplace.faults.clear()
        # The platform refused the broken shop, and said why.
        assert "app_secret" in worked, worked[-4000:]
        write_shops(folder, play, SHOP)
        yield World(play, folder, engine, worked, secrets)
        engine.dispose()


# As the commands do it, but of some days only: a first load of three months takes a minute.
WORK = """
import sys
from datetime import date
import dagster as dg
from order_pipeline.commands.environment import open_instance
from order_pipeline.commands.runs import run_job
from order_pipeline.definitions import defs
days = [date.fromisoformat(each) for each in sys.argv[1:]]
def tell(instance, name, cursor=None):
    sensor = defs.resolve_sensor_def(name)
    with dg.build_sensor_context(
        instance, cursor, repository_def=defs.get_repository_def(), sensor_name=name, resources=dict(defs.resources)
    ) as context:
        sensor.evaluate_tick(context)
        return context.cursor
with open_instance() as instance:
    # The first tick only remembers where it begins.
    cursor = tell(instance, "run_failures_sensor")
    for shop, job, *assets in (
        ("demo-shop", "load_history", "history_pages", "fullinfo_orders"),
        ("demo-shop", "sync_refunds", "refund_pages", "refunds"),
        ("demo-shop", "sync_messages", "order_messages", "fullinfo_orders", "refunds"),
        ("broken-shop", "load_history", "history_pages", "fullinfo_orders"),
        ("demo-shop", "follow_parcels", "shipment_traces", "logistics_alerts"),
        ("demo-shop", "reconcile", "daily_reconciliation"),
    ):
        done = run_job(instance, job, days, config={asset: {"shops": [shop]} for asset in assets})
        print(done)
        assert done.success is (shop == "demo-shop" and job != "reconcile"), (job, done)
    tell(instance, "run_failures_sensor", cursor)
    tell(instance, "check_notices_sensor")
"""


def work() -> str:
    """Run jobs over the played days in a process of their own; return all that it printed."""
    days = [str(NOON.date() - timedelta(days=DAYS - 1)), str(NOON.date())]
    done = subprocess.run([sys.executable, "-c", WORK, *days], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def spellings(value: str) -> set[str]:
    """Return how a value looks in plain text and in JSON of either kind."""
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}


def test_no_secret_and_nothing_about_people_is_found_anywhere(world: World) -> None:
    day = str(NOON.date() - timedelta(days=1))
    write_shops(world.folder, world.play, SHOP, "broken-shop")
    said = {
        "work": world.printed,
        "doctor": command("doctor").output,
        "status": command("status", "--json").output,
        "quarantine": command("quarantine", "list", "--json").output,
        "record": command("quarantine", "show", "1", "--json").output,
        "report": command("report", "--day", day).output,
        "help": " ".join(command(name, "--help").output for name in cli.commands),
    }
    # What `order-pipeline metrics` serves.
    registry = CollectorRegistry(auto_describe=False)
    shops = read_shops(world.folder / "shops.yaml")
    registry.register(PipelineCollector(world.engine, world.engine, shops, HISTORY_DAYS))
    said["metrics"] = generate_latest(registry).decode()
    assert SHOP in said["metrics"]
    write_shops(world.folder, world.play, SHOP)
    for path in world.folder.rglob("*"):
        if path.is_file() and path.name != "shops.yaml":
            said[str(path)] = path.read_text(errors="replace")
    with transaction(world.engine) as connection:
        for table in connection.execute(TABLES).scalars().all():
            rows = connection.execute(text(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t"))
            said[table] = str(rows.scalar())
        # Compressed, so that nothing could be found in its rows.
        bodies = connection.execute(text("SELECT snapshot_body FROM snapshots")).scalars()
        said["snapshots"] = " ".join(zlib.decompress(bytes(body)).decode() for body in bodies)
        kept = connection.execute(text("SELECT string_agg(t::text, ' ') FROM personal.order_receiver t")).scalar()
    held = {name.removeprefix("public.") for name, rows in said.items() if rows}
    assert {"event_logs", "runs", "raw.page", "core.orders", "sync.token", "sync.quarantine", "raw.message"} <= held
    for kind in ("run_failed", "check_red"):
        assert kind in said["sync.notice"]
    people = {value for values in personal_values(world.play.marketplace).values() for value in values.values()}
    # What is looked for is there to be found: where it belongs.
    assert sum(value in str(kept) for value in people) > 100
    wanted = {f"about people: {value}": value for value in people} | world.secrets
    leaks = {
        (what, place)
        for what, value in wanted.items()
        for place, held in said.items()
        if any(spelling in held for spelling in spellings(value))
    }
    assert leaks == set()


def test_an_order_is_fetched_again_whatever_the_tables_hold(world: World) -> None:
    with transaction(world.engine) as connection:
        order_id = connection.execute(text("SELECT max(order_id) FROM core.orders WHERE source = 'detail'")).scalar()
        connection.execute(text("UPDATE core.orders SET status = 'DAMAGED' WHERE order_id = :id"), {"id": order_id})
    world.play.clock.advance(5)
    fetched = command("refetch", SHOP, str(order_id))
    assert fetched.exit_code == 0, fetched.output
    assert "fetched and loaded" in fetched.output
    with transaction(world.engine) as connection:
        query = text("SELECT status FROM core.orders WHERE order_id = :id")
        assert connection.execute(query, {"id": order_id}).scalar() != "DAMAGED"
        refund_id = connection.execute(text("SELECT max(refund_id) FROM core.refunds")).scalar()
    assert command("refetch", SHOP, "--refund", str(refund_id)).exit_code == 0
    unknown = command("refetch", SHOP, "4711", "--json")
    assert unknown.exit_code == 1
    (record,) = json.loads(unknown.output)["records"]
    assert "does not serve" in record["problem"]


@pytest.mark.usefixtures("world")
def test_the_breaker_is_opened_and_closed_by_hand_with_name_and_reason() -> None:
    assert command("breaker", "open", SHOP, "--hours", "2", "--why", "the platform asked us to").exit_code == 0
    (shop,) = json.loads(command("status", "--json").output)["shops"]
    assert "the platform asked us to" in shop["breaker_reason"]
    assert "@" in shop["breaker_reason"]
    assert command("breaker", "close", SHOP, "--why", "it is over").exit_code == 0
    (shop,) = json.loads(command("status", "--json").output)["shops"]
    assert shop["breaker_open_since"] is None


def test_pruning_the_event_log_keeps_what_assets_partitions_and_checks_are_judged_by(world: World) -> None:
    history = dg.AssetKey("history_pages")
    check = dg.AssetCheckKey(history, "every_record_was_read")

    def judged(instance: dg.DagsterInstance) -> tuple[object, ...]:
        storage = instance.event_log_storage
        (newest,) = storage.get_asset_check_execution_history(check, limit=1)
        assert newest.event is not None
        return (
            instance.get_materialized_partitions(history),
            instance.get_latest_materialization_event(history),
            # The broken shop's run came last, and failed: so the partitions are red.
            sorted(storage.get_latest_asset_partition_materialization_attempts_without_materializations(history)),
            newest.status,
            newest.event.timestamp,
        )

    columns = "run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition"
    of_history = "asset_key LIKE '%history_pages%' AND dagster_event_type"
    made, planned = f"{of_history} = 'ASSET_MATERIALIZATION'", f"{of_history} = 'ASSET_MATERIALIZATION_PLANNED'"
    again = "INSERT INTO event_logs ({0}) SELECT {0} FROM event_logs WHERE {1} ORDER BY id"
    with world.engine.begin() as connection:
        # Made and tried again, as a day is every few seconds.
        for rows in (made, f"{planned} AND run_id IN (SELECT run_id FROM runs WHERE status = 'FAILURE')"):
            connection.execute(text(again.format(columns, rows)))
    with open_instance() as instance:
        before = judged(instance)
        run_ids = [record.dagster_run.run_id for record in instance.get_run_records()]
    assert len(before[0]) == len(before[2]) == DAYS  # type: ignore[arg-type]
    with world.engine.begin() as connection:
        # A run that is still going keeps its lines, however old.
        going = connection.execute(text("SELECT run_id FROM runs WHERE pipeline_name = 'reconcile'")).scalar()
        connection.execute(text("UPDATE runs SET status = 'STARTED' WHERE run_id = :id"), {"id": going})
        connection.execute(text("UPDATE event_logs SET timestamp = timestamp - interval '40 days'"))
        lines = text("SELECT count(*) FROM event_logs WHERE run_id = :id")
        of_going = connection.execute(lines, {"id": going}).scalar()
    assert json.loads(command("prune-events", "--older-than", "50", "--json").output)["deleted"] == 0
    # As every night.
    with open_instance() as instance:
        pruned_run = prune_event_log.execute_in_process(instance=instance)
    (output,) = [event.step_output_data for event in pruned_run.all_events if event.is_successful_output]
    assert output.metadata["kept_days"].value == 30
    deleted = output.metadata["deleted"].value
    assert isinstance(deleted, int)
    assert deleted > 20
    with world.engine.begin() as connection:
        assert connection.execute(lines, {"id": going}).scalar() == of_going
        connection.execute(text("UPDATE runs SET status = 'SUCCESS' WHERE run_id = :id"), {"id": going})
        for rows in (made, planned):
            assert connection.execute(text(f"SELECT count(*) FROM event_logs WHERE {rows}")).scalar() == DAYS
        steps = text("SELECT count(*) FROM event_logs WHERE dagster_event_type = 'STEP_START' AND run_id <> ALL(:ids)")
        assert connection.execute(steps, {"ids": [going, pruned_run.run_id]}).scalar() == 0
    with open_instance() as instance:
        assert judged(instance) == before
        found = [record.dagster_run.run_id for record in instance.get_run_records()]
        assert found == [pruned_run.run_id, *run_ids]


def test_addressees_are_forgotten_by_order_and_altogether(world: World) -> None:
    def kept() -> int:
        with transaction(world.engine) as connection:
            rows = connection.execute(text("SELECT count(*) FROM personal.order_receiver WHERE forgotten_at IS NULL"))
            return int(rows.scalar() or 0)

    before = kept()
    with transaction(world.engine) as connection:
        order_id = connection.execute(text("SELECT min(order_id) FROM personal.order_receiver")).scalar()
    assert json.loads(command("forget", SHOP, "--order", str(order_id), "--json").output)["forgotten"] == 1
    assert kept() == before - 1
    assert "bring theirs again" in command("forget", SHOP, "--all").output
    assert kept() == 0


def test_the_report_of_a_day_is_one_page_with_everything_in_it(world: World) -> None:
    day = NOON.date()
    taken = take_snapshot(world.play.access(), world.engine)
    assert taken.day == day
    assert command("report", "--day", str(day), "--out", "report.html").exit_code == 0
    page = (world.folder / "report.html").read_text()
    for heading in ("Sales", "Refunds", "Freshness", "Reconciliation", "Stock"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("data:image/svg+xml;base64,") == 8
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert 'src="data:' in page
    with transaction(world.engine) as connection:
        query = text("SELECT orders, payment FROM bi.daily_sales WHERE shop_id = :shop AND day = :day")
        orders, payment = connection.execute(query, {"shop": SHOP, "day": day}).one()
        query = text("SELECT count(*), sum(sellable) FROM bi.inventory_levels WHERE day = :day AND is_onsale")
        skus, sellable = connection.execute(query, {"day": day}).one()
    assert f"<td>{orders:,}</td>" in page
    assert f"<td>{payment:,.2f}</td>" in page
    assert f"<td>{skus:,}</td>" in page
    assert f"<td>{sellable:,}</td>" in page


def test_a_backup_is_restored_into_a_fresh_server(
    world: World, postgres: embedded.EmbeddedServer, tmp_path: Path
) -> None:
    found = {name: postgres.programs / name for name in ("pg_dump", "pg_restore", "psql")}
    source = world.engine.url.render_as_string(hide_password=False).replace("+psycopg2", "")
    dump = tmp_path / "warehouse.dump"
    subprocess.run([found["pg_dump"], "--format=custom", f"--file={dump}", source], check=True, timeout=300)
    with transaction(world.engine) as connection:
        orders = connection.execute(text("SELECT count(*) FROM core.orders")).scalar()
    server = embedded.start(tmp_path / "fresh")
    try:
        target = server.warehouse_url.replace("+psycopg2", "")
        roles = "CREATE ROLE bi_reader NOLOGIN; CREATE ROLE personal_reader NOLOGIN"
        subprocess.run([found["psql"], "--quiet", "--command", roles, target], check=True, timeout=300)
        restore = [str(found["pg_restore"]), "--exit-on-error", "--no-owner", "--dbname", target, str(dump)]
        subprocess.run(restore, check=True, timeout=300)
        engine = connect(server.warehouse_url)
        with transaction(engine) as connection:
            assert connection.execute(text("SELECT count(*) FROM core.orders")).scalar() == orders
        # The pipeline goes on from there: what changed since the backup is still on the platform's lists.
        with world.play.marketplace.looking():
            tids = [trade.tid for trade, _ in world.play.marketplace.ledger(SHOP).versions()]
        for tid in tids:
            world.play.marketplace.edit_memo(SHOP, tid, "after the backup")
        world.play.clock.advance(60)
        access = world.play.access()
        pass_over(engine, access)
        found_equal = proof(engine, access, world.play.server.url)
        assert found_equal.equal, found_equal.examples
        with transaction(engine) as connection:
            connection.execute(text("SET LOCAL ROLE bi_reader"))
            assert connection.execute(text("SELECT count(*) FROM bi.orders")).scalar() == orders
        engine.dispose()
    finally:
        server.stop()


def test_a_shop_is_removed_for_good_once_it_is_not_configured(world: World) -> None:
    refused = command("remove-shop", SHOP, "--yes")
    assert refused.exit_code == 2
    assert "take it out of shops.yaml first" in refused.stderr
    write_shops(world.folder, world.play, "another-shop")
    shown = command("remove-shop", SHOP, "--json")
    assert shown.exit_code == 1
    held = json.loads(shown.output)["rows"]
    assert held["core.orders"] >= 70
    removed = command("remove-shop", SHOP, "--yes", "--json")
    assert removed.exit_code == 0
    assert json.loads(removed.output)["rows"] == held
    with transaction(world.engine) as connection:
        for table in connection.execute(TABLES).scalars().all():
            if table.split(".")[0] in ("core", "raw", "sync", "personal"):
                rows = connection.execute(
                    text(f"SELECT count(*) FROM {table} t WHERE t::text LIKE :name"), {"name": f"%({SHOP},%"}
                )
                assert rows.scalar() == 0, table
    nothing = command("remove-shop", SHOP)
    assert nothing.exit_code == 2
    assert f"nothing is held of a shop '{SHOP}'" in nothing.stderr
