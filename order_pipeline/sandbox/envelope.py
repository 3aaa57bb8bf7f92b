"""How answers are wrapped and written: JSON, simplified JSON, XML (contract 1.4).

Belongs here: root keys, request ids, escaping. Not here: what is inside (``methods``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from order_pipeline.sandbox.chance import mix

JSON_TYPE = "application/json;charset=UTF-8"
XML_TYPE = "text/xml;charset=UTF-8"
ERROR_ROOT = "error_response"

_HOST = "top-sandbox"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
# XML 1.0 cannot carry these at all, not even escaped.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_requests = itertools.count(1)


def request_id() -> str:
    """Thirteen letters and digits, never the same twice in a process."""
    number, text = mix(next(_requests), 41), ""
    for _ in range(13):
        number, digit = divmod(number, 36)
        text += _DIGITS[digit]
    return text


def root_key(method: str) -> str:
    """``taobao.trade.fullinfo.get`` -> ``trade_fullinfo_get_response``; other prefixes stay."""
    return method.removeprefix("taobao.").replace(".", "_") + "_response"


def write(root: str, fields: Mapping[str, Any], form: str, *, simplified: bool = False) -> bytes:
    """Write ``fields`` (which may hold ``msgspec.Raw`` JSON) under ``root`` in ``form``: "json" or "xml".

    Keys come alphabetically with request_id last. Errors keep their root when simplified.
    """
    content = {name: fields[name] for name in sorted(fields)}
    content["request_id"] = request_id()
    if form == "xml":
        return _write_xml(root, _decoded(content))
    if simplified and root != ERROR_ROOT:
        encoded = msgspec.json.encode(_simplified(_decoded(content)))
    else:
        encoded = msgspec.json.encode({root: content})
    return encoded.replace(b"/", b"\\/")


def _decoded(content: Mapping[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(content))


def _simplified(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) == 1:
            (inner,) = value.values()
            if isinstance(inner, list):
                return [_simplified(item) for item in inner]
        return {name: _simplified(item) for name, item in value.items()}
    return value


def _write_xml(root: str, content: Any) -> bytes:
    parts = ['<?xml version="1.0" encoding="utf-8" ?>']
    _element(parts, root, content)
    parts.append(f"<!--{_HOST}-->")
    return "".join(parts).encode()


def _element(parts: list[str], name: str, value: Any) -> None:
    if isinstance(value, dict):
        listed = len(value) == 1 and isinstance(next(iter(value.values())), list)
        parts.append(f'<{name} list="true">' if listed else f"<{name}>")
        for inner, item in value.items():
            for one in item if isinstance(item, list) else (item,):
                _element(parts, inner, one)
    else:
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        parts.append(f"<{name}>{escape(_NOT_XML.sub('', text))}")
    parts.append(f"</{name}>")
