"""What Prometheus is told: names and meanings of the figures, and the reading of them within a deadline.

Belongs here: everything about metrics that is not a query of the warehouse (warehouse/figures.py). Not here: the
command (commands/metrics.py), alert rules and dashboards (deploy/).
"""
