"""What the tests of the whole deployment share. They take minutes: make test-stack, make test-celery."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from order_pipeline_tests.deployment.stack import make_image

ON_DEMAND = pytest.mark.skipif(
    not os.environ.get("ORDER_PIPELINE_STACK"), reason="takes minutes; on demand: make test-stack, make test-celery"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the database's user can reach, as pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="order-pipeline-stack-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """The image's programs, made by the Dockerfile's instructions; ORDER_PIPELINE_IMAGE keeps them."""
    kept = os.environ.get("ORDER_PIPELINE_IMAGE")
    if kept:
        if not (Path(kept) / "venv").exists():
            make_image(Path(kept))
        yield Path(kept) / "venv" / "bin"
        return
    with tempfile.TemporaryDirectory(prefix="order-pipeline-image-") as name:
        yield make_image(Path(name))
