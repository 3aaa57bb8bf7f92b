"""One worker of the soak: python -m bench.soak_worker DATABASE_URL SANDBOX_URL."""

from __future__ import annotations

import logging
import sys

from bench.soak import keep_working
from bench.stage import Stage, opened

if __name__ == "__main__":
    database_url, sandbox_url = sys.argv[1:]
    # Retries by the hundred are what a soak is for.
    logging.disable(logging.ERROR)
    with opened(database_url) as engine:
        keep_working(Stage(sandbox_url, None).access(engine), engine)  # type: ignore[arg-type]
