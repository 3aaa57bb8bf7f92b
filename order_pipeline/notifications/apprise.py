"""Mail, Slack, Telegram, Teams and whatever else the apprise library knows, behind the extra ``notifications``.

Belongs here: handing a message to apprise. Not here: the robots of DingTalk, WeCom and Feishu (robots.py).
"""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import unquote

from order_pipeline.configuration import NOTIFY_URL, ConfigurationError
from order_pipeline.notifications.notifier import DeliveryError, Message

# apprise cuts no further below this; mail, Slack and Telegram take more or are split by it.
BYTE_LIMIT = 20_000
# Parts of an address that are shorter are words of it (smtp, true) rather than secrets.
SHORTEST_SECRET = 5


class AppriseNotifier:
    """One address that apprise understands. Its representation does not give it away."""

    byte_limit = BYTE_LIMIT

    def __init__(self, name: str, url: str) -> None:
        """Have apprise read the address; nothing is asked yet. Raises ConfigurationError when it cannot."""
        try:
            import apprise
        except ImportError:
            raise ConfigurationError(
                f"environment: {NOTIFY_URL}: {url.partition('://')[0]}:// needs the library apprise, which is not "
                f"installed; install it with: pip install 'order-pipeline[notifications]'"
            ) from None
        self.name = name
        self._url = url
        self._service = apprise.Apprise()
        # Its default leaves what is too long to the service, whose refusal it may not see.
        separator = "&" if "?" in url else "?"
        with _captured(apprise):
            good = self._service.add(url if "overflow=" in url else f"{url}{separator}overflow=split")
        if not good:
            raise ConfigurationError(
                f"environment: {NOTIFY_URL}: apprise cannot read the {url.partition('://')[0]}:// address in it; "
                f"compare it with that service's page at https://appriseit.com/services/"
            )

        for service in self._service:
            # Its own pause of 5.5 s between two messages would count as the service's; the outbox keeps the pace.
            service.request_rate_per_sec = 0

    def __repr__(self) -> str:
        return f"AppriseNotifier({self.name})"

    def send(self, message: Message) -> None:
        """Send a message. Raises DeliveryError when apprise says that it was not taken."""
        import apprise

        with _captured(apprise) as captured:
            taken: Any = self._service.notify(title=message.title, body=message.text, body_format="text")
            said = " ".join(captured.getvalue().split())
        if not taken:
            raise DeliveryError(
                self.name,
                f"apprise says: {self._without_secrets(said)[:200] or 'nothing'}",
                remedy="compare the address with the service, and try: order-pipeline notices test",
            )

    def _without_secrets(self, text: str) -> str:
        for piece in re.split(r"[:/@?&=,]+", self._url.partition("://")[2]):
            for form in {piece, unquote(piece)}:
                text = text.replace(form, "***") if len(form) >= SHORTEST_SECRET else text
        return text


def _captured(apprise: Any) -> AbstractContextManager[io.StringIO]:
    """Catch what apprise would log, which may hold the address."""
    captured: AbstractContextManager[io.StringIO] = apprise.LogCapture(level=apprise.logging.WARNING, fmt="%(message)s")
    return captured
