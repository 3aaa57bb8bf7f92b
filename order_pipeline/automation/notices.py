"""What tells people: of failed runs, of checks that turn red and green again, and the delivery of all notices.

Belongs here: what Dagster alone knows, turned into notices, and the clock of the delivery. Not here: delivering
(sync/notices.py), notices of other facts (raised where the fact is written).
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterEventType, EventLogRecord, EventRecordsFilter
from sqlalchemy import Connection, Engine

from order_pipeline import configuration
from order_pipeline.checks.notices import judge, notices_evaluation
from order_pipeline.configuration import ConfigurationError
from order_pipeline.notifications.addresses import open_notifiers
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.notices import deliver
from order_pipeline.sync.traffic_notices import raise_traffic_notices
from order_pipeline.warehouse.database import DatabaseUnreachableError, transaction
from order_pipeline.warehouse.notices import Notice, Severity, raise_notice, resolve_notice

NOTICE_SECONDS = 60
CHECK_SECONDS = 60
# A tick reads so many evaluations; a busy pipeline makes some ten in that time.
EVALUATIONS_A_TICK = 200

# Enough to know what it is about; the rest is in the run.
SHOWN_CHARACTERS = 500

RUN_FAILED = "run_failed"
CHECK_RED = "check_red"


@dg.sensor(
    minimum_interval_seconds=NOTICE_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Delivers the notices that wait: a digest a kind, to everything in ORDER_PIPELINE_NOTIFY_URL.",
)
def notices_sensor(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.SensorResult | dg.SkipReason:
    """Look at breakers and bans, deliver what waits, and keep the check of it as it is in truth."""
    try:
        said = [_look_at_traffic(shops, warehouse.engine), _deliver(warehouse.engine)]
        verdict = judge(warehouse.engine)
    except DatabaseUnreachableError as error:
        return dg.SkipReason(str(error))
    state = "late" if verdict.problem else "well"
    words = "; ".join(filter(None, said))
    if state == (context.cursor or "well"):
        return dg.SkipReason(words)
    context.log.info(words)
    return dg.SensorResult(asset_events=[notices_evaluation(verdict)], cursor=state)


def _deliver(engine: Engine) -> str:
    try:
        notifiers = open_notifiers(configuration.notify_urls())
    except ConfigurationError as error:
        # Notices wait until it is mended; the check says so too.
        return str(error)
    return "; ".join(delivery.words for delivery in deliver(engine, notifiers))


def _look_at_traffic(shops: ShopsResource, engine: Engine) -> str:
    """Raise what breakers and bans give cause for. Shops that cannot be opened must not hold other notices up."""
    try:
        return raise_traffic_notices(shops.open(engine), engine)
    except ConfigurationError as error:
        return str(error)


@dg.run_failure_sensor(
    minimum_interval_seconds=CHECK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Puts a notice into the outbox when a run fails; the same failure again within the hour only counts.",
)
def run_failures_sensor(context: dg.RunFailureSensorContext, warehouse: WarehouseResource) -> None:
    """Raise the notice. An error is Dagster's to try again."""
    notice = run_notice(context)
    with transaction(warehouse.engine) as connection:
        raise_notice(connection, notice)


def run_notice(context: dg.RunFailureSensorContext) -> Notice:
    """Return what to say of a failed run: job, assets, days, the first line of each error."""
    run = context.dagster_run
    problems = {}
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        # Failures that are meant for people carry their words; of other errors Dagster's wrapper says nothing.
        error = data.error.cause or data.error if data.error else None
        said = data.user_failure_data.description if data.user_failure_data else None
        problems[event.step_key or "the run"] = first_line(said or (error.message if error else ""))
    problems = problems or {"the run": first_line(context.failure_event.message or "")}
    tags = run.tags
    start, end = tags.get("dagster/asset_partition_range_start"), tags.get("dagster/asset_partition_range_end")
    days = tags.get("dagster/partition") or (f"{start} to {end}" if start else "")
    told = "\n".join(f"{step}: {problem}" for step, problem in problems.items())
    return Notice(
        RUN_FAILED,
        f"{run.job_name}: {', '.join(sorted(problems))}",
        Severity.ERROR,
        f"run of {run.job_name} failed{f' for {days}' if days else ''}",
        f"What happened: {told}\n"
        f"What it means: what this run should have loaded is not there yet; what was committed stays, and nothing is "
        f"lost: the next run begins where this one stopped.\n"
        f"What to do: nothing if the next run is green; otherwise open Runs, {run.run_id[:8]}, in Dagster, and "
        f"order-pipeline doctor.",
    )


