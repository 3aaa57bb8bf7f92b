"""A shop made ready for work: its configuration, its platform, the log of its calls.

Belongs here: choosing the platform of a shop. Not here: what is done with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Engine

from order_pipeline.configuration import PLATFORMS, Shop
from order_pipeline.platforms.protocol import Authorizer, Order, OrderPlatform, Refund, RejectedRecord
from order_pipeline.sync.sessions import ShopSession
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.gate import Gate, shared_gate
from order_pipeline.warehouse.subjects import REFUNDS, Subject

if TYPE_CHECKING:
    from order_pipeline.platforms.taobao.client import TaobaoCredentials


class ShopAccess(NamedTuple):
    """A shop, the door to its marketplace, what was called through it, and the gate that the calls pass.

    ``session``: what its calls go under; None: the configured key, whatever comes of it.
    """

    shop: Shop
    platform: OrderPlatform
    calls: CallLog
    gate: Gate = Gate()
    session: ShopSession | None = None

    @property
    def hold(self) -> str | None:
        """Why the shop is left alone for now, None when it can be worked on. Calls nobody."""
        return self.session.hold() if self.session else None

    def ready(self) -> str | None:
        """Return the same before work. Raises ConfigurationError when the stored token cannot be opened."""
        return self.session.ready() if self.session else None


def open_shop(shop: Shop, engine: Engine | None = None) -> ShopAccess:
    """Make a shop ready for work. Calls nothing yet.

    With the warehouse's engine its calls keep to the rate budget and the breaker that all processes share for the
    shop's app key, and go under the stored token; without one nothing holds them back, and only the configured
    session key is known.
    """
    from order_pipeline.platforms.taobao.messages import TOPICS_WITH_TRACES
    from order_pipeline.platforms.taobao.platform import TaobaoPlatform

    calls = CallLog()
    gate = shared_gate(engine, shop.app_key, shop.calls_per_minute) if engine else Gate()

    def renewer(through_gateway: bool) -> Authorizer:
        return open_authorizer(shop, calls, gate, through_gateway=through_gateway)

    session = ShopSession(shop, engine, renewer) if engine else None
    topics = TOPICS_WITH_TRACES if shop.trace_messages else ()
    platform = TaobaoPlatform(_credentials(shop), calls, gate=gate, session=session, topics=topics)
    return ShopAccess(shop, platform, calls, gate, session)


def read_stored_record(platform: str, subject: Subject, body: str) -> Order | Refund | RejectedRecord:
    """Read a quarantined record with today's parser of its platform (there is one so far, configuration.PLATFORMS)."""
    from order_pipeline.platforms.taobao.parsing import parse_stored
    from order_pipeline.platforms.taobao.refund_parsing import parse_stored_refund

    assert platform in PLATFORMS, platform  # noqa: S101 - what was stored came from one of them
    return parse_stored_refund(body) if subject is REFUNDS else parse_stored(body)


def open_authorizer(shop: Shop, calls: CallLog, gate: Gate, *, through_gateway: bool = False) -> Authorizer:
    """Make what gets tokens for a shop. Calls nothing yet."""
    from order_pipeline.platforms.taobao.authorization import TaobaoAuthorizer

    return TaobaoAuthorizer(
        _credentials(shop), calls, oauth_url=shop.oauth_url, through_gateway=through_gateway, gate=gate
    )


def _credentials(shop: Shop) -> TaobaoCredentials:
    from order_pipeline.platforms.taobao.client import TaobaoCredentials

    return TaobaoCredentials(
        shop_id=shop.id,
        gateway_url=shop.gateway_url,
        app_key=shop.app_key,
        app_secret=shop.app_secret,
        session_key=shop.session_key,
    )
