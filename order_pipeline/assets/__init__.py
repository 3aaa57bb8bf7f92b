"""What the data team sees in the lineage graph, one module a lineage group.

No module that Dagster reads annotations from imports them from __future__: as text they resolve no config class.
"""
