"""How long tests keep things: a day, whatever the configuration's least is."""

from order_pipeline.configuration import Retention

EVERYTHING_GOES = Retention(pages=1, messages=1, calls=1, settled=1)
