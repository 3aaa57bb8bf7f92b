"""insights.yaml: the settings of the rules, where they are other than the rules' own.

Belongs here: reading them into the rules' settings. Not here: the rules and their defaults (insights).
"""

from __future__ import annotations

import msgspec

from order_pipeline.configuration import ConfigurationError, insights_path, insights_section
from order_pipeline.insights.stalls import StallSettings

STALLS = "stalls"


def stall_settings() -> StallSettings:
    """Return the settings of the rules about parcels.

    Raises ConfigurationError naming the file, the key and what is wrong with it.
    """
    try:
        return msgspec.convert(dict(insights_section(STALLS)), StallSettings)
    except msgspec.ValidationError as error:
        known = ", ".join(StallSettings.__struct_fields__)
        raise ConfigurationError(f"{insights_path()}: key '{STALLS}': {error}; known keys: {known}") from error
