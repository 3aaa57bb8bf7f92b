"""What happens to parcels: their journeys, the shop's book of them, what is told about them.

Belongs here: parcels after the seller has handed them over. Not here: when that happens (``life``), the wire
(``methods.logistics``).
"""
