"""The addressee of a trade, taken out of the answer before anything of it is kept (Taobao contract §4.8).

Belongs here: which fields tell it, and the answer without them. Not here: whether a shop keeps addressees
(configuration.py), where (warehouse/receivers.py).
"""

from __future__ import annotations

import json
import re
from typing import Any

from order_pipeline.platforms.protocol import Receiver
from order_pipeline.platforms.taobao.decoding import Envelope, root_key
from order_pipeline.platforms.taobao.fields import PERSONAL_FIELDS

# What is kept <- field of the answer. oaid comes only to those who ask for four of the others, and created (§3.4).
_FIELDS = {
    "buyer_nick": "buyer_nick",
    "name": "receiver_name",
    "mobile": "receiver_mobile",
    "phone": "receiver_phone",
    "address": "receiver_address",
    "town": "receiver_town",
    "zip": "receiver_zip",
    "oaid": "oaid",
}
RECEIVER_FIELDS = ",".join(_FIELDS.values())

# Postgres stores neither; an order must not fail for what its addressee's name holds.
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")


def take_receiver(envelope: Envelope, method: str) -> tuple[Receiver, str]:
    """Remove what tells the addressee from an answer's trade; return it, and the answer as text without it.

    The text says the same as the answer did otherwise, but is not the same to the letter.
    """
    trade = envelope.payload.get("trade")
    found: dict[str, Any] = {}
    if isinstance(trade, dict):
        found = {name: trade.pop(name) for name in PERSONAL_FIELDS & trade.keys()}
    receiver = Receiver(**{name: _text(found.get(field)) for name, field in _FIELDS.items()})
    # As ASCII where a text in it may hold what UTF-8 cannot.
    text = json.dumps({root_key(method): envelope.payload}, ensure_ascii=not envelope.text_is_clean)
    return receiver, text


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return _FORBIDDEN.sub("", str(value)) or None
