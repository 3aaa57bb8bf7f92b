"""Runs as children of the code server, and the question whether it still has them.

Belongs here: telling a lost run from a long one. Not here: starting it (Dagster's own launcher does).
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from order_pipeline.launchers.connections import keep_connections

if TYPE_CHECKING:
    import dagster as dg

# A container is back within seconds, and then answers that it does not know the run. One that is away for longer
# does not come back at this address (as after a new dagster dev), and its runs went with it.
LONGEST_SILENCE_SECONDS = 120.0


class WatchedCodeServerLauncher(DefaultRunLauncher):
    """Dagster's default launcher, with a health check that it lacks: killing the code server kills its runs.

    Without the check they stay "started" until run_monitoring's longest time, two hours in which the sensors wait
    for them. With it run_monitoring fails them at its next look, and run_retries starts them again.
    """

    # Since when nobody answers at an address, by time.monotonic(); the daemon keeps one launcher while it runs.
    _silent_since: dict[str, float]

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Take up service; the daemon, which does this once, keeps its connections from now on."""
        super().register_instance(instance)
        keep_connections(instance)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Always: run_monitoring asks ``check_run_worker_health`` then."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Ask the code server that started the run. Runs of the command line, nobody's child, count as alive."""
        address = run.tags.get(GRPC_INFO_TAG)
        client = self._get_grpc_client_for_termination(run.run_id) if address else None  # type: ignore[no-untyped-call]
        if address is None or client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if not hasattr(self, "_silent_since"):
            self._silent_since = {}
        from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
        from dagster_shared.serdes import deserialize_value

        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id))
        except DagsterUserCodeUnreachableError:
            return self._unanswered(address)
        self._silent_since.pop(address, None)
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND, "the code server does not have this run: it was started again since, or it died"
        )

    def _unanswered(self, address: str) -> CheckRunHealthResult:
        silence = time.monotonic() - self._silent_since.setdefault(address, time.monotonic())
        if silence < LONGEST_SILENCE_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        place = json.loads(address)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND,
            f"the code server at {place.get('host')}:{place.get('port') or place.get('socket')} has not answered for "
            f"{silence:.0f} s",
        )
