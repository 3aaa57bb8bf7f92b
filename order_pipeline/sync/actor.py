"""Who is at it, for records that outlive the process: a user and a machine.

Belongs here: the name. Not here: what was done.
"""

from __future__ import annotations

import getpass
import socket


def actor() -> str:
    """Return ``user@machine``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
