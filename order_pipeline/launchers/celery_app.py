"""The Celery application of the workers: celery --app order_pipeline.launchers.celery_app worker.

Belongs here: the workers' settings and tasks. Not here: how runs get to them (dagster.celery.yaml).
"""

from __future__ import annotations

import os
import sys

from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

BROKER = "CELERY_BROKER_URL"
RESULTS = "CELERY_RESULT_BACKEND"


def _address(variable: str) -> str:
    address = os.environ.get(variable)
    if not address:
        print(
            f"order-pipeline: environment: {variable} is not set; write it as redis://host:6379/0, the same as in the "
            f"daemon's environment",
            file=sys.stderr,
        )
        sys.exit(2)
    return address


app = make_app(  # type: ignore[no-untyped-call]
    {
        "broker": _address(BROKER),
        "backend": _address(RESULTS),
        "config_source": {
            # A worker holds no more runs than it works at: with early acknowledgement it would reserve as many again,
            # and they would wait there while another worker has nothing to do.
            "worker_prefetch_multiplier": 1,
            "task_acks_late": True,
            # Longer than a run may take. What a dead worker held comes again after it, and Dagster ignores it, as the
            # run has been failed and started again long before.
            "broker_transport_options": {"visibility_timeout": 3 * 3600},
            "broker_connection_retry_on_startup": True,
            # A worker's children stay warm; what a library leaks in a thousand runs must not gather for ever.
            "worker_max_tasks_per_child": 200,
            "worker_hijack_root_logger": False,
            # Results are asked for while a run goes on, two hours at most.
            "result_expires": 6 * 3600,
        },
    }
)
execute_job = create_execute_job_task(app)
resume_job = create_resume_job_task(app)
