"""From the addresses of the configuration to messengers.

Belongs here: reading an address, and the one-line complaint when it is wrong, which never repeats it: it is a secret.
Not here: sending.

``dingtalk://TOKEN``, ``dingtalk://SECRET@TOKEN``, ``wecom://KEY``, ``feishu://TOKEN``, ``feishu://SECRET@TOKEN``
(``lark://`` likewise), ``log://``; the addresses that the services show (``https://oapi.dingtalk.com/robot/send?...``),
with ``&secret=...`` where the robot signs; and everything that apprise knows. ``?server=https://...`` names another
server of the same kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from difflib import get_close_matches
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from order_pipeline.configuration import NOTIFY_URL, ConfigurationError, is_private
from order_pipeline.notifications.apprise import AppriseNotifier
from order_pipeline.notifications.log import LogNotifier
from order_pipeline.notifications.notifier import Notifier
from order_pipeline.notifications.robots import ROBOTS, Robot

# As apprise calls it.
ALIASES = {"wecombot": "wecom"}
# The addresses that the services themselves show: host to kind, and where in them the token is.
SHOWN_HOSTS = {
    "oapi.dingtalk.com": ("dingtalk", "access_token"),
    "qyapi.weixin.qq.com": ("wecom", "key"),
    "open.feishu.cn": ("feishu", ""),
    "open.larksuite.com": ("lark", ""),
}


def open_notifiers(urls: Sequence[str]) -> list[Notifier]:
    """Return a messenger for each address, the log for none. Asks nobody. Raises ConfigurationError."""
    notifiers: list[Notifier] = [_open(url) for url in urls] or [LogNotifier()]
    # The same address twice is one messenger: it would get everything once only all the same.
    return list({notifier.name: notifier for notifier in notifiers}.values())


def _open(url: str) -> Notifier:
    try:
        address = urlsplit(url)
        hostname = address.hostname
    except ValueError:
        raise _wrong("an address in it cannot be read", "write it as in .env.example") from None
    scheme = ALIASES.get(address.scheme, address.scheme)
    # Tells two robots apart in tables and messages; too short to try secrets against.
    name = f"{scheme}-{hashlib.sha256(url.encode()).hexdigest()[:6]}"
    if scheme == "log":
        return LogNotifier()
    if scheme in ROBOTS:
        return _robot(name, scheme, address)
    if scheme == "https" and hostname in SHOWN_HOSTS:
        return _shown_robot(hostname, address, url)
    if scheme in ("http", "https"):
        raise _wrong(
            "an http address in it is of no robot that is known",
            f"known are those of {', '.join(SHOWN_HOSTS)}; for a webhook of your own write json:// or jsons://",
        )
    near = get_close_matches(scheme, ROBOTS, n=1, cutoff=0.7)
    if near:
        raise _wrong(f"there is no {scheme}://", f"did you mean {near[0]}://?")
    return AppriseNotifier(name, url)


def _robot(name: str, scheme: str, address: SplitResult) -> Robot:
    # Not hostname, which is in small letters.
    user, _, token = address.netloc.rpartition("@")
    query = parse_qs(address.query)
    unknown = sorted(set(query) - {"server"})
    if unknown:
        raise _wrong(f"a {scheme}:// address has an unknown parameter '{unknown[0]}'", "known is: server")
    server = query.get("server", [""])[0]
    if server and not is_private(server):
        raise _wrong(f"the server of a {scheme}:// address is no https address", "write ?server=https://...")
    kind = ROBOTS[scheme]
    if not token:
        raise _wrong(f"a {scheme}:// address has no token", f"write it as {_form(scheme)}")
    if user and not kind.signs:
        raise _wrong(f"robots of {scheme} have no secret", f"write it as {_form(scheme)}")
    return Robot(name, kind, unquote(token), unquote(user), server)


def _shown_robot(hostname: str, address: SplitResult, url: str) -> Robot:
    scheme, parameter = SHOWN_HOSTS[hostname]
    query = parse_qs(address.query)
    token = query.get(parameter, [""])[0] if parameter else address.path.rpartition("/hook/")[2]
    if not token:
        raise _wrong(
            f"an address of {hostname} in it has no token", f"copy the whole address, or write {_form(scheme)}"
        )
    name = f"{scheme}-{hashlib.sha256(url.encode()).hexdigest()[:6]}"
    return Robot(name, ROBOTS[scheme], token, query.get("secret", [""])[0])


def _form(scheme: str) -> str:
    return f"{scheme}://TOKEN or {scheme}://SECRET@TOKEN" if ROBOTS[scheme].signs else f"{scheme}://KEY"


def _wrong(reason: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"environment: {NOTIFY_URL}: {reason}; {remedy}")
