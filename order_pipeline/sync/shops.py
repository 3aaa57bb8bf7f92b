"""The same work for each shop, each on its own: the good ones commit, the bad ones are named at the end.

Belongs here: isolation between shops. Not here: the work.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Engine

from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.storing import store_call_log
from order_pipeline.traffic.errors import CallError
from order_pipeline.traffic.time_limit import over_within
from order_pipeline.warehouse.database import in_transaction

logger = logging.getLogger(__name__)

Report = TypeVar("Report")


class ShopsFailedError(Exception):
    """Some shops could not be worked on; the message names each with its cause and remedy.

    Attributes:
        errors: what stopped each shop, by its id.
        reports: of the other shops.
        retryable: whether doing it all again may help at least one of them.

    """

    def __init__(self, errors: dict[str, CallError], reports: Sequence[Any]) -> None:
        self.errors = errors
        self.reports = reports
        self.retryable = any(error.retryable for error in errors.values())
        named = "; ".join(f"shop {shop_id}: {error}" for shop_id, error in errors.items())
        super().__init__(f"{len(errors)} of {len(errors) + len(reports)} shops failed: {named}")


def for_each_shop(
    accesses: Sequence[ShopAccess],
    engine: Engine,
    work: Callable[[ShopAccess], Report],
    *,
    skipped: Callable[[ShopAccess, str], Report] | None = None,
    seconds: float = math.inf,
    shop_seconds: float = math.inf,
    at_once: int = 1,
) -> list[Report]:
    """Do the work for every shop and return the reports, in the order of the shops.

    A shop that is paused or was never authorised is passed over without a call; ``skipped`` makes a report of it and
    the reason, otherwise there is none. All calls that the work makes in its thread are over within ``seconds``,
    those of each shop within ``shop_seconds``; later ones fail. ``at_once``: so many shops are worked on together,
    each in a thread.

    Raises ShopsFailedError after the last shop, if any failed; errors that concern all shops alike (the
    warehouse, the key of stored tokens, a bug) are raised at once.
    """
    ends_at = time.monotonic() + seconds

    def one(access: ShopAccess) -> tuple[Report, ...] | CallError:
        reason = access.ready()
        if reason:
            logger.warning("shop %s is left alone: %s", access.shop.id, reason)
            return (skipped(access, reason),) if skipped else ()
        try:
            with over_within(min(shop_seconds, ends_at - time.monotonic())):
                return (work(access),)
        except CallError as error:
            # Its message is made for people; a traceback would bury it.
            logger.error("shop %s: %s", access.shop.id, error)  # noqa: TRY400
            return error
        finally:
            calls = access.calls.drain()
            in_transaction(engine, partial(store_call_log, calls=calls))

    done = list(zip(accesses, _together(one, accesses, at_once) if at_once > 1 else map(one, accesses), strict=True))
    errors = {access.shop.id: result for access, result in done if isinstance(result, CallError)}
    reports = [report for _, result in done if not isinstance(result, CallError) for report in result]
    if errors:
        raise ShopsFailedError(errors, reports)
    return reports


def _together(one: Callable[[ShopAccess], Report], accesses: Sequence[ShopAccess], at_once: int) -> Iterator[Report]:
    with ThreadPoolExecutor(at_once, thread_name_prefix="shop") as pool:
        # The caller's own time limit holds in the threads too.
        running = [pool.submit(copy_context().run, one, access) for access in accesses]
        try:
            for each in running:
                yield each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
