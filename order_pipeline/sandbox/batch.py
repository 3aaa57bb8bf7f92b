"""Several calls in one request: /router/batch (contract 1.6).

Belongs here: taking a batch apart and putting its answers together. Not here: a single call (``protocol``).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from order_pipeline.sandbox.errors import PlatformError, invalid_argument
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.protocol import Answer, admit, form_of, perform, refuse

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
    delay, delivery = marketplace.faults.delay_seconds(""), marketplace.faults.delivery("")
    if damage := marketplace.faults.outage(""):
        return Answer(damage.body, damage.content_type, damage.status, delay)
    form = form_of(system)
    with marketplace.looking() as now_ms:
        try:
            shops = admit(marketplace, verb, system, now_ms // 1000, body)
            calls = read_calls(body, separator)
        except PlatformError as error:
            text = refuse(marketplace, error, form)
        else:
            pieces = [perform(marketplace, shops, {**system, **call}, now_ms, form) for call in calls]
            text = separator.encode().join(pieces)
    return Answer(marketplace.faults.damaged("", text), form.content_type, 200, delay, delivery)


def read_calls(body: str, separator: str = SEPARATOR) -> list[dict[str, str]]:
    """Return each call's own and shared parameters. PlatformError 41 for none or too many calls."""
    segments = body.split(separator) if body else []
    shared: dict[str, str] = {}
    if segments and segments[0].startswith(_SHARED):
        shared = _parameters(segments.pop(0).removeprefix(_SHARED))
    if not 1 <= len(segments) <= MAXIMUM_CALLS:
        raise invalid_argument("batch")
    return [shared | _parameters(segment) for segment in segments]


def _parameters(segment: str) -> dict[str, str]:
    return {} if segment == _NO_PARAMETERS else dict(parse_qsl(segment, keep_blank_values=True))
