"""The messenger of those who configured none: the log.

Belongs here: writing a message to the log. Not here: the log's own settings.
"""

from __future__ import annotations

import logging

from order_pipeline.notifications.notifier import Message

logger = logging.getLogger(__name__)


class LogNotifier:
    """Writes messages to the log, as warnings, so that they are seen where informations are not."""

    name = "log"
    byte_limit = 20_000

    def send(self, message: Message) -> None:
        """Write it."""
        logger.warning("%s\n%s", message.title, message.text)
