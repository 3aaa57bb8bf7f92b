"""Every fault the sandbox knows, with what it strikes and how it is set (contract 5.4, 7 and 8).

Belongs here: the one table of faults and the settings of a fault. Not here: when one strikes (``faults``), what
it does to a record (``spoiling``). ``GET /sandbox/faults`` shows this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

LATENCY = "latency"
HTTP_ERROR = "http_error"
HTML = "html"
EMPTY_BODY = "empty_body"
TRUNCATED = "truncated"
TRUNCATED_GZIP = "truncated_gzip"
SHORT_BODY = "short_body"
CONNECTION_RESET = "connection_reset"
SLOW_BODY = "slow_body"
BAN = "ban"
ISP = "isp"
SESSION_EXPIRED = "session_expired"
BATCH_REFUSED = "batch_refused"
BATCH_MIXED_UP = "batch_mixed_up"
WRONG_TOTAL = "wrong_total"
HAS_NEXT_FOREVER = "has_next_forever"
REPEATED_PAGE = "repeated_page"
EMPTY_PAGE = "empty_page"
STALE_LIST = "stale_list"
STALE_DETAIL = "stale_detail"
ARRIVAL_DELAY = "arrival_delay"
CONTROL_CHARACTERS = "control_characters"
POISON = "poison"
ODD_RECORD = "odd_record"
UNKNOWN_OUTCOME = "unknown_outcome"
ODD_STOCK = "odd_stock"
MESSAGE_LOST = "message_lost"
MESSAGE_REPEATED = "message_repeated"
MESSAGE_HELD = "message_held"
MESSAGE_SPOILT = "message_spoilt"

# Records that no client can load as they are.
POISONS = ("nul", "lone_surrogate", "no_orders", "money_text", "money_nan", "huge_tid")
# Records that are unlike the documentation, but which a client may or may not be able to load.
ODDITIES = (
    "unknown_value",
    "unknown_field",
    "ids_as_text",
    "numbers_as_text",
    "money_as_number",
    "null_values",
    "missing_fields",
    "bad_date",
    "huge_field",
    "absurd_numbers",
    "text_for_list",
)
STOCK_ODDITIES = ("negative", "text", "huge", "missing")
MESSAGE_SPOILS = ("unknown_topic", "broken_content", "unknown_seller", "ids_as_text")

_CALLS, _RECORDS, _CHANGES, _MESSAGES = "calls", "records", "changes", "messages"


class FaultKind(msgspec.Struct, frozen=True):
    """One row of the table. ``strikes`` says what ``rate`` is a share of; ``kinds`` begins with the default."""

    name: str
    strikes: str
    description: str
    options: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


def _table(*rows: FaultKind) -> Mapping[str, FaultKind]:
    return MappingProxyType({row.name: row for row in rows})


CATALOGUE = _table(
    FaultKind(LATENCY, _CALLS, "the answer is held back", ("milliseconds",)),
    FaultKind(HTTP_ERROR, _CALLS, "an HTTP error with an HTML page answers instead of the gateway", ("status",)),
    FaultKind(HTML, _CALLS, "an HTML page answers with HTTP 200"),
    FaultKind(EMPTY_BODY, _CALLS, "an empty body answers with HTTP 200"),
    FaultKind(TRUNCATED, _CALLS, "the text is cut after two thirds; the HTTP message is in order"),
    FaultKind(TRUNCATED_GZIP, _CALLS, "the compressed body is cut after two thirds; only for who accepts gzip"),
    FaultKind(SHORT_BODY, _CALLS, "the connection closes before the announced content-length has come"),
    FaultKind(
        CONNECTION_RESET,
        _CALLS,
        "the connection is reset, without any answer or in the middle of the body",
        kinds=("before", "midway"),
    ),
    FaultKind(
        SLOW_BODY,
        _CALLS,
        "the body trickles, one byte each so many milliseconds, or headers come and then nothing for ever",
        ("milliseconds",),
        ("trickle", "silence"),
    ),
    FaultKind(
        BAN,
        _CALLS,
        "code 7; then every call (of the named method or shop) is refused for so many (real) seconds",
        ("seconds",),
        ("app", "api"),
    ),
    FaultKind(
        ISP, _CALLS, "code 15 with a retryable isp sub_code", kinds=("timeout", "data_fetch_failed", "unavailable")
    ),
    FaultKind(
        UNKNOWN_OUTCOME,
        _CALLS,
        "a method that writes answers with a timeout, although it was (or was not) carried out",
        kinds=("done", "not_done"),
    ),
    FaultKind(SESSION_EXPIRED, _CALLS, "code 27, session-expired, although the session is good"),
    FaultKind(
        BATCH_REFUSED,
        _CALLS,
        "several calls in one request are refused as a whole: not permitted to the app, or as too many",
        kinds=("permission", "too_many"),
    ),
    FaultKind(
        BATCH_MIXED_UP,
        _CALLS,
        "of several calls in one request, the last answer is missing, or the answers come the other way round",
        kinds=("fewer", "reordered"),
    ),
    FaultKind(WRONG_TOTAL, _CALLS, "total_results is off by one", kinds=("either", "more", "less")),
    FaultKind(HAS_NEXT_FOREVER, _CALLS, "has_next is always true"),
    FaultKind(REPEATED_PAGE, _CALLS, "the page before the wanted one comes (the first page stays itself)"),
    FaultKind(
        EMPTY_PAGE,
        _CALLS,
        "a page without rows whose total stays, or a list that says it is empty",
        (),
        ("page", "list"),
    ),
    FaultKind(STALE_LIST, _CALLS, "lists show the shop as it was so many seconds ago", ("seconds",)),
    FaultKind(
        STALE_DETAIL,
        _CHANGES,
        "for so many seconds after a change the details are those before it (of a new order: not found)",
        ("seconds",),
    ),
    FaultKind(
        ARRIVAL_DELAY,
        _CHANGES,
        "a change comes into the lists of orders so many seconds after its modified (async_modified tells when); "
        "details show it at once. What happened while the fault was on stays late after it is off",
        ("seconds",),
    ),
    FaultKind(CONTROL_CHARACTERS, _RECORDS, "raw control characters inside a text"),
    FaultKind(POISON, _RECORDS, "a record that cannot be loaded", kinds=POISONS),
    FaultKind(ODD_RECORD, _RECORDS, "a record unlike the documentation", kinds=ODDITIES),
    FaultKind(ODD_STOCK, _RECORDS, "an item or SKU whose stock cannot be true", kinds=STOCK_ODDITIES),
    FaultKind(MESSAGE_LOST, _MESSAGES, "a message is never delivered"),
    FaultKind(
        MESSAGE_REPEATED, _MESSAGES, "a message comes once more after so many seconds, confirmed or not", ("seconds",)
    ),
    FaultKind(
        MESSAGE_HELD, _MESSAGES, "a message comes so many seconds late, so that later ones come first", ("seconds",)
    ),
    FaultKind(MESSAGE_SPOILT, _MESSAGES, "a message that names nothing known", kinds=MESSAGE_SPOILS),
)


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault that is switched on, with the settings that ``CATALOGUE`` names for it.

    ``rate`` is the share of calls, records, changes or messages it strikes, drawn from ``seed``; ``method`` and
    ``shop`` narrow it, and it strikes ``count`` times at most. ``kind`` is one of the kinds in the table (empty: the
    first). ``label`` tells several of one name apart; without one a fault replaces the other of its name.
    """

    name: str
    rate: float = 1.0
    seed: int = 0
    method: str | None = None
    shop: str | None = None
    milliseconds: int = 200
    status: int = 502
    seconds: int = 2
    kind: str = ""
    count: int | None = None
    label: str = ""

    def __post_init__(self) -> None:
        row = CATALOGUE.get(self.name)
        if row is None:
            raise ValueError(f"no fault {self.name!r}; there are {sorted(CATALOGUE)}")
        if self.kind and self.kind not in row.kinds:
            raise ValueError(f"no {self.name} of kind {self.kind!r}; there are {list(row.kinds)}")
        if not 0 <= self.rate <= 1:
            raise ValueError("rate is a share between 0 and 1")
        if self.seconds < 0 or self.milliseconds < 0 or (self.count is not None and self.count < 0):
            raise ValueError("seconds, milliseconds and count are not negative")

    @property
    def chosen(self) -> str:
        """The kind that is meant: the given one or the table's first."""
        kinds = CATALOGUE[self.name].kinds
        return self.kind or (kinds[0] if kinds else "")
