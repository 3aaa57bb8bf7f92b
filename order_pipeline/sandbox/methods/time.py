"""The platform's clock: taobao.time.get (contract 3.9).

Belongs here: methods that need no shop and no order. Not here: the clock itself (``clock``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_pipeline.sandbox.clock import wall_text
from order_pipeline.sandbox.methods.contract import Context, Method


def time_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:  # noqa: ARG001
    """Return the platform's time as text, GMT+8."""
    return {"time": wall_text(context.now)}


METHODS = (Method("taobao.time.get", time_get, needs_session=False),)
