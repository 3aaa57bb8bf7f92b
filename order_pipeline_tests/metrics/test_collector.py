"""The exporter's figures, over real tables: what they say, and that they are said in time whatever a database does."""

from __future__ import annotations

import math
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text

from order_pipeline.configuration import Shop
from order_pipeline.metrics.catalogue import all_metrics
from order_pipeline.metrics.collector import PipelineCollector
from order_pipeline.sync.windows import HISTORY_DAYS, due_history_days
from order_pipeline.warehouse.calls import CallRow, store_calls
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.pauses import begin_pause
from order_pipeline.warehouse.watermarks import (
    FIELD_COUNTS,
    INCREMENTS,
    PRESALE_HOLDS,
    REFUND_CHANGES,
    STOCK_DRY_RUN,
    begin_watermark,
    mark_history_day,
)
from order_pipeline.warehouse.worklist import EPOCH, Announced, Outcome, Pending, say_announced, settle

ROOT = Path(__file__).parent.parent.parent
SHOP = Shop(id="a", platform="taobao", gateway_url="https://x", app_key="1", app_secret="geheim", calls_per_minute=600)
NOW = datetime.now(UTC)
# A port that nobody listens on.
NOWHERE = "postgresql+psycopg2://me:geheim@127.0.0.1:1/nowhere"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(collector: PipelineCollector) -> Samples:
    """Return every sample by its name and sorted labels, read from the text that Prometheus gets."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"order_pipeline_{name}", tuple(sorted(labels.items()))))


def scrape(engine: Engine, *shops: Shop) -> Samples:
    return scraped(PipelineCollector(engine, connect(NOWHERE), shops, HISTORY_DAYS))


def _call(seconds: float, outcome: str = "ok") -> CallRow:
    return CallRow("a", "m", NOW, seconds, outcome, None, None)


def test_calls_are_counted_by_outcome_and_laid_out_as_a_histogram(engine: Engine) -> None:
    with transaction(engine) as connection:
        store_calls(connection, [_call(0.04), _call(0.3), _call(99), _call(0.3, "NotFoundError")])
    found = scrape(engine)
    assert value(found, "calls_total", shop="a", method="m", outcome="ok") == 3
    assert value(found, "calls_total", shop="a", method="m", outcome="NotFoundError") == 1
    # There before the first one fails, or that one would be no increase.
    assert value(found, "calls_total", shop="a", method="m", outcome="TransientError") == 0
    buckets = [(bound, value(found, "call_seconds_bucket", shop="a", method="m", le=bound)) for bound in
               ("0.05", "0.2", "0.5", "30.0", "+Inf")]  # fmt: skip
    assert buckets == [("0.05", 1), ("0.2", 1), ("0.5", 3), ("30.0", 3), ("+Inf", 4)]
    assert value(found, "call_seconds_count", shop="a", method="m") == 4
    assert math.isclose(value(found, "call_seconds_sum", shop="a", method="m") or 0, 99.64)


def test_a_configured_shop_is_there_before_anything_happened_to_it(engine: Engine) -> None:
    found = scrape(engine, SHOP)
    assert value(found, "worklist_entries", shop="a", subject="orders", state="due") == 0
    assert value(found, "worklist_entries", shop="a", subject="refunds", state="due") == 0
    assert value(found, "quarantine_records", shop="a") == 0
    assert value(found, "shop_paused", shop="a") == 0
    assert value(found, "breaker_open", app="1") == 0
    assert value(found, "shop_info", shop="a", app="1", platform="taobao") == 1
    assert value(found, "budget_calls_per_minute", app="1") == 600
    assert "geheim" not in str(found)


def test_a_shop_that_was_taken_out_of_shops_yaml_is_not_reported_any_more(engine: Engine) -> None:
    with transaction(engine) as connection:
        begin_watermark(connection, "former", NOW)
        begin_pause(connection, "former", "f", "refused", "a test")
    assert not [labels for _, labels in scrape(engine, SHOP) if ("shop", "former") in labels]
    assert value(scrape(engine), "shop_paused", shop="former") == 1


def test_only_what_follows_the_platform_counts_as_fresh_or_not(engine: Engine) -> None:
    """How far a derivation is moves once a day, or when something changed: half an hour is not late for it."""
    with transaction(engine) as connection:
        for channel in (INCREMENTS, REFUND_CHANGES, PRESALE_HOLDS, STOCK_DRY_RUN, FIELD_COUNTS, "daily_sku_sales"):
            begin_watermark(connection, "a", NOW, channel)
    fresh = [
        dict(labels)["channel"] for name, labels in scrape(engine, SHOP) if name.endswith("fresh_timestamp_seconds")
    ]
    assert sorted(fresh) == [INCREMENTS, REFUND_CHANGES]


def test_the_worklist_is_as_old_as_what_is_due_longest(engine: Engine) -> None:
    waits = {"1": -700.0, "2": -5.0, "3": 900.0, "4": -9000.0}
    with transaction(engine) as connection:
        say_announced(connection, "a", "messages", [Announced(each, NOW, wait) for each, wait in waits.items()])
        # The platform does not serve it: nobody is late with it.
        taken = Pending("4", EPOCH, 1, 0, NOW)
        settle(connection, "a", [Outcome(taken, None, None, math.inf, "not served")])
    found = scrape(engine, SHOP)
    assert {
        state: value(found, "worklist_entries", shop="a", subject="orders", state=state)
        for state in ("due", "later", "unavailable")
    } == {"due": 2, "later": 1, "unavailable": 1}
    overdue = value(found, "worklist_overdue_seconds", shop="a", subject="orders")
    assert overdue is not None
    assert 700 <= overdue < 1_600


def test_parcels_that_stall_are_counted_by_rule_where_logistics_are_followed(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(
            text("""
                INSERT INTO core.logistics_alert
                    (shop_id, direction, tracking_number, rule, since, crossed_at, opened_at, closed_at)
                SELECT 'a', 'out', n::text, CASE WHEN n < 3 THEN 'S1' ELSE 'S2' END, now(), now(), now(),
                       CASE WHEN n = 4 THEN now() END
                FROM generate_series(1, 4) AS n
            """)
        )
    found = scrape(engine, SHOP)
    assert value(found, "logistics_alerts_open", shop="a", rule="S1") == 2
    assert value(found, "logistics_alerts_open", shop="a", rule="S2") == 1


def test_what_the_first_load_lacks_is_what_the_sensor_reckons(engine: Engine) -> None:
    began = datetime.now(UTC) - timedelta(days=10)
    loaded = due_history_days(began, datetime.now(UTC), set())[5:40]
    with transaction(engine) as connection:
        begin_watermark(connection, "a", began)
        for day in [*loaded, (began - timedelta(days=200)).date()]:
            mark_history_day(connection, "a", day, 1)
    # Midnight may fall in between.
    earlier = len(due_history_days(began, datetime.now(UTC), set(loaded)))
    found = value(scrape(engine), "first_load_missing_days", shop="a")
    assert found in {earlier, len(due_history_days(began, datetime.now(UTC), set(loaded)))}


def test_a_table_that_somebody_holds_costs_its_own_figures_only(engine: Engine) -> None:
    with transaction(engine) as holder:
        holder.execute(text("LOCK TABLE sync.quarantine IN ACCESS EXCLUSIVE MODE"))
        found = scrape(engine, SHOP)
    assert value(found, "up") == 1
    assert value(found, "figures_read", figures="quarantine") == 0
    assert value(found, "figures_read", figures="outbox") == 1
    assert value(found, "quarantine_records", shop="a") is None
    assert value(found, "notices_waiting") == 0


@contextmanager
def _silence() -> Iterator[int]:
    """Yield a port that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


