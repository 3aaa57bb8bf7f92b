"""How Dagster's daemon notices that the process of a run is gone: named in dagster.yaml.

Belongs here: run launchers that can say whether a run is still worked at. Not here: what a run does, or when.
"""
