"""From the bytes of an answer to the object inside its envelope (Taobao contract §1.4, §5.4).

Belongs here: every tolerance for the envelope, for lists and for JSON that is not quite JSON. Not here: what a
trade means (parsing.py), nor what an error code means (errors.py).

The rule of the room: an answer that is not a valid answer is a MalformedAnswerError, never "no data".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from order_pipeline.platforms.taobao.errors import ErrorResponse, error_response
from order_pipeline.traffic.errors import MalformedAnswerError

LOOK_AT_GATEWAY = "nothing to do unless it lasts; then look at what answers at gateway_url (a proxy, a login page?)"

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_FAST = msgspec.json.Decoder()

# A string (closed or not, so that the pattern stays linear on any text), or a token that JSON does not have.
_STRING_OR_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|-?\b(?:NaN|Infinity)\b', re.DOTALL)
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,100}")
_CONTROL = re.compile(r"[\x00-\x1f]")
_SHORT_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


class Envelope(msgspec.Struct, frozen=True):
    """A decoded answer.

    Attributes:
        payload: the object under the root key.
        request_id: the platform's number of the call.
        text: the answer as JSON text; raw control characters inside strings are escaped, NaN tokens quoted.
        text_is_clean: no string in it can hold a NUL or a lone surrogate, so nobody needs to look for them.

    """

    payload: dict[str, Any]
    request_id: str | None
    text: str
    text_is_clean: bool


class ListPayload(msgspec.Struct, frozen=True):
    """The rows of one page of a list, as they came; ``total_results`` only where the answer counts."""

    rows: list[Any]
    has_next: bool
    total_results: int | None


def root_key(method: str) -> str:
    """``taobao.time.get`` -> ``time_get_response``; other prefixes than taobao stay (§1.4)."""
    return method.removeprefix("taobao.").replace(".", "_") + "_response"


def decode(
    body: bytes,
    method: str,
    *,
    attempted: str,
    payload_keys: Collection[str] = (),
    hidden: Iterable[str] = (),
) -> Envelope | ErrorResponse:
    """Decode an answer.

    Args:
        body: the bytes of the answer, unpacked.
        method: the method that was called; it names the root key.
        attempted: for messages, the call and what it was about.
        payload_keys: keys by which a payload without root key (``simplify=true``) is recognised.
        hidden: secrets that must not be quoted from an error.

    Returns:
        The envelope, or the platform's refusal.

    Raises:
        MalformedAnswerError: the body is no answer of the contract.

    """
    text, answer, clean = _decode_json(body, attempted)
    if not isinstance(answer, dict):
        raise malformed(attempted, f"the answer is a JSON {_kind(answer)}, not an object")
    if "error_response" in answer:
        fields = answer["error_response"]
        if not isinstance(fields, dict):
            raise malformed(attempted, f"error_response is a {_kind(fields)}, not an object")
        return error_response(fields, hidden)
    key = root_key(method)
    if key in answer:
        payload = answer[key]
        if not isinstance(payload, dict):
            raise malformed(attempted, f"{key} is a {_kind(payload)}, not an object")
    elif any(name in answer for name in payload_keys):
        payload = answer
    else:
        raise malformed(attempted, f"the answer has no {key}")
    # Recordings have it inside the root object; beside it is accepted, too.
    request_id = payload.get("request_id", answer.get("request_id"))
    readable = isinstance(request_id, str) and _REQUEST_ID.fullmatch(request_id)
    return Envelope(payload, request_id if readable else None, text, clean)


def read_list(
    payload: dict[str, Any], field: str, element: str, *, page_no: int, page_size: int, attempted: str
) -> ListPayload:
    """Read one page of a list (§1.4 empty list, one-element list, simplify; §3.11 use_has_next).

    Args:
        payload: the object inside the envelope.
        field: the list's name, e.g. ``trades``.
        element: the name of its wrapper's key, e.g. ``trade`` (§1.5).
        page_no: which page this is; with ``page_size`` it tells from ``total_results`` whether more follows.
        page_size: how many rows were asked for.
        attempted: for messages.

    Raises:
        MalformedAnswerError: the answer does not say how it goes on, says that there are rows but brings none,
            or the list is none.

    """
    has_next = _read_flag(payload.get("has_next"), attempted)
    total = _read_count(payload.get("total_results"), attempted)
    if has_next is None and total is None:
        raise malformed(attempted, "the answer has neither has_next nor total_results")
    rows = unwrap_list(payload.get(field), element)
    if rows is None:
        raise malformed(attempted, f"{field} is a {_kind(payload.get(field))}, not a list")
    if not rows and has_next:
        raise malformed(attempted, "has_next is true, but the page is empty")
    if not rows and page_no == 1 and total:
        raise malformed(attempted, f"total_results is {total}, but the first page is empty")
    if has_next is None:
        # A gateway that does not know use_has_next counts instead (§3.11: the old official sandbox).
        has_next = bool(rows) and page_no * page_size < (total or 0)
    return ListPayload(rows, has_next, total)


def read_total(payload: dict[str, Any], field: str, element: str, *, attempted: str) -> int:
    """Read what a list counts, asked for one record of it. Raises MalformedAnswerError when it does not say."""
    page = read_list(payload, field, element, page_no=1, page_size=1, attempted=attempted)
    if page.total_results is None:
        raise malformed(attempted, "the counting call has no total_results")
    return page.total_results


def unwrap_list(value: object, element: str) -> list[Any] | None:
    """Take a list out of its wrapper, in each of the shapes of §1.4; None if it is no list in any of them.

    Absent, ``{}``, ``{"trade": null}``, ``{"trade": []}``, ``{"trade": [..]}``, ``{"trade": {..}}``, ``[..]``, a
    wrapper whose only key has another name, and one bare object.
    """
    if isinstance(value, dict):
        if not value:
            return []
        if element in value:
            inner = value[element]
            if inner is None:
                return []
            if isinstance(inner, list):
                return inner
            return [inner] if isinstance(inner, dict) else None
        if len(value) == 1:
            (inner,) = value.values()
            if isinstance(inner, list):
                return inner
        return [value]
    if value is None:
        return []
    return value if isinstance(value, list) else None


def parse_json(text: str) -> Any:
    """Read JSON text that stands inside an answer, raw control characters and all. Raises ValueError for any other."""
    try:
        return _FAST.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        pass
    try:
        return json.loads(_STRING_OR_TOKEN.sub(_mend, text), parse_float=_parse_float, parse_int=_parse_int)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _decode_json(body: bytes, attempted: str) -> tuple[str, Any, bool]:
    """Return the text, what it says, and whether no string in it can hold a NUL or a lone surrogate."""
    body = body.removeprefix(BYTE_ORDER_MARK)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise malformed(attempted, f"{len(body)} bytes that are not UTF-8 (byte {error.start})") from None
    try:
        # msgspec refuses lone surrogates and raw control characters; only an escaped NUL gets by.
        return text, _FAST.decode(body), "\\u0000" not in text
    except (msgspec.DecodeError, RecursionError):
        pass
    stripped = text.lstrip()
    if not stripped:
        raise malformed(attempted, f"{len(body)} bytes, but empty" if body else "empty")
    if stripped[0] == "<":
        raise malformed(attempted, f"{len(body)} bytes of HTML or XML instead of JSON")
    if "\x00" in text:
        raise malformed(attempted, f"{len(body)} bytes with NUL bytes among them")
    text = _STRING_OR_TOKEN.sub(_mend, text)
    try:
        answer = json.loads(text, parse_float=_parse_float, parse_int=_parse_int)
    except json.JSONDecodeError as error:
        raise malformed(attempted, f"{len(body)} bytes of broken JSON ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise malformed(attempted, f"{len(body)} bytes of JSON, nested too deeply") from None
    return text, answer, False


def _mend(match: re.Match[str]) -> str:
    found = match.group()
    if found[0] == '"':
        return _CONTROL.sub(_escape, found)
    return f'"{found}"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _SHORT_ESCAPES.get(character) or f"\\u{ord(character):04x}"


def _parse_float(text: str) -> float | str:
    # 1e999 would become infinity, which nothing behind us can store; as text it is kept and fails where it matters.
    number = float(text)
    return number if math.isfinite(number) else text


def _parse_int(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text  # more digits than Python converts


def _read_flag(value: object, attempted: str) -> bool | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int):
        flag = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
        if flag is not None:
            return flag
    raise malformed(attempted, f"has_next is a {_kind(value)} that means neither true nor false")


def _read_count(value: object, attempted: str) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    # Eighteen digits are far above any count and far below what slows int() down.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    raise malformed(attempted, f"total_results is a {_kind(value)} that is no count")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds: dict[type, str] = {dict: "object", list: "list", str: "text"}
    return kinds.get(type(value), "number")


def malformed(attempted: str, reason: str) -> MalformedAnswerError:
    """Build the error for an answer that is none; the reason describes it and never quotes it."""
    return MalformedAnswerError(attempted, f"what came back is no answer: {reason}", remedy=LOOK_AT_GATEWAY)
