"""The message service: permit, fetch, confirm (Taobao contract §3.9, §6).

Belongs here: its methods. Not here: how a message is read (messages.py), what is done about it (sync).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from order_pipeline.platforms.protocol import Answer, Message, MessageBatch
from order_pipeline.platforms.taobao.calls import TaobaoCalls
from order_pipeline.platforms.taobao.decoding import Envelope, malformed, read_list, unwrap_list
from order_pipeline.platforms.taobao.fields import ALL_TYPES
from order_pipeline.platforms.taobao.messages import parse_message
from order_pipeline.platforms.taobao.values import CHINA, UnreadableError, read_code
from order_pipeline.traffic.breaker import Kind

T = TypeVar("T")

PERMIT = "taobao.tmc.user.permit"
CONSUME = "taobao.tmc.messages.consume"
CONFIRM = "taobao.tmc.messages.confirm"

# The name of the group that is meant when none is named.
DEFAULT_GROUP = "default"
# The most of §3.9, for fetching and for confirming.
LARGEST_BATCH = 200
# Who reads messages is a sensor's tick, which Dagster ends after a minute and starts again in seconds.
MESSAGE_ATTEMPTS = 2
MESSAGE_DEADLINE_SECONDS = 5.0

# The list that names the seller (§3.1, §4.1), and what an answer of it holds.
NAMING = "taobao.trades.sold.get"
_LIST_KEYS = frozenset({"trades", "has_next", "total_results"})


class TaobaoMessages(TaobaoCalls):
    """A shop's way to its app's queue of messages; implements ``protocol.MessageSource``."""

    def permit_messages(self) -> None:
        """Permit the seller's messages (§3.9 taobao.tmc.user.permit): named topics, or all that the app has.

        Raises:
            CallError: no usable answer, or the platform does not permit it.

        """
        params = {"topics": ",".join(self._topics)} if self._topics else {}
        self._message_call(PERMIT, params, _accepted(f"{PERMIT} of shop {self._shop}"), needs_session=True)

    def seller_nick(self) -> str | None:
        """Read the seller's nick from any order of the last three months (§3.1, §4.1); None if there is none.

        Raises:
            CallError: no usable answer.

        """
        attempted = f"{NAMING} of the seller's nick, shop {self._shop}"

        def read(envelope: Envelope, _answer: Answer) -> str | None:
            page = read_list(envelope.payload, "trades", "trade", page_no=1, page_size=1, attempted=attempted)
            for row in page.rows:
                try:
                    return read_code(row.get("seller_nick")) if isinstance(row, dict) else None
                except UnreadableError as problem:
                    raise malformed(attempted, f"seller_nick: {problem}") from None
            return None

        params = {
            "fields": "tid,seller_nick",
            "type": ALL_TYPES,
            "page_no": "1",
            "page_size": "1",
            "use_has_next": "true",
        }
        return self._message_call(
            NAMING, params, read, about="the seller's nick", payload_keys=_LIST_KEYS, needs_session=True
        )

    def messages(self, group: str | None) -> MessageBatch:
        """Fetch up to 200 messages of the app's queue (§3.9 taobao.tmc.messages.consume).

        Raises:
            CallError: no usable answer.

        """
        about = f"group {group or DEFAULT_GROUP}"
        attempted = f"{CONSUME} of {about}, shop {self._shop}"

        def read(envelope: Envelope, _answer: Answer) -> tuple[Message, ...]:
            rows = unwrap_list(envelope.payload.get("messages"), "tmc_message")
            if rows is None:
                raise malformed(attempted, "messages is no list")
            return tuple(parse_message(row) for row in rows)

        params = {"group_name": group or "", "quantity": str(LARGEST_BATCH)}
        messages = self._message_call(CONSUME, params, read, about=about, payload_keys=frozenset({"messages"}))
        if messages:
            # Only now: an empty queue is asked every few seconds.
            self._learn_time(Kind.MESSAGE)
        received_at = (self._client.clock() + self._client.platform_ahead).astimezone(CHINA)
        return MessageBatch(messages=messages, received_at=received_at)

    def confirm_messages(self, group: str | None, message_ids: Sequence[str]) -> None:
        """Confirm up to 200 messages (§3.9 taobao.tmc.messages.confirm).

        Raises:
            CallError: no usable answer.
            ValueError: more than 200.

        """
        if len(message_ids) > LARGEST_BATCH:
            raise ValueError(f"{len(message_ids)} messages; the platform takes {LARGEST_BATCH} at once")
        if not message_ids:
            return
        about = f"{len(message_ids)} messages of group {group or DEFAULT_GROUP}"
        params = {"group_name": group or "", "s_message_ids": ",".join(message_ids)}
        self._message_call(CONFIRM, params, _accepted(f"{CONFIRM} of {about}, shop {self._shop}"), about=about)

    def _message_call(
        self,
        method: str,
        params: dict[str, str],
        read: Callable[[Envelope, Answer], T],
        *,
        about: str = "",
        payload_keys: frozenset[str] = frozenset({"is_success"}),
        needs_session: bool = False,
    ) -> T:
        """Make a call for a reader that comes again in seconds, and that must not be kept for long."""
        patient = replace(
            self._retry,
            attempts=min(self._retry.attempts, MESSAGE_ATTEMPTS),
            deadline_seconds=min(self._retry.deadline_seconds, MESSAGE_DEADLINE_SECONDS),
        )
        return self._call(
            Kind.MESSAGE,
            method,
            params,
            read,
            about=about,
            payload_keys=payload_keys,
            needs_session=needs_session,
            retry=patient,
            patience_seconds=MESSAGE_DEADLINE_SECONDS,
        )


def _accepted(attempted: str) -> Callable[[Envelope, Answer], None]:
    """Return a reader of an answer that only says whether it was done."""

    def read(envelope: Envelope, _answer: Answer) -> None:
        if str(envelope.payload.get("is_success")).lower() != "true":
            raise malformed(attempted, "it does not say that it was done")

    return read
