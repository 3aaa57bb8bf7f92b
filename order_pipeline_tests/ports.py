"""Ports for the programs that tests start and that have to be told theirs.

Belongs here: choosing them. Not here: servers of our own, which take port 0 and say what they got.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket

LOOPBACK = "127.0.0.1"
# Below the range that systems give to outgoing connections: whoever asks for "any port" between our looking and the
# program's listening gets none of these. Each test process begins somewhere else.
FIRST, LAST = 20_000, 32_000

_numbers = itertools.count(os.getpid() * 37)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    for number in _numbers:
        port = FIRST + number % (LAST - FIRST)
        with socket.socket() as listener:
            try:
                listener.bind((LOOPBACK, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return port
    raise AssertionError("never gets here: the numbers do not end")