@dg.sensor(
    minimum_interval_seconds=CHECK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Puts a notice into the outbox when an asset check turns red, and when it is green again.",
)
def check_notices_sensor(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SkipReason:
    """Read the evaluations since the last tick; what is red already is only counted."""
    after = int(context.cursor) if context.cursor else None
    records = evaluations_after(context.instance, after)
    if not records:
        return dg.SkipReason("no check was evaluated")
    try:
        with transaction(warehouse.engine) as connection:
            told = [note_evaluation(connection, record) for record in records]
    except DatabaseUnreachableError as error:
        return dg.SkipReason(str(error))
    context.update_cursor(str(records[-1].storage_id))
    return dg.SkipReason(
        f"{len(records)} evaluations: {told.count('red')} turned red, {told.count('green')} turned green"
    )


def evaluations_after(instance: dg.DagsterInstance, after: int | None) -> Sequence[EventLogRecord]:
    """Return evaluations of checks, oldest first: the next ones after a cursor, or without one the latest."""
    only = EventRecordsFilter(DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=after)
    # Of the storage, as the instance's method of the same name warns of Dagster 2.
    records = instance.event_log_storage.get_event_records(only, EVALUATIONS_A_TICK, ascending=after is not None)
    return records if after is not None else list(reversed(records))


def note_evaluation(connection: Connection, record: EventLogRecord) -> str:
    """Raise or end the notice of a check; return "red" or "green" when it turned, else nothing.

    Safe to repeat: what is not newer than what is known changes nothing.
    """
    event = record.event_log_entry.dagster_event
    assert event is not None  # noqa: S101 - the filter asked for this kind of event
    evaluation = event.asset_check_evaluation_data
    subject = f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}"
    at = datetime.fromtimestamp(record.timestamp, UTC)
    if evaluation.passed:
        title = f"check {evaluation.check_name} of {evaluation.asset_key.to_user_string()} is green again"
        body = "What it found before is gone; nothing is to be done."
        return "green" if resolve_notice(connection, CHECK_RED, subject, title=title, body=body, at=at) else ""
    return "red" if raise_notice(connection, check_notice(subject, evaluation), at=at) else ""


def check_notice(subject: str, evaluation: dg.AssetCheckEvaluation) -> Notice:
    """Return what to say of a check that is red, or yellow where it only warns."""
    warns = evaluation.severity == dg.AssetCheckSeverity.WARN
    days = f" ({evaluation.partition})" if evaluation.partition else ""
    meaning = (
        "something will need a person soon; the tables are not wrong for it"
        if warns
        else "the tables may lack or hold what they should not"
    )
    asset = evaluation.asset_key.to_user_string()
    return Notice(
        CHECK_RED,
        subject,
        Severity.WARNING if warns else Severity.ERROR,
        f"check {evaluation.check_name} of {asset} is {'yellow' if warns else 'red'}{days}",
        f"What happened: {(evaluation.description or 'it gave no description')[:SHOWN_CHARACTERS]}\n"
        f"What it means: {meaning}, until the check is green again.\n"
        f"What to do: open {asset}, Checks, {evaluation.check_name} in Dagster; it says what it looks at and how to "
        f"mend it.",
        quiet=None,
    )


def first_line(message: str) -> str:
    """Return the first line of an error, and not all of it where that is endless."""
    return next(iter(message.strip().splitlines()), "no reason was given")[:SHOWN_CHARACTERS]


notice_sensors = [notices_sensor, run_failures_sensor, check_notices_sensor]
