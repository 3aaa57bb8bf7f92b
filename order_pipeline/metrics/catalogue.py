"""Every metric: its name, its labels and what it means.

Belongs here: names and texts, and which column of which query a metric is. Not here: the queries (warehouse/figures.py,
dagster_storage.py), their reading (collector.py). docs/monitoring.md lists the same, and a test holds them together.

Labels are names of shops (shops.yaml), app keys, and words from the code; never a person's data, never a secret. What
happened at a moment is given as that moment, so that it goes on ageing while nobody can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PREFIX = "order_pipeline_"


class Metric(NamedTuple):
    """One figure.

    Attributes:
        name: without PREFIX; a counter's ends in ``_total``.
        column: of the subject's query; where it is empty there is no sample.
        meaning: one sentence.
        fixed: a label that this column stands for, with its value.

    """

    name: str
    column: str
    meaning: str
    fixed: tuple[str, str] | None = None

    @property
    def full_name(self) -> str:
        """The name as Prometheus has it."""
        return PREFIX + self.name

    @property
    def is_counter(self) -> bool:
        """Whether it only ever grows."""
        return self.name.endswith("_total")


class Subject(NamedTuple):
    """What one query brings: the columns that are labels, and the metrics."""

    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]


_ENTRIES = "What waits on the worklist: due now, later, or unavailable (the platform does not serve it)."
_DIFFERENCES = "Differences that the latest proofs of the last 90 days found, before mending and (unsettled) after it."

WAREHOUSE: Mapping[str, Subject] = {
    "worklist": Subject(
        ("shop", "subject"),
        (
            Metric("worklist_entries", "due", _ENTRIES, ("state", "due")),
            Metric("worklist_entries", "later", _ENTRIES, ("state", "later")),
            Metric("worklist_entries", "unavailable", _ENTRIES, ("state", "unavailable")),
            Metric("worklist_overdue_seconds", "overdue_seconds", "How long the longest due entry has been due."),
            Metric("worklist_age_seconds", "age_seconds", "Since when the oldest entry has been waiting in all."),
        ),
    ),
    "freshness": Subject(
        ("shop", "channel"),
        (
            Metric(
                "fresh_timestamp_seconds",
                "fresh_at",
                "Lists: every change up to then is in the tables. Messages: their queue was last read then.",
            ),
        ),
    ),
    "messages": Subject(
        ("app",),
        (
            Metric("messages_lag_seconds", "lag_seconds", "From publication to receipt, of the last messages read."),
            Metric("messages_failures", "failures", "Failures in a row to read the queue of messages."),
        ),
    ),
    "first_load": Subject(
        ("shop",),
        (Metric("first_load_missing_days", "missing_days", "Days of creation that the first load has yet to bring."),),
    ),
    "breakers": Subject(
        ("app",),
        (
            Metric("breaker_open", "is_open", "1 while the breaker of the app key is open."),
            Metric("breaker_openings_total", "openings", "How often it opened."),
            Metric("breaker_window_calls", "window_calls", "Calls that it counted in the last 5 minutes."),
            Metric("breaker_window_failures", "window_failures", "Those of them that failed."),
        ),
    ),
    "budgets": Subject(
        ("app",),
        (
            Metric("budget_ban_seconds", "ban_seconds", "How much longer the platform refuses the app's calls."),
            Metric("budget_booked_seconds", "booked_seconds", "How far ahead the departures of calls are taken."),
        ),
    ),
    "drift": Subject(
        ("shop", "drift"),
        (
            Metric(
                "field_drift",
                "fields",
                "Fields of answers that are unknown, or that have a column and vanished or came in another type.",
            ),
        ),
    ),
    "silence": Subject(
        ("shop",),
        (Metric("lists_silent", "is_silent", "1 while lists are empty where other days, or messages, say otherwise."),),
    ),
    "quarantine": Subject(
        ("shop",),
        (
            Metric("quarantine_records", "records", "Records that could not be read or loaded, and are not settled."),
            Metric("quarantine_oldest_timestamp_seconds", "oldest_at", "When the oldest of them was first seen."),
        ),
    ),
    "proofs": Subject(
        ("shop", "subject"),
        (
            Metric("proof_red_days", "red_days", "Days of the last 90 whose latest proof found a difference."),
            Metric("proof_differences", "missing", _DIFFERENCES, ("kind", "missing")),
            Metric("proof_differences", "stale", _DIFFERENCES, ("kind", "stale")),
            Metric("proof_differences", "extra", _DIFFERENCES, ("kind", "extra")),
            Metric("proof_differences", "unsettled", _DIFFERENCES, ("kind", "unsettled")),
            Metric("proof_timestamp_seconds", "proved_at", "When a day was last proven."),
        ),
    ),
    "sessions": Subject(
        ("shop",),
        (
            Metric("shop_paused", "is_paused", "1 while the shop is paused, as its session was refused."),
            Metric(
                "token_end_timestamp_seconds",
                "ends_at",
                "When the stored token ends; only of tokens that cannot be renewed.",
            ),
            Metric("token_renewal_failing", "renewal_fails", "1 while the last try to renew the token has failed."),
        ),
    ),
    "logistics": Subject(
        ("shop", "rule"),
        (Metric("logistics_alerts_open", "open", "Parcels that a rule of logistics has found stalled, by the rule."),),
    ),
    "notices": Subject(
        ("kind", "severity"), (Metric("notices_open", "open", "Notices to people whose matter is not over."),)
    ),
    "outbox": Subject(
        (),
        (
            Metric("notices_waiting", "waiting", "Notices that not every address has got."),
            Metric("notices_oldest_timestamp_seconds", "oldest_at", "When the oldest of them was raised."),
        ),
    ),
}
DAGSTER: Mapping[str, Subject] = {
    "runs": Subject(
        ("job", "state"),
        (
            Metric("runs", "runs", "Dagster's runs: unfinished ones, and those that ended in the last 24 hours."),
            Metric("run_end_timestamp_seconds", "ended_at", "When the latest of those that ended did so."),
        ),
    ),
    "open_runs": Subject(
        ("state",), (Metric("run_oldest_seconds", "oldest_seconds", "How long the oldest run has been in this state."),)
    ),
    "daemons": Subject(
        ("daemon",),
        (Metric("daemon_heartbeat_timestamp_seconds", "beat_at", "When each of Dagster's daemons last showed life."),),
    ),
}

CALLS = Metric("calls_total", "", "Calls to the platform, retries included, by outcome: ok, or the kind of error.")
CALL_SECONDS = Metric("call_seconds", "", "How long calls took (histogram).")
SHOP_INFO = Metric("shop_info", "", "1 for each shop of shops.yaml, with its app key and platform.")
BUDGET_LIMIT = Metric("budget_calls_per_minute", "", "Calls a minute that the app key is granted (shops.yaml).")
UP = Metric("up", "", "1 when the warehouse answered in time.")
DAGSTER_UP = Metric("dagster_up", "", "1 when Dagster's storage answered in time.")
FIGURES_READ = Metric("figures_read", "", "1 for each group of figures that could be read, 0 where the query failed.")
READ_SECONDS = Metric("read_seconds", "", "How long reading all figures took for this scrape.")


def all_metrics() -> list[Metric]:
    """Return every metric once, by its name."""
    found = [CALLS, CALL_SECONDS, SHOP_INFO, BUDGET_LIMIT, UP, DAGSTER_UP, FIGURES_READ, READ_SECONDS]
    found += [metric for subject in (*WAREHOUSE.values(), *DAGSTER.values()) for metric in subject.metrics]
    return list({metric.name: metric for metric in found}.values())
