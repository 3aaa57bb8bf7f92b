"""From what was read to what Prometheus is told.

Belongs here: turning readings into families of samples. Not here: names (catalogue.py), waiting (reading.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from order_pipeline.configuration import Shop
from order_pipeline.metrics import catalogue, dagster_storage
from order_pipeline.metrics.catalogue import Subject
from order_pipeline.metrics.reading import DEADLINE_SECONDS, Query, Readings, Source
from order_pipeline.traffic.breaker_rule import DEFAULT_BREAKER
from order_pipeline.traffic.call_log import OK
from order_pipeline.traffic.errors import MalformedAnswerError, ThrottledError, TransientError
from order_pipeline.warehouse import figures
from order_pipeline.warehouse.call_counts import BOUNDS, CallCount, counted_calls

_CALLS = "calls"
# A counter that appears with its first failure has not increased, by Prometheus' reckoning.
ALWAYS_SHOWN = (OK, *(error.__name__ for error in (TransientError, MalformedAnswerError, ThrottledError)))


class PipelineCollector(Collector):
    """Reads both databases anew for every scrape; what cannot be read is left out, and said to be so."""

    def __init__(
        self,
        warehouse: Engine,
        dagster: Engine,
        shops: Sequence[Shop],
        history_days: int,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            warehouse: where the figures of the pipeline are.
            dagster: where those of its runs are.
            shops: of shops.yaml; none: whatever the tables hold.
            history_days: how far back the platform lists, and so days are proven and mended.
            deadline_seconds: what has not come by then is left out.

        """
        self._shops = tuple(shops)
        self._deadline_seconds = deadline_seconds
        parameters = {
            "shops": [shop.id for shop in shops],
            "apps": sorted({shop.app_key for shop in shops}),
            "history_days": history_days,
            "breaker_window": DEFAULT_BREAKER.window_seconds,
        }
        self._warehouse = Source(
            "the warehouse",
            warehouse,
            [
                Query(_CALLS, counted_calls),
                *(
                    Query(name, partial(figures.read_figures, subject=name, parameters=parameters))
                    for name in catalogue.WAREHOUSE
                ),
            ],
        )
        self._dagster = Source(
            "Dagster's storage",
            dagster,
            [Query(name, partial(dagster_storage.read_figures, subject=name)) for name in catalogue.DAGSTER],
        )

    def collect(self) -> Iterator[Metric]:
        """Yield everything that is known, within the deadline."""
        began = time.monotonic()
        deadline = began + self._deadline_seconds
        # Both at once: one that hangs takes nothing from the other.
        readings = self._warehouse.begin(), self._dagster.begin()
        warehouse = self._warehouse.finish(readings[0], deadline)
        dagster = self._dagster.finish(readings[1], deadline)
        yield _gauge(catalogue.UP, float(warehouse.answered))
        yield _gauge(catalogue.DAGSTER_UP, float(dagster.answered))
        yield _read(warehouse, dagster)
        yield from _configured(self._shops)
        if _CALLS in warehouse.results:
            yield from _calls(warehouse.results[_CALLS])
        yield from _families(catalogue.WAREHOUSE, warehouse.results)
        yield from _families(catalogue.DAGSTER, dagster.results)
        yield _gauge(catalogue.READ_SECONDS, time.monotonic() - began)


def _gauge(metric: catalogue.Metric, value: float) -> Metric:
    return GaugeMetricFamily(metric.full_name, metric.meaning, value)


def _read(*readings: Readings) -> Metric:
    family = GaugeMetricFamily(catalogue.FIGURES_READ.full_name, catalogue.FIGURES_READ.meaning, labels=("figures",))
    for reading in readings:
        for name in (*reading.results, *reading.failed):
            family.add_metric((name,), float(name in reading.results))
    return family


def _configured(shops: Iterable[Shop]) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        catalogue.SHOP_INFO.full_name, catalogue.SHOP_INFO.meaning, labels=("shop", "app", "platform")
    )
    limits: dict[str, int] = {}
    for shop in shops:
        info.add_metric((shop.id, shop.app_key, shop.platform), 1)
        if shop.calls_per_minute:
            # Shops of one app share its budget; where they disagree the smaller one is what holds.
            limits[shop.app_key] = min(shop.calls_per_minute, limits.get(shop.app_key, shop.calls_per_minute))
    yield info
    budget = GaugeMetricFamily(catalogue.BUDGET_LIMIT.full_name, catalogue.BUDGET_LIMIT.meaning, labels=("app",))
    for app, limit in limits.items():
        budget.add_metric((app,), limit)
    yield budget


def _calls(counts: Sequence[CallCount]) -> Iterator[Metric]:
    total = CounterMetricFamily(
        catalogue.CALLS.full_name, catalogue.CALLS.meaning, labels=("shop", "method", "outcome")
    )
    by_outcome: dict[tuple[str, str, str], int] = {}
    by_method: dict[tuple[str, str], dict[float, int]] = {}
    seconds: dict[tuple[str, str], float] = {}
    for count in counts:
        method = (count.shop_id, count.method)
        for outcome in ALWAYS_SHOWN:
            by_outcome.setdefault((*method, outcome), 0)
        by_outcome[*method, count.outcome] = by_outcome.get((*method, count.outcome), 0) + count.calls
        bounds = by_method.setdefault(method, {})
        bounds[count.up_to] = bounds.get(count.up_to, 0) + count.calls
        seconds[method] = seconds.get(method, 0.0) + count.seconds
    for labels, calls in by_outcome.items():
        total.add_metric(labels, calls)
    yield total
    # The same bounds for all, or they could not be added up.
    all_bounds = sorted({*BOUNDS, *(bound for bounds in by_method.values() for bound in bounds)})
    histogram = HistogramMetricFamily(
        catalogue.CALL_SECONDS.full_name, catalogue.CALL_SECONDS.meaning, labels=("shop", "method")
    )
    for method, bounds in by_method.items():
        reached = 0
        buckets = []
        for bound in all_bounds:
            reached += bounds.get(bound, 0)
            buckets.append(("+Inf" if bound == math.inf else str(bound), float(reached)))
        histogram.add_metric(method, buckets, seconds[method])
    yield histogram


def _families(subjects: Mapping[str, Subject], results: Mapping[str, list[dict[str, Any]]]) -> Iterator[Metric]:
    for name, subject in subjects.items():
        if name not in results:
            continue
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for metric in subject.metrics:
            labels = (*subject.labels, *([metric.fixed[0]] if metric.fixed else []))
            made = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
            family = families.setdefault(metric.name, made(metric.full_name, metric.meaning, labels=labels))
            fixed = [metric.fixed[1]] if metric.fixed else []
            for row in results[name]:
                if row[metric.column] is not None:
                    family.add_metric((*(str(row[label]) for label in subject.labels), *fixed), row[metric.column])
        yield from families.values()
