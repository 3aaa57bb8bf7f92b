"""From notices to messages: several of a kind become one, cut to what a messenger takes. Pure functions.

Belongs here: wording and cutting. Not here: which notices go together (warehouse/notice_sinks.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from order_pipeline.notifications.notifier import Message

SHANGHAI = ZoneInfo("Asia/Shanghai")

# Also the keyword that a DingTalk or Feishu robot may be told to insist on.
SENDER = "order_pipeline"
# More is not read on a phone; the rest is counted, and listed by the command.
MOST_SHOWN = 10
# A robot takes 20 messages a minute: one digest shall not take them all.
MOST_PARTS = 4

GRAVITY = ("info", "warning", "error")
SEE_ALL = "all of them: order-pipeline notices list"


class Item(NamedTuple):
    """A notice to be told: ``raised_at`` is aware, ``times`` how often the same was raised so far."""

    severity: str
    title: str
    body: str
    raised_at: datetime
    times: int = 1


def shown(moment: datetime) -> str:
    """Return a time as people of the shop read it, the zone named."""
    return f"{moment.astimezone(SHANGHAI):%F %T} Asia/Shanghai"


def compose(items: Sequence[Item]) -> Message:
    """Return the one message that tells all items, the first ten with their texts."""
    gravest = max((item.severity for item in items), key=GRAVITY.index)
    if len(items) == 1:
        return Message(f"[{SENDER}] {gravest}: {items[0].title}", _told(items[0]))
    title = f"[{SENDER}] {gravest}: {items[0].title} - and {len(items) - 1} more"
    texts = [f"{number}. {item.title}\n{_told(item)}" for number, item in enumerate(items[:MOST_SHOWN], 1)]
    if len(items) > MOST_SHOWN:
        texts.append(f"… and {len(items) - MOST_SHOWN} more; {SEE_ALL}")
    return Message(title, "\n\n".join(texts))


def parts(message: Message, byte_limit: int) -> list[Message]:
    """Cut a message into as few as fit the limit (bytes of UTF-8, title included), between lines where possible.

    Four at most; what is beyond them is not sent, and the last one says so.
    """
    # Room for the number behind the title, and for one line break.
    title = cut(message.title, byte_limit // 4)
    room = byte_limit - len(title.encode()) - len(f" ({MOST_PARTS}/{MOST_PARTS})\n")
    texts = _split(message.text, room)
    if len(texts) == 1:
        return [Message(title, texts[0])]
    if len(texts) > MOST_PARTS:
        end = f"\n… cut here; {SEE_ALL}"
        texts = texts[:MOST_PARTS]
        texts[-1] = cut(texts[-1], room - len(end.encode())) + end
    return [Message(f"{title} ({number}/{len(texts)})", text) for number, text in enumerate(texts, 1)]


def cut(text: str, most_bytes: int) -> str:
    """Return the beginning of a text that has at most so many bytes; no character is cut in two."""
    return text.encode()[:most_bytes].decode(errors="ignore")


def _told(item: Item) -> str:
    again = f", {item.times} times so far" if item.times > 1 else ""
    return f"{item.body}\n({shown(item.raised_at)}{again})"


def _split(text: str, most_bytes: int) -> list[str]:
    texts = []
    while len(text.encode()) > most_bytes:
        head = cut(text, most_bytes)
        at_line = head.rfind("\n")
        # A text without line breaks is cut where it is full.
        head = head[:at_line] if at_line > len(head) // 2 else head
        texts.append(head)
        text = text[len(head) :].lstrip("\n")
    return [*texts, text] if text or not texts else texts
