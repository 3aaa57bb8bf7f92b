"""What any record of an answer has to be to be believed, whatever it is about, and how one that is not is kept.

Belongs here: what trades and refunds share. Not here: their fields (parsing.py, refund_parsing.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from order_pipeline.platforms.protocol import RejectedRecord
from order_pipeline.platforms.taobao.values import UnreadableError, read_id, read_moment

# Deeper than any documented field (service_tags has four levels); what nests deeper could not be written out again.
DEEPEST_EXTRA = 50

_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")


def read_record_field(record: object, field: str) -> str | None:
    """Read an id in a field of a record that may be broken, or None."""
    try:
        return read_id(record[field]) if isinstance(record, dict) else None
    except (KeyError, UnreadableError):
        return None


def read_record_moment(record: object, field: str) -> datetime | None:
    """Read the moment in a field of a record that may be broken, or None."""
    try:
        return read_moment(record.get(field)) if isinstance(record, dict) else None
    except UnreadableError:
        return None


def needed(value: Any) -> Any:
    """Return a value that must be there. Raises UnreadableError."""
    if value is None:
        raise UnreadableError("missing")
    return value


def not_negative(value: Any) -> Any:
    """Return an amount or a count, None included. Raises UnreadableError for one below zero."""
    if value is not None and value < 0:
        raise UnreadableError(f"{value} is negative")
    return value


def refuse_forbidden_characters(record: dict[str, Any]) -> None:
    """Raise UnreadableError: PostgreSQL stores neither NUL nor lone surrogates, in no column and in no JSONB."""
    waiting: list[Any] = [record]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if _FORBIDDEN.search(value):
                raise UnreadableError("a text in it holds a NUL character or a lone surrogate")
        elif isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def refuse_deep_values(extra: Mapping[str, Any]) -> None:
    """Raise UnreadableError for what nests deeper than could be written out again."""
    level = [value for value in extra.values() if value.__class__ is dict or value.__class__ is list]
    for _ in range(DEEPEST_EXTRA):
        if not level:
            return
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
    raise UnreadableError(f"a value in it is nested deeper than {DEEPEST_EXTRA} levels")


def rejected(
    record: object,
    reason: str,
    *,
    order_id: str | None = None,
    refund_id: str | None = None,
    personal: Collection[str] = (),
) -> RejectedRecord:
    """Return the record as it is kept, without the fields that are ``personal``."""
    if isinstance(record, dict):
        record = {name: value for name, value in record.items() if name not in personal}
    try:
        body = json.dumps(record)
    except (RecursionError, ValueError):
        body = json.dumps(f"a {type(record).__name__} nested too deeply to be written out; see the raw answer")
    return RejectedRecord(order_id, read_record_moment(record, "modified"), reason, body, refund_id)