def test_databases_that_are_away_or_silent_are_said_to_be_down_in_time(engine: Engine) -> None:
    with _silence() as port:
        silent = connect(f"postgresql+psycopg2://me:geheim@127.0.0.1:{port}/x?connect_timeout=60")
        collector = PipelineCollector(silent, connect(NOWHERE), [SHOP], HISTORY_DAYS, deadline_seconds=0.5)
        # Again while the first reading still hangs: it is joined, not piled upon.
        for _ in range(2):
            began = time.monotonic()
            found = scraped(collector)
            assert time.monotonic() - began < 20
            assert value(found, "up") == value(found, "dagster_up") == 0
            assert value(found, "shop_info", shop="a", app="1", platform="taobao") == 1
    assert value(scrape(engine, SHOP), "up") == 1


def test_the_documentation_names_every_metric_and_every_alert_and_no_others() -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    rules = (ROOT / "deploy/prometheus/rules/order_pipeline.yml").read_text()
    named = set(re.findall(r"^\| `(order_pipeline_\w+)", page, re.MULTILINE))
    assert named == {metric.full_name for metric in all_metrics()}
    alerts = set(re.findall(r"^\| `(OrderPipeline\w+)`", page, re.MULTILINE))
    assert alerts == set(re.findall(r"- alert: (\w+)", rules))
    for metric in all_metrics():
        assert metric.meaning in page, f"docs/monitoring.md says otherwise of {metric.full_name}"


def test_rules_and_dashboard_use_metrics_that_exist() -> None:
    names = {metric.full_name for metric in all_metrics()}
    for path in ("deploy/prometheus/rules/order_pipeline.yml", "deploy/grafana/dashboards/order-pipeline.json"):
        used = set(re.findall(r"\border_pipeline_\w+\b(?![\w/:])(?=[\s{\[)(])", (ROOT / path).read_text()))
        assert {name.removesuffix("_bucket") for name in used} <= names | set(_GROUPS), path


# Names of groups of rules look alike.
_GROUPS = ("order_pipeline_rates", "order_pipeline_monitoring", "order_pipeline_orders", "order_pipeline_platform",
           "order_pipeline_runs")  # fmt: skip
