"""A real Prometheus over a real exporter over real tables: every rule and every panel works, every alert fires.

The rules are the file's, with their patience (``for``) taken out; that they have it, ``promtool test rules`` shows.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
import requests
import yaml
from dagster import DagsterRunStatus
from dagster._daemon.types import DaemonHeartbeat
from sqlalchemy import Engine, text

from order_pipeline.configuration import Shop
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sync.silence import SILENT_LISTS
from order_pipeline.sync.windows import SHANGHAI, day_of, due_history_days
from order_pipeline.traffic.breaker import Breaker, Kind
from order_pipeline.traffic.budget import Budget
from order_pipeline.warehouse.calls import CallRow, store_calls
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.embedded import EmbeddedServer
from order_pipeline.warehouse.field_counts import FieldDrift, replace_drifts
from order_pipeline.warehouse.message_queues import note_permit, note_read
from order_pipeline.warehouse.notices import Notice, Severity, raise_notice
from order_pipeline.warehouse.pauses import begin_pause
from order_pipeline.warehouse.proofs import ProofRow, store_proof
from order_pipeline.warehouse.quarantine import QuarantinedRecord, quarantine
from order_pipeline.warehouse.tokens import TokenRow, put_renewal_off, store_token
from order_pipeline.warehouse.watermarks import begin_watermark, mark_history_day
from order_pipeline.warehouse.worklist import Announced, say_announced
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.end_to_end.program import running
from order_pipeline_tests.ports import free_port
from order_pipeline_tests.proving import hear, pass_over

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "deploy/prometheus/rules/order_pipeline.yml"
RULE_TESTS = ROOT / "deploy/prometheus/rules.test.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboards/order-pipeline.json"
NEEDS_PROMETHEUS = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Prometheus is not installed: apt-get install prometheus",
)

HOUR = timedelta(hours=1)
# Seconds where nothing else runs; minutes where ten others do.
WAIT_SECONDS = 240.0
# Shops of other apps than the sandbox's; everything that can go wrong happens to them.
ILL = Shop(id="ill", platform="taobao", gateway_url="https://x", app_key="2", app_secret="s-ill", calls_per_minute=30)
LEFT = Shop(id="left", platform="taobao", gateway_url="https://x", app_key="3", app_secret="s-left")


def now() -> datetime:
    """Asked for when it is needed: minutes may lie between the loading of this module and its tests."""
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def play() -> Iterator[Play]:
    """A sandbox whose clock begins now, by which freshness is judged."""
    settings = SandboxSettings(orders=40, days=2, seed=7, driven_from=now().astimezone(SHANGHAI))
    marketplace = open_marketplace(settings)
    with SandboxServer(marketplace) as server:
        yield Play(marketplace, server)


class Prometheus:
    """A running server, asked over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=60).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def query(self, expression: str) -> list[Any]:
        return list(self.ask("query", query=expression)["result"])

    def firing(self) -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = {}
        for alert in self.ask("alerts")["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"] | alert["annotations"])
        return found


