"""What the assets tell the UI: numbers that plot, a row a shop, and failures that say what to do.

Belongs here: turning reports of the sync room into Dagster's metadata. Not here: doing the work. No personal
data ever: metadata is stored for good and everybody can read it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from order_pipeline.configuration import ConfigurationError
from order_pipeline.sync.shops import ShopsFailedError
from order_pipeline.warehouse.database import DatabaseUnreachableError
from order_pipeline.warehouse.subjects import Subject
from order_pipeline.wording import counted

# Enough to see what they have in common.
SAMPLED = 10


@contextmanager
def named_failures() -> Iterator[None]:
    """Turn errors whose message is meant for people into a Dagster failure with just that message.

    Assets have no retry policy: calls have their own retries, the sensor asks for the next pass as long as work is
    due, and lost workers are the daemon's (dagster.yaml). A layer more would only multiply them.
    """
    try:
        yield
    except (ShopsFailedError, DatabaseUnreachableError, ConfigurationError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def quarantine_check(asset: str, refused: Sequence[Mapping[str, Any]], subject: Subject) -> dg.AssetCheckResult:
    """Say whether records of the subject wait in quarantine, with a few of them."""
    waiting = counted(len(refused), f"{subject.one} waits", f"{subject.name} wait")
    return dg.AssetCheckResult(
        check_name="nothing_is_quarantined",
        asset_key=asset,
        passed=not refused,
        description=f"{waiting} in sync.quarantine; the tables lack what they say" if refused else None,
        metadata={"open": len(refused), **({"sample": table(refused[:SAMPLED])} if refused else {})},
    )


def table(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    """Return a table of rows that share their keys."""
    if not rows:
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table([dg.TableRecord({key: _cell(value) for key, value in row.items()}) for row in rows])


def _cell(value: Any) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
