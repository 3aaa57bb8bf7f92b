"""The table of every method the marketplace knows.

Belongs here: nothing but the table. A new family is imported here and added to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from order_pipeline.sandbox.methods import authorization, items, logistics, messages, refunds, time, trades
from order_pipeline.sandbox.methods.contract import Method

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for family in (authorization, items, logistics, messages, refunds, time, trades)
        for method in family.METHODS
    }
)
