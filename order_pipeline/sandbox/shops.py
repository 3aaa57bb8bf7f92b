"""The shops of the marketplace and the credentials their sellers gave to an app.

Belongs here: who may ask for what. Not here: their orders (``ledger``).
"""

from __future__ import annotations

import msgspec


class Shop(msgspec.Struct, frozen=True, kw_only=True):
    """One shop and the authorisation of one app to read it.

    Several shops may share an ``app_key`` (an ISV's app); then they share its secret too.
    """

    id: str
    app_key: str
    app_secret: str
    session_key: str
    seller_nick: str = "沙箱测试旗舰店"
    user_id: int = 2_200_000_000_001
    title: str = "沙箱测试旗舰店"
    seller_type: str = "B"


# Public on purpose: it opens nothing but a simulated shop on the loopback interface.
DEMO_SHOP = Shop(
    id="demo-shop",
    app_key="12345678",
    app_secret="sandbox-secret-of-the-demo-app",  # noqa: S106
    session_key="6100sandbox0demo0session",
)
