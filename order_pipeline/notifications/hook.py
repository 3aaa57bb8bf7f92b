"""The hook of the merchant's own systems (ERP, WMS): one JSON document an event, to a command or a web address.

Belongs here: handing one event over. Not here: the outbox (warehouse/hook_events.py), when it is tried again
(sync/hook.py), messages to people (notifier.py).

``https://erp.example/orders`` gets a POST with the header ``Idempotency-Key``; any 2xx is a yes. Anything else is a
command with its arguments, run without a shell: the document comes on its standard input, exit code 0 is a yes. An
event may come twice after a crash, with the same key; events come in their order, the next after the yes to the last.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from order_pipeline.configuration import HOOK, ConfigurationError
from order_pipeline.notifications.notifier import DeliveryError

# An ERP that takes longer over one event would fall behind any busy day.
ANSWER_SECONDS = 10.0
# What a command says about its refusal, quoted in messages.
QUOTED_CHARACTERS = 200
CHECK_HOOK = f"check {HOOK} and what it runs"


class HookEvent(NamedTuple):
    """What is handed over: ``document`` is JSON with ``event``, ``key``, ``raised_at`` and what the event is about."""

    key: str
    document: str


class Hook(Protocol):
    """A way to the merchant's systems."""

    def hand_over(self, event: HookEvent) -> None:
        """Hand an event over; return only when it was taken. Raises DeliveryError."""


def open_hook(configured: str) -> Hook:
    """Return the hook of the configuration. Asks nobody. Raises ConfigurationError, which does not repeat it."""
    if configured.startswith(("http://", "https://")):
        if not urlsplit(configured).hostname:
            raise ConfigurationError(f"environment: {HOOK} is no web address; write https://host/path")
        return WebHook(configured)
    try:
        words = shlex.split(configured)
    except ValueError as error:
        raise ConfigurationError(
            f"environment: {HOOK} is no command ({error}); write a program and its arguments, or https://host/path"
        ) from error
    return CommandHook(words)


def document_of(kind: str, key: str, raised_at: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is sent of an event."""
    return {"event": kind, "key": key, "raised_at": raised_at, **payload}


class CommandHook:
    """A program of the merchant's."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def hand_over(self, event: HookEvent) -> None:
        """Run it with the document on its standard input."""
        try:
            # The command is the operator's own configuration, and no shell reads it.
            done = subprocess.run(  # noqa: S603
                self._words,
                input=event.document,
                text=True,
                encoding="utf-8",
                errors="replace",
                capture_output=True,
                timeout=ANSWER_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DeliveryError("hook", f"the command took over {ANSWER_SECONDS:.0f} s", remedy=CHECK_HOOK) from None
        except OSError as error:
            raise DeliveryError("hook", f"the command does not start ({error.strerror})", remedy=CHECK_HOOK) from error
        if done.returncode:
            said = " ".join(done.stderr.split())[-QUOTED_CHARACTERS:]
            reason = f"the command ended with {done.returncode}" + (f": {said}" if said else "")
            raise DeliveryError("hook", reason, remedy=CHECK_HOOK, refused=True)


class WebHook:
    """A web address of the merchant's."""

    def __init__(self, url: str) -> None:
        self._url = url

    def hand_over(self, event: HookEvent) -> None:
        """Post the document."""
        import requests

        headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": event.key}
        try:
            # A redirect would turn the POST into a GET.
            answer = requests.post(
                self._url, event.document.encode(), headers=headers, timeout=ANSWER_SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            # Its words hold the address, which may hold a secret.
            raise DeliveryError("hook", f"no answer ({type(error).__name__})", remedy=CHECK_HOOK) from None
        if not 200 <= answer.status_code < 300:
            refused = 400 <= answer.status_code < 500
            raise DeliveryError("hook", f"HTTP status {answer.status_code}", remedy=CHECK_HOOK, refused=refused)
