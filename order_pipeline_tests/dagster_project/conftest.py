"""What tests of Dagster runs share: the project's definitions over a test's sandbox and a fresh warehouse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import dagster as dg
import pytest
from sqlalchemy import Engine

from order_pipeline.definitions import build_defs
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.access import ShopAccess
from order_pipeline_tests.conftest import Play


class PlayedShops(ShopsResource):
    """The shops of a test's sandbox, on its driven clock."""

    # Of the class, since Dagster makes resources anew for every run.
    accesses: ClassVar[dict[str, ShopAccess]] = {}

    def open(self, engine: Engine, ids: Sequence[str] = ()) -> list[ShopAccess]:  # noqa: ARG002
        return [self.accesses[shop_id] for shop_id in ids or self.accesses]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def shops(play: Play) -> PlayedShops:
    shops = PlayedShops()
    shops.accesses["demo-shop"] = play.access()
    return shops


@pytest.fixture
def defs(warehouse_url: str, shops: PlayedShops) -> dg.Definitions:
    return build_defs(resource_overrides={"warehouse": WarehouseResource(database_url=warehouse_url), "shops": shops})


def run(
    defs: dg.Definitions, job: str, instance: dg.DagsterInstance, first: str, last: str | None = None, **config: object
) -> dg.ExecuteInProcessResult:
    days = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=None if last else first,
        tags=days if last else {},
        raise_on_error=False,
        run_config={"ops": config} if config else {},
    )
