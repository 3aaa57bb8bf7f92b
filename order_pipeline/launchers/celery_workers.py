"""Runs as tasks of standing Celery workers, and the question whether one still works at them.

Belongs here: telling a lost run from a long one. Not here: starting it (dagster-celery's launcher does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.result import AsyncResult
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from order_pipeline.launchers.connections import keep_connections

if TYPE_CHECKING:
    import dagster as dg

# A worker's main process answers while its children work; it is away for this long only when it reconnects.
ANSWER_SECONDS = 5.0
QUESTIONS = 3


class WatchedCeleryLauncher(CeleryRunLauncher):
    """dagster-celery's launcher with a health check that notices a worker which died whole.

    Celery itself records only the death of a worker's child: a task whose whole worker was killed stays "started",
    and its run until run_monitoring's longest time. So the workers are asked what they are at.
    """

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Take up service; the daemon, which does this once, keeps its connections from now on."""
        super().register_instance(instance)
        keep_connections(instance)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Ask Celery's results, then the worker. Runs of the command line are no task: they count as alive."""
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task_id is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        result = AsyncResult(task_id, app=self.celery)
        if result.state == "FAILURE":
            return CheckRunHealthResult(WorkerStatus.FAILED, f"its Celery task failed: {result.result}")
        if result.state == "SUCCESS" or not self._is_at_work(result):
            # run_monitoring looks again whether the run has ended before it believes this.
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "no Celery worker is at it: its worker was killed")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _is_at_work(self, result: AsyncResult) -> bool:
        """Return whether a worker says that it is at the task; all are asked where it is not known whose it is."""
        told = result.info
        worker = told.get("hostname") if isinstance(told, dict) else None
        for _ in range(QUESTIONS):
            inspect = self.celery.control.inspect(destination=[worker] if worker else None, timeout=ANSWER_SECONDS)
            answers = inspect.active()
            if answers is not None:
                return any(task["id"] == result.id for tasks in answers.values() for task in tasks)
        return False
