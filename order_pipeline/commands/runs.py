"""Our jobs as Dagster runs from the command line: recorded in Dagster's storage, visible in its UI.

Belongs here: starting runs in this process, and clearing up after one that died. Not here: what to run when.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import dagster as dg
import psutil
from dagster import DagsterRunStatus, RunsFilter

# Which process a run lives in, so that the next command can tell a dead one from a busy one.
PROCESS_TAG = "order_pipeline/process"

# What Ctrl-C becomes inside a run.
INTERRUPTS = {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}


class RunOutcome(NamedTuple):
    """How a run ended: the failures in words, the names of checks that are red."""

    run_id: str
    success: bool
    failures: tuple[str, ...]
    red_checks: tuple[str, ...]


def run_job(
    instance: dg.DagsterInstance,
    job_name: str,
    days: Sequence[date],
    *,
    config: dict[str, dict[str, Any]] | None = None,
) -> RunOutcome:
    """Run a job for a span of days in this process. ``config``: run configuration by asset.

    Never raises for a failed step: the outcome names it.
    """
    from order_pipeline.definitions import defs

    first, last = days[0].isoformat(), days[-1].isoformat()
    single = first == last
    tags = {PROCESS_TAG: process_name()}
    if not single:
        tags |= {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    result = defs.resolve_job_def(job_name).execute_in_process(
        instance=instance,
        partition_key=first if single else None,
        tags=tags,
        run_config={"ops": {asset: {"config": values} for asset, values in (config or {}).items()}},
        raise_on_error=False,
    )
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    # A resource that does not come up fails the run before any step.
    errors += [event.job_failure_data.error for event in result.all_events if event.is_job_failure and not errors]
    if any(error and _is_interrupt(error) for error in errors):
        # Dagster has recorded the run's end; now ours.
        raise KeyboardInterrupt
    failures = tuple(_cause(error) if error else "the run failed; see its log in the UI" for error in errors)
    red = tuple(evaluation.check_name for evaluation in result.get_asset_check_evaluations() if not evaluation.passed)
    return RunOutcome(result.run_id, result.success, failures, red)


def clear_up(instance: dg.DagsterInstance) -> int:
    """Mark runs as failed whose process on this machine is gone; they would block the sensor for ever."""
    statuses = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED]
    cleared = 0
    for run in instance.get_runs(RunsFilter(statuses=statuses)):
        process = run.tags.get(PROCESS_TAG)
        if process and process.startswith(f"{socket.gethostname()}:") and not _is_alive(process):
            instance.report_run_failed(
                run, f"its process {process} is gone; what it stored stays, the next run goes on"
            )
            cleared += 1
    return cleared


def process_name(pid: int | None = None) -> str:
    """Return a process's name, this one's if left out: host, number and start, as numbers are used again."""
    process = psutil.Process(pid)
    return f"{socket.gethostname()}:{process.pid}:{int(process.create_time())}"


def _is_alive(process: str) -> bool:
    _host, pid, began = process.rsplit(":", 2)
    try:
        return int(psutil.Process(int(pid)).create_time()) == int(began)
    except psutil.NoSuchProcess:
        return False


def _is_interrupt(error: Any) -> bool:
    return error.cls_name in INTERRUPTS or (error.cause is not None and _is_interrupt(error.cause))


def _cause(error: Any) -> str:
    """Return the innermost message: Dagster wraps ours in its own."""
    message = error.message.strip()
    while error.cause is not None and error.cls_name != "Failure":
        error = error.cause
        message = error.message.strip()
    return str(message.removeprefix("dagster._core.definitions.events.Failure: "))