def wait_for(true: Callable[[], object], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"},
        "rule_files": [str(folder / "rules.yml")],
        "scrape_configs": [{"job_name": "order_pipeline", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _is_ready(url), (folder / "prometheus.log").read_text)
        yield Prometheus(url)
    finally:
        process.terminate()
        process.wait(120)


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/-/ready", timeout=2).ok
    except requests.ConnectionError:
        return False


@pytest.fixture
def instance(
    postgres: EmbeddedServer, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """Dagster over a storage of its own."""
    postgres.create_database("monitored_dagster")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres.url("monitored_dagster").replace("+psycopg2", ""))
    monkeypatch.setenv("DAGSTER_HOME", str(project_folder))
    with dg.DagsterInstance.get() as instance:
        yield instance


@dg.op
def fails() -> None:
    raise dg.Failure("on purpose")


@dg.op
def works() -> None:
    pass


@dg.job
def failing_job() -> None:
    fails()


@dg.job
def working_job() -> None:
    works()


def _proof(shop_id: str, *, unsettled: int) -> ProofRow:
    yesterday = day_of(now()) - timedelta(days=1)
    return ProofRow(shop_id, yesterday, 10, 10, unsettled, 0, 0, 0, 0, unsettled, 1, 1, 0.1, True,
                    not unsettled, {})  # fmt: skip


def _token(shop_id: str, **changes: Any) -> TokenRow:
    row = TokenRow(
        shop_id, "2", "sealed", "f", None, False, now(), "a test", now(), now() + 24 * HOUR, None, None, None, 0
    )
    return row._replace(**changes)


def _call(outcome: str) -> CallRow:
    return CallRow(ILL.id, "taobao.trade.fullinfo.get", now(), 0.2, outcome, None, None)


def spoil(engine: Engine) -> None:
    """Let everything happen to the ill shops that an alert is for, through the code that it would come from."""
    with transaction(engine) as connection:
        # Counters count what is added while they are watched.
        store_calls(connection, [_call("TransientError")] * 400 + [_call("ok")] * 400)
        begin_watermark(connection, ILL.id, now() - 3 * HOUR)
        for day in due_history_days(now() - 3 * HOUR, now(), set()):
            mark_history_day(connection, ILL.id, day, 0)
        note_permit(connection, ILL.app_key, ILL.id, None, 3600)
        note_read(connection, ILL.app_key, "", 7.0)
        connection.execute(text("UPDATE sync.message_queue SET read_at = read_at - interval '3 hours' "
                                "WHERE app_key = :app"), {"app": ILL.app_key})  # fmt: skip
        say_announced(connection, ILL.id, "messages", [Announced("1", now(), -7200.0)])
        quarantine(connection, ILL.id, "taobao", "detail", [QuarantinedRecord("1", now(), "unreadable", "{}", now())])
        store_proof(connection, _proof(ILL.id, unsettled=2))
        store_proof(connection, _proof(LEFT.id, unsettled=0)._replace(day=day_of(now()) - timedelta(days=3)))
        connection.execute(text("UPDATE sync.reconciliation SET reconciled_at = reconciled_at - interval '2 days' "
                                "WHERE shop_id = :shop"), {"shop": LEFT.id})  # fmt: skip
        store_token(connection, _token(ILL.id, ends_at=now() + 240 * HOUR, next_refresh_at=now()))
        put_renewal_off(connection, ILL.id, now() + HOUR, "the platform did not answer")
        store_token(connection, _token(LEFT.id, app_key=LEFT.app_key))
        replace_drifts(
            connection, ILL.id, ["order"], [FieldDrift("order", "payment", "vanished", "", True, 200)], now()
        )
        raise_notice(connection, Notice(SILENT_LISTS, ILL.id, Severity.WARNING, "a", "b"))
        raise_notice(connection, Notice("kind", "a", Severity.ERROR, "a", "b"), at=now() - 3 * HOUR)
    breaker = Breaker(engine, ILL.app_key)
    for _ in range(30):
        breaker.record(breaker.admit(Kind.DETAIL, "a test"), failed=True)
    Budget(engine, LEFT.app_key, 100).ban(7200)


def spoil_runs(instance: dg.DagsterInstance) -> None:
    working_job.execute_in_process(instance=instance)
    assert not failing_job.execute_in_process(instance=instance, raise_on_error=False).success
    instance.create_run_for_job(working_job, status=DagsterRunStatus.STARTING)
    connection = psycopg2.connect(instance.run_storage.postgres_url)  # type: ignore[attr-defined]
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs SET create_timestamp = create_timestamp - interval '1 hour' WHERE status = 'STARTING'"
        )
    connection.close()
    instance.add_daemon_heartbeat(DaemonHeartbeat(now().timestamp() - 900, "SENSOR", "x"))


def close_to_all(postgres: EmbeddedServer, url: str) -> None:
    """Let a database refuse everybody, as one that is being restored."""
    name = url.split("?")[0].rsplit("/", 1)[-1]
    connection = psycopg2.connect(postgres.url("postgres").replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    connection.close()


def panels() -> list[str]:
    """Return every query of the dashboard, its variables filled in."""
    return [
        target["expr"].replace("$__rate_interval", "1m").replace("$shop", ".*")
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", [])
    ]


def _shops(folder: Path, played: Shop) -> None:
    fields = ("id", "platform", "gateway_url", "app_key", "app_secret", "session_key", "calls_per_minute")
    shops = [{name: getattr(shop, name) for name in fields if getattr(shop, name)} for shop in (played, ILL, LEFT)]
    (folder / "shops.yaml").write_text(json.dumps({"shops": shops}))


@NEEDS_PROMETHEUS
def test_every_rule_and_panel_works_and_every_alert_fires_on_its_fault(
    play: Play,
    engine: Engine,
    warehouse_url: str,
    postgres: EmbeddedServer,
    instance: dg.DagsterInstance,
    project_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORDER_PIPELINE_DATABASE_URL", warehouse_url.replace("+psycopg2", ""))
    _shops(project_folder, play.shop())
    access = play.access()
    expected = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
                if "alert" in rule}  # fmt: skip
    fired: dict[str, list[dict[str, str]]] = {}
    port = free_port()
    # Prometheus first: it takes five seconds to look for its target.
    with prometheus(project_folder, f"127.0.0.1:{port}") as server:
        pass_over(engine, access)
        hear(engine, access)
        with transaction(engine) as connection:
            store_proof(connection, _proof(access.shop.id, unsettled=0))
            store_calls(connection, [_call("ok")])
        with running("metrics", "--port", str(port)) as exporter:
            assert exporter.stdout is not None
            address = re.search(r"http://127\.0\.0\.1:\d+/metrics", exporter.stdout.readline())
            assert address, exporter.stdout.read()
            seen_twice = "count_over_time(order_pipeline_up[1m]) >= 2"
            wait_for(lambda: server.query(seen_twice) and not server.firing(), server.firing)
            spoil(engine)
            spoil_runs(instance)

            def gather(*alerts: str) -> bool:
                fired.update(server.firing())
                return set(alerts) <= set(fired)

            later = {"OrderPipelineShopPaused", "OrderPipelineFiguresMissing", "OrderPipelineWarehouseDown",
                     "OrderPipelineDagsterStorageDown", "OrderPipelineExporterDown"}  # fmt: skip
            wait_for(lambda: gather(*expected - later), lambda: expected - later - set(fired))
            for expression in panels():
                assert server.query(expression), f"no series: {expression}"
            text_served = requests.get(address[0], timeout=60).text

            with transaction(engine) as connection:
                begin_pause(connection, ILL.id, "f", "invalid session", "a test")
                # As when the exporter is of another version than the schema.
                connection.execute(text("ALTER TABLE sync.notice RENAME COLUMN kind TO sort"))
            wait_for(lambda: gather("OrderPipelineShopPaused", "OrderPipelineFiguresMissing"), lambda: set(fired))
            # A shop that is paused on purpose is not late as well.
            wait_for(lambda: "OrderPipelineShopStale" not in server.firing(), server.firing)

            engine.dispose()
            close_to_all(postgres, warehouse_url)
            close_to_all(postgres, postgres.url("monitored_dagster"))
            down = ("OrderPipelineWarehouseDown", "OrderPipelineDagsterStorageDown")
            wait_for(lambda: gather(*down), lambda: set(fired))
            wait_for(lambda: server.query('up{job="order_pipeline"} == 1'), lambda: server.ask("targets"))
            assert "order_pipeline_shop_info{" in requests.get(address[0], timeout=60).text

            exporter.kill()
            wait_for(lambda: gather("OrderPipelineExporterDown"), lambda: set(fired))
            groups = server.ask("rules")["groups"]
            assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    assert set(fired) == expected
    alerts = [alert for found in fired.values() for alert in found]
    assert not [alert for alert in alerts if "<error" in alert["summary"] + alert["description"]]
    # Those that nothing happened to are left in peace, and nothing is told that is not monitoring's to tell.
    assert {alert["shop"] for alert in alerts if "shop" in alert} == {ILL.id, LEFT.id}
    played = play.shop()
    for secret in (played.app_secret, played.session_key, ILL.app_secret, "s-left", "invalid session", "unreadable"):
        assert secret not in text_served


@NEEDS_PROMETHEUS
def test_every_alert_is_quiet_before_and_fires_after_its_time() -> None:
    tested = subprocess.run(["promtool", "test", "rules", RULE_TESTS], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    cases: Mapping[str, Any] = {case["name"]: case for case in yaml.safe_load(RULE_TESTS.read_text())["tests"]}
    assert set(cases) == {rule["alert"] for rule in rules if "alert" in rule}
    for name, case in cases.items():
        quiet, fires = case["promql_expr_test"]
        assert name in quiet["expr"]
        assert not quiet["exp_samples"]
        assert all(name in sample["labels"] for sample in fires["exp_samples"]), name
        assert fires["exp_samples"], name
