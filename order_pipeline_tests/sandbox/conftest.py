"""One real server a module, with a driven clock and two shops of two apps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from order_pipeline.sandbox.clock import SHANGHAI, DrivenClock
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP, Shop
from order_pipeline_tests.sandbox.contract_script import Script

NOW = datetime(2026, 3, 15, 12, 0, 0, tzinfo=SHANGHAI)
OTHER_SHOP = Shop(
    id="other-shop",
    app_key="87654321",
    app_secret="another-secret",
    session_key="6100other0session",
    seller_nick="另一家店",
    user_id=2_200_000_000_002,
)


def settings(orders: int = 3_000, days: int = 30) -> SandboxSettings:
    return SandboxSettings(shops=(DEMO_SHOP, OTHER_SHOP), seed=7, orders=orders, days=days, driven_from=NOW)


@pytest.fixture(scope="module")
def market() -> Marketplace:
    return open_marketplace(settings())


@pytest.fixture(scope="module")
def server(market: Marketplace) -> Iterator[SandboxServer]:
    with SandboxServer(market) as running:
        yield running


@pytest.fixture
def clock(market: Marketplace) -> DrivenClock:
    assert isinstance(market.clock, DrivenClock)
    return market.clock


@pytest.fixture
def script(server: SandboxServer) -> Script:
    return Script(server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, DEMO_SHOP.session_key)
