"""Several calls in one request: /router/batch (contract 1.6).

Belongs here: taking a batch apart and putting its answers together. Not here: a single call (``protocol``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

from order_pipeline.sandbox.errors import PlatformError, invalid_argument
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.protocol import Answer, admit, caller_of, form_of, perform, refuse

Found = TypeVar("Found")

SEPARATOR = "\r\n-S-\r\n"
# Contract 1.6: the maximum is not established; 20 is what clients stay below.
MAXIMUM_CALLS = 20

_SHARED = "#PUBLIC#"
_NO_PARAMETERS = "N"


def answer_batch(
    marketplace: Marketplace, verb: str, system: Mapping[str, str], body: str, separator: str = SEPARATOR
) -> Answer:
    """Answer every call of ``body`` in its order; ``system`` are the parameters of the query.

    A batch that is refused as a whole is one piece, the error. A call that fails does not touch the others.
    """
    faults, form = marketplace.faults, form_of(system)
    segments = _segments(body, separator)
    # A fault of the wire that is meant for one of the calls strikes the request that holds it.
    meant = [] if faults.is_quiet else [(call.get("method", ""), caller_of(marketplace, call)) for call in segments]
    held = list(dict.fromkeys(meant))
    # The platform works on the calls of a request at once: it takes as long as the slowest.
    delay = max((faults.delay_seconds(*call) for call in meant), default=0.0)
    delivery = _first(faults.delivery(*call) for call in held)
    if damage := _first(faults.outage(*call) for call in held):
        return Answer(damage.body, damage.content_type, damage.status, delay)
    with marketplace.looking() as now_ms:
        try:
            shops = admit(marketplace, verb, system, now_ms // 1000, body)
            calls = _admitted(segments)
            if refusal := faults.batch_refusal():
                raise refusal
        except PlatformError as error:
            text = refuse(marketplace, error, form)
        else:
            pieces = [perform(marketplace, shops, {**system, **call}, now_ms, form) for call in calls]
            text = separator.encode().join(faults.mixed_up(pieces))
    for method, shop_id in held:
        text = faults.damaged(method, text, shop_id)
    return Answer(text, form.content_type, 200, delay, delivery)


def _segments(body: str, separator: str) -> list[dict[str, str]]:
    """Return each call's own and shared parameters."""
    segments = body.split(separator) if body else []
    shared: dict[str, str] = {}
    if segments and segments[0].startswith(_SHARED):
        shared = _parameters(segments.pop(0).removeprefix(_SHARED))
    return [shared | _parameters(segment) for segment in segments]


def _admitted(calls: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the calls. PlatformError 41 for none or too many."""
    if not 1 <= len(calls) <= MAXIMUM_CALLS:
        raise invalid_argument("batch")
    return calls


def _first(found: Iterable[Found | None]) -> Found | None:
    return next((each for each in found if each), None)


def _parameters(segment: str) -> dict[str, str]:
    return {} if segment == _NO_PARAMETERS else dict(parse_qsl(segment, keep_blank_values=True))
