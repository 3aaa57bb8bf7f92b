"""The gateway: from the parameters of a call to the body of its answer (contract 1.2, 1.4, 5.1).

Belongs here: system parameters, their checks, the choice of format. Not here: sockets and HTTP headers
(``server``), what a method does (``methods``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from order_pipeline.sandbox import envelope
from order_pipeline.sandbox.clock import DrivenClock, RealClock, parse_wall_text
from order_pipeline.sandbox.errors import PlatformError, app_call_limited, invalid_session
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.methods.contract import Context, Method
from order_pipeline.sandbox.methods.registry import METHODS
from order_pipeline.sandbox.shops import Shop
from order_pipeline.sandbox.signature import is_signed

TIMESTAMP_TOLERANCE_SECONDS = 600  # contract 1.2
VERSION = "2.0"

_FORMATS = frozenset({"json", "xml"})
_REAL = RealClock()


class Answer(msgspec.Struct, frozen=True):
    """What goes back over HTTP; ``delay_seconds`` is how long a fault holds it back."""

    body: bytes
    content_type: str
    status: int = 200
    delay_seconds: float = 0.0


class Form(msgspec.Struct, frozen=True):
    """How a call wants its answer written: "json" or "xml", simplified or not."""

    name: str
    simplified: bool

    @property
    def content_type(self) -> str:
        """The HTTP content type of the form."""
        return envelope.JSON_TYPE if self.name == "json" else envelope.XML_TYPE


def answer_call(marketplace: Marketplace, verb: str, parameters: Mapping[str, str]) -> Answer:
    """Answer one call. ``parameters`` are query and form merged."""
    name = parameters.get("method", "")
    delay = marketplace.faults.delay_seconds(name)
    if damage := marketplace.faults.outage(name):
        return Answer(damage.body, damage.content_type, damage.status, delay)
    form = form_of(parameters)
    with marketplace.looking() as now_ms:
        try:
            shops = admit(marketplace, verb, parameters, now_ms // 1000)
        except PlatformError as error:
            text = refuse(marketplace, error, form)
        else:
            text = perform(marketplace, shops, parameters, now_ms // 1000, form)
    return Answer(marketplace.faults.damaged(name, text), form.content_type, 200, delay)


def form_of(parameters: Mapping[str, str]) -> Form:
    """How the answer is written; a format that will be rejected is answered in the default one."""
    name = "json" if parameters.get("format") == "json" else "xml"
    return Form(name, name == "json" and parameters.get("simplify") == "true")


def refuse(marketplace: Marketplace, error: PlatformError, form: Form) -> bytes:
    """Count an error and write it."""
    marketplace.refusals[str(error.code)] += 1
    return envelope.write(envelope.ERROR_ROOT, error.fields(), form.name, simplified=form.simplified)


def perform(marketplace: Marketplace, shops: list[Shop], parameters: Mapping[str, str], now: int, form: Form) -> bytes:
    """Run an admitted call and write its answer or error; ``now`` is the platform's time in seconds."""
    try:
        method = _method_of(parameters)
        limit = marketplace.limit(shops[0].app_key)
        if limit is not None and (seconds := limit.refused_for()):
            raise app_call_limited(seconds)
        shop = _shop_of(marketplace, shops, parameters.get("session")) if method.needs_session else None
        if refusal := marketplace.faults.refusal(method.name, shop.id if shop else None):
            raise refusal
        marketplace.calls[method.name] += 1
        context = Context(marketplace, shop, now, form.name == "json" and not form.simplified)
        fields = method.handler(context, parameters)
    except PlatformError as error:
        return refuse(marketplace, error, form)
    return envelope.write(envelope.root_key(method.name), fields, form.name, simplified=form.simplified)


def admit(marketplace: Marketplace, verb: str, parameters: Mapping[str, str], now: int, body: str = "") -> list[Shop]:
    """Check a call's system parameters and return the shops of its app; ``body`` is a raw body, signed too.

    PlatformError for what is wrong first. In which order the platform looks is not established.
    """
    if verb not in ("GET", "POST"):
        raise PlatformError(9, "Http Action Not Allowed")
    app_key = parameters.get("app_key")
    if not app_key:
        raise PlatformError(28, "Missing App Key")
    shops = [shop for shop in marketplace.shops.values() if shop.app_key == app_key]
    if not shops:
        raise PlatformError(29, "Invalid App Key", "isv.appkey-not-exists")
    _check_version_and_format(parameters)
    _check_timestamp(marketplace, parameters.get("timestamp"), now)
    if not parameters.get("sign"):
        raise PlatformError(24, "Missing Signature")
    if not is_signed(parameters, shops[0].app_secret, body):
        raise PlatformError(25, "Invalid signature")
    return shops


def _method_of(parameters: Mapping[str, str]) -> Method:
    name = parameters.get("method")
    if not name:
        raise PlatformError(21, "Missing Method")
    method = METHODS.get(name)
    if method is None:
        raise PlatformError(22, "Invalid Method", "isv.invalid-method", f"不存在的方法名：{name}")
    return method


def _check_version_and_format(parameters: Mapping[str, str]) -> None:
    version = parameters.get("v")
    if not version:
        raise PlatformError(32, "Missing Version")
    if version != VERSION:
        raise PlatformError(33, "Invalid Version")
    if (parameters.get("format") or "xml") not in _FORMATS:
        raise PlatformError(23, "Invalid Format")


def _check_timestamp(marketplace: Marketplace, text: str | None, now: int) -> None:
    if not text:
        raise PlatformError(30, "Missing Timestamp")
    try:
        # Epoch milliseconds are accepted in practice (contract 1.2).
        sent = int(text) // 1000 if text.isascii() and text.isdigit() else parse_wall_text(text)
    except ValueError:
        raise PlatformError(31, "Invalid Timestamp", "isv.timestamp-limit-error") from None
    if abs(sent - now) <= TIMESTAMP_TOLERANCE_SECONDS:
        return
    # A client under test keeps this computer's time even where a test drives the platform's clock.
    driven = isinstance(marketplace.clock, DrivenClock)
    if driven and abs(sent - _REAL.now_ms() // 1000) <= TIMESTAMP_TOLERANCE_SECONDS:
        return
    raise PlatformError(31, "Invalid Timestamp", "isv.timestamp-limit-error")


def _shop_of(marketplace: Marketplace, shops: list[Shop], session: str | None) -> Shop:
    if not session:
        raise PlatformError(26, "Missing Session")
    for shop in shops:
        if shop.session_key == session:
            if marketplace.is_expired(session):
                raise invalid_session("session-expired")
            return shop
    # Another app's session is as invalid as one that never was.
    raise invalid_session("invalid-sessionkey")
