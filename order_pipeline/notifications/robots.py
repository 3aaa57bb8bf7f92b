"""The group robots of DingTalk, WeCom and Feishu (Lark), as their own pages describe them.

Belongs here: their request, their signature, what their answers mean. Not here: their addresses in the configuration
(addresses.py).

Own code, since apprise takes a refusal that comes as HTTP 200 with an error code (all three do that) for a success,
and cannot sign for Feishu.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from order_pipeline.notifications.notifier import DeliveryError, Message

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0

# What a robot says when it was sent too much, and how long it then wants to be left alone: DingTalk punishes with ten
# minutes of silence, the others count by the minute.
TOO_MANY = {130101: 600.0, 130102: 600.0, 45009: 60.0, 11232: 60.0, 11233: 60.0}
# What a person has to set right, said in words where the service's own are short.
REMEDIES = {
    310000: "DingTalk refused its signature, keyword or IP address: compare the robot's security settings with "
    "ORDER_PIPELINE_NOTIFY_URL (dingtalk://SECRET@TOKEN; the keyword may be order_pipeline)",
    19021: "Feishu refused the signature: compare the robot's secret with ORDER_PIPELINE_NOTIFY_URL "
    "(feishu://SECRET@TOKEN), and this machine's clock",
    19024: "Feishu's robot insists on a keyword: make it order_pipeline",
    93000: "WeCom does not know this robot: compare its key with ORDER_PIPELINE_NOTIFY_URL (wecom://KEY)",
}
COMPARE = "compare the robot's settings with ORDER_PIPELINE_NOTIFY_URL, and try: order-pipeline notices test"


class Request(NamedTuple):
    """What goes to a robot."""

    url: str
    body: Mapping[str, Any]


class RobotKind(NamedTuple):
    """What tells one service's robots from another's.

    Attributes:
        server: where they are, unless the configuration says otherwise.
        byte_limit: of title and text together.
        signs: whether they can have a secret.
        request: from server, token, secret (empty: none), seconds since 1970 and content to what is sent.

    """

    server: str
    byte_limit: int
    signs: bool
    request: Callable[[str, str, str, float, str], Request]


def _dingtalk(server: str, token: str, secret: str, now: float, content: str) -> Request:
    url = f"{server}/robot/send?access_token={quote(token, safe='')}"
    if secret:
        moment = f"{now * 1000:.0f}"
        signature = base64.b64encode(hmac.digest(secret.encode(), f"{moment}\n{secret}".encode(), hashlib.sha256))
        url += f"&timestamp={moment}&sign={quote(signature, safe='')}"
    return Request(url, {"msgtype": "text", "text": {"content": content}})


def _wecom(server: str, token: str, secret: str, now: float, content: str) -> Request:  # noqa: ARG001 - one shape for all
    url = f"{server}/cgi-bin/webhook/send?key={quote(token, safe='')}"
    return Request(url, {"msgtype": "text", "text": {"content": content}})


def _feishu(server: str, token: str, secret: str, now: float, content: str) -> Request:
    body: dict[str, Any] = {"msg_type": "text", "content": {"text": content}}
    if secret:
        moment = f"{now:.0f}"
        # Feishu's way: what others sign is the key here, and what is signed is empty.
        signature = base64.b64encode(hmac.digest(f"{moment}\n{secret}".encode(), b"", hashlib.sha256)).decode()
        body |= {"timestamp": moment, "sign": signature}
    return Request(f"{server}/open-apis/bot/v2/hook/{quote(token, safe='')}", body)


# Of DingTalk's and Feishu's 20,000 bytes for the whole request some are left for what JSON and signature add.
ROBOTS = {
    "dingtalk": RobotKind("https://oapi.dingtalk.com", 15_000, True, _dingtalk),
    "wecom": RobotKind("https://qyapi.weixin.qq.com", 2_048, False, _wecom),
    "feishu": RobotKind("https://open.feishu.cn", 15_000, True, _feishu),
    "lark": RobotKind("https://open.larksuite.com", 15_000, True, _feishu),
}


class Robot:
    """One robot of one group. Its representation gives neither token nor secret away."""

    def __init__(self, name: str, kind: RobotKind, token: str, secret: str = "", server: str = "") -> None:
        """Remember where to send; nothing is asked yet. ``server``: another one than the service's own."""
        self.name = name
        self.byte_limit = kind.byte_limit
        self._kind = kind
        self._token = token
        self._secret = secret
        self._server = server.rstrip("/") or kind.server

    def __repr__(self) -> str:
        return f"Robot({self.name})"

    def send(self, message: Message) -> None:
        """Send a message. Raises DeliveryError unless the robot says that it took it."""
        import requests

        content = f"{message.title}\n{message.text}"
        wanted = self._kind.request(self._server, self._token, self._secret, time.time(), content)
        try:
            response = requests.post(
                wanted.url, json=wanted.body, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False
            )
        except requests.RequestException as error:
            # Never its own text, which holds the address with the token.
            reason = "no answer in time" if isinstance(error, requests.Timeout) else "the connection failed"
            raise DeliveryError(
                self.name, f"{reason} ({type(error).__name__})", remedy="check the way to the service from this machine"
            ) from None
        self._judge(response.status_code, response.content)

    def _judge(self, status: int, body: bytes) -> None:
        try:
            answer = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError:
            answer = {}
        # DingTalk and WeCom; Feishu; Feishu as it was.
        code = next(
            (answer[key] for key in ("errcode", "code", "StatusCode") if isinstance(answer.get(key), int)), None
        )
        if status == 200 and code == 0:
            return
        if code is None:
            raise DeliveryError(
                self.name,
                f"HTTP {status} without an answer of a robot",
                remedy=COMPARE,
                refused=400 <= status < 500,
            )
        words = str(next((answer[key] for key in ("errmsg", "msg", "StatusMessage") if answer.get(key)), "no reason"))
        for secret in (self._token, self._secret):
            words = words.replace(secret, "***") if secret else words
        wait = TOO_MANY.get(code, 0.0)
        raise DeliveryError(
            self.name,
            f"HTTP {status}, code {code}: {' '.join(words.split())[:200]}",
            remedy="it was sent more than it takes" if wait else REMEDIES.get(code, COMPARE),
            refused=not wait,
            retry_in_seconds=wait,
        )
