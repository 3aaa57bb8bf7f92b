"""What a person can set when starting a run.

Belongs here: run configuration of the assets. Not here: configuration of the deployment.
"""

import dagster as dg
from pydantic import Field


class ShopsConfig(dg.Config):
    """Narrow a run to some shops."""

    shops: list[str] = Field(default=[], description="Ids of the shops to work for; empty: all of shops.yaml.")


class ChangesConfig(ShopsConfig):
    """How much of a day's changes to list."""

    whole_day: bool = Field(
        default=False,
        description="List the day from midnight, even where the watermark says that it is known already.",
    )


class DetailsConfig(ShopsConfig):
    """Which details to fetch."""

    refetch: bool = Field(
        default=False,
        description="Fetch every order created or last changed on the days of the run again, changed or not.",
    )
    linger_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Stay until nothing came for so long: read the messages of all shops and fetch what they announce.",
    )


class ReconciliationConfig(ShopsConfig):
    """How a day is proven."""

    listed: bool = Field(
        default=False,
        description="Compare order by order, a call every hundred orders, even where totals by status would do.",
    )


class DemandConfig(ShopsConfig):
    """How much demand to count."""

    rebuild: bool = Field(
        default=False,
        description="Count every day anew: after the list of bundles or the rules of what is no demand have changed.",
    )
