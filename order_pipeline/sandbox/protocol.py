"""The gateway: from the parameters of a call to the body of its answer (contract 1.2, 1.4, 5.1).

Belongs here: system parameters, their checks, the choice of format. Not here: sockets and HTTP headers
(``server``), what a method does (``methods``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from order_pipeline.sandbox import envelope
from order_pipeline.sandbox.clock import DrivenClock, RealClock, parse_wall_text
from order_pipeline.sandbox.errors import PlatformError, app_call_limited, invalid_session, write_timed_out
from order_pipeline.sandbox.faults import Delivery
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
    """What goes back over HTTP; faults hold it back for ``delay_seconds`` and spoil its ``delivery``."""

    body: bytes
    content_type: str
    status: int = 200
    delay_seconds: float = 0.0
    delivery: Delivery | None = None


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
    name, faults = parameters.get("method", ""), marketplace.faults
    shop_id, delay, delivery = None, 0.0, None
    if not faults.is_quiet:
        shop_id = caller_of(marketplace, parameters)
        delay, delivery = faults.delay_seconds(name, shop_id), faults.delivery(name, shop_id)
        if damage := faults.outage(name, shop_id):
            return Answer(damage.body, damage.content_type, damage.status, delay)
    form = form_of(parameters)
    with marketplace.looking() as now_ms:
        try:
            shops = admit(marketplace, verb, parameters, now_ms // 1000)
        except PlatformError as error:
            text = refuse(marketplace, error, form)
        else:
            text = perform(marketplace, shops, parameters, now_ms, form)
    return Answer(faults.damaged(name, text, shop_id), form.content_type, 200, delay, delivery)


def caller_of(marketplace: Marketplace, parameters: Mapping[str, str]) -> str | None:
    """Return the shop for which a call is made, as far as its session tells."""
    with marketplace.still():
        try:
            shop = marketplace.authority.shop_of(parameters.get("session", ""), marketplace.clock.now_ms())
        except PlatformError:
            return None
    return shop.id if shop else None


def form_of(parameters: Mapping[str, str]) -> Form:
    """How the answer is written; a format that will be rejected is answered in the default one."""
    name = "json" if parameters.get("format") == "json" else "xml"
    return Form(name, name == "json" and parameters.get("simplify") == "true")


def refuse(marketplace: Marketplace, error: PlatformError, form: Form) -> bytes:
    """Count an error and write it."""
    marketplace.refusals[str(error.code)] += 1
    return envelope.write(envelope.ERROR_ROOT, error.fields(), form.name, simplified=form.simplified)


def perform(
    marketplace: Marketplace, shops: list[Shop], parameters: Mapping[str, str], now_ms: int, form: Form
) -> bytes:
    """Run an admitted call and write its answer or error; ``now_ms`` is the platform's time."""
    try:
        method = _method_of(parameters)
        limit = marketplace.limit(shops[0].app_key)
        if limit is not None and (seconds := limit.refused_for()):
            raise app_call_limited(seconds)
        app_key, faults = shops[0].app_key, marketplace.faults
        shop = _shop_of(marketplace, app_key, parameters.get("session"), now_ms) if method.needs_session else None
        shop_id = shop.id if shop else None
        if not faults.is_quiet:
            if refusal := faults.refusal(method.name, shop_id):
                raise refusal
            parameters = faults.misheard(method.name, shop_id, parameters)
        outcome = faults.unknown_outcome(method.name, shop_id) if method.writes else None
        if outcome == "not_done":
            raise write_timed_out()
        marketplace.calls[method.name] += 1
        as_text = form.name == "json" and not form.simplified
        context = Context(marketplace, method.name, app_key, shop, now_ms, as_text)
        fields = method.handler(context, parameters)
        if outcome is not None:
            raise write_timed_out()
        if not faults.is_quiet:
            fields = faults.misled(method.name, shop_id, fields)
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


def _shop_of(marketplace: Marketplace, app_key: str, session: str | None, now_ms: int) -> Shop:
    if not session:
        raise PlatformError(26, "Missing Session")
    shop = marketplace.authority.shop_of(session, now_ms)
    # Another app's session is as invalid as one that never was.
    if shop is None or shop.app_key != app_key:
        raise invalid_session("invalid-sessionkey")
    return shop
