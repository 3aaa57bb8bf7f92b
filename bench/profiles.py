"""Where the interpreter's time goes on the hottest paths, as text: python -m bench.profiles writes docs/profiles.

py-spy looks 200 times a second at who holds the interpreter, so waits for sockets and servers do not count; imports
are left out. Not here: what was done about it (docs/performance.md).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.peers import DLT
from bench.stage import in_own_process, stage

PROFILES = Path(__file__).parent.parent / "docs" / "profiles"
ORDERS = {"lists": 20_000, "details": 4_000, "run": 5_000}
DAYS = 20
SHOWN = 25
IMPORTING = "_find_and_load"


def main() -> None:
    """Profile each path on orders of its own."""
    PROFILES.mkdir(parents=True, exist_ok=True)
    for path, orders in ORDERS.items():
        with stage(orders, DAYS) as on, on.as_shops_file(), tempfile.NamedTemporaryFile() as raw:
            database = on.database()
            arguments = [database, on.url, str(DAYS)]
            if path == "details":
                in_own_process("bench.load", "lists", *arguments)
            load = [sys.executable, "-W", "ignore", "-m", "bench.load", path, *arguments]
            spy = [str(DLT.with_name("py-spy")), "record", "--format", "raw", "--rate", "200", "--gil", "--output"]
            subprocess.run([*spy, raw.name, "--", *load], check=True, capture_output=True)
            stacks = Path(raw.name).read_text(encoding="utf-8")
        (PROFILES / f"{path}.txt").write_text(summary(path, orders, stacks), encoding="utf-8")


def summary(path: str, orders: int, stacks: str) -> str:
    """Return the shares by function: with all it calls, and by itself. ``stacks``: lines of frames and a count."""
    within: Counter[str] = Counter()
    itself: Counter[str] = Counter()
    total = 0
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [re.sub(r":\d+\)", ")", frame) for frame in stack.split(";")]
        if any(frame.startswith(IMPORTING) for frame in frames):
            continue
        total += int(count)
        within.update(dict.fromkeys(frames, int(count)))
        itself[frames[-1]] += int(count)
    lines = [f"{path}: {orders:,} orders, {total} samples that hold the interpreter, imports left out"]
    for title, counts in (("with all it calls", within), ("by itself", itself)):
        lines += ["", title, *(f"{count / max(total, 1):7.1%}  {name}" for name, count in counts.most_common(SHOWN))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
