"""One worker of the soak: python -m bench.soak_worker DATABASE_URL SANDBOX_URL RETRIES_FILE."""

from __future__ import annotations

import logging
import os
import sys

from bench.soak import keep_working
from bench.stage import Stage, opened
from order_pipeline.traffic import retry


class ByteARetry(logging.Handler):
    """Adds a byte to a file for every retry, which stays there when this process is killed."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def emit(self, _record: logging.LogRecord) -> None:
        """Count one."""
        os.write(self._file, b".")


if __name__ == "__main__":
    database_url, sandbox_url, retries = sys.argv[1:]
    # Errors and retries by the hundred are what a soak is for.
    logging.getLogger().addHandler(logging.NullHandler())
    retry.logger.addHandler(ByteARetry(retries))
    retry.logger.propagate = False
    with opened(database_url) as engine:
        keep_working(Stage(sandbox_url, None).access(engine), engine)  # type: ignore[arg-type]
