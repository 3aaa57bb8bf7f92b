"""A look at the shops' authorisations, for the times when no run comes about: a paused shop alone starts none.

Belongs here: keeping the check as it is in truth. Not here: the judgement (assets/authorization.py).
"""

import dagster as dg

from order_pipeline.assets.authorization import check_evaluation, look
from order_pipeline.configuration import ConfigurationError
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.warehouse.database import DatabaseUnreachableError

# Two small queries a shop, and no call.
LOOK_SECONDS = 60


@dg.sensor(
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Turns the check shops_are_authorised red when a shop is paused or its token ends soon, and back.",
)
def authorizations_sensor(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.SensorResult | dg.SkipReason:
    """Record the check when what it says has changed; an event a minute would only fill the log."""
    try:
        found = look(shops.open(warehouse.engine))
    except (ConfigurationError, DatabaseUnreachableError) as error:
        return dg.SkipReason(str(error))
    # Without the counting days, that change with every look.
    state = "; ".join((*found.held, *(words.partition(":")[0] for words in found.ending))) or "well"
    if state == context.cursor:
        return dg.SkipReason(found.description or "every shop is authorised")
    return dg.SensorResult(asset_events=[check_evaluation(found)], cursor=state)
