"""What the data team sees in the lineage graph, one module a lineage group.

No module that Dagster reads annotations from imports them from __future__: as text they resolve no config class.
"""

import warnings

import dagster as dg

# backfill_policy= is marked beta; it has stood since 1.5, and a warning at every start would hide others.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
