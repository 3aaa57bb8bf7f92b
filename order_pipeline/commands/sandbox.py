"""order-pipeline sandbox, and the sandbox as a child process of other commands.

Belongs here: where a running sandbox is announced. Not here: the marketplace itself (sandbox/).
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from order_pipeline import configuration
from order_pipeline.configuration import Shop
from order_pipeline.resources.addresses import SANDBOX_FILE
from order_pipeline.sandbox.shops import DEMO_SHOP

# Reading a year of real baskets and planning their lives takes a few seconds on a slow machine.
START_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 10
HEALTH_TIMEOUT_SECONDS = 2

STATE_FILE = "sandbox-state.json"


class SandboxChoice(NamedTuple):
    """What the sandbox plays: the options of the command."""

    demand: str
    scale: float
    days: int
    orders: int
    seed: int
    live_orders_per_second: float
    live_life_speed: float
    calls_per_minute: int | None = None


class SandboxBusyError(Exception):
    """Another sandbox runs in this home already, or this one did not start; the message says what to do."""


def announcement() -> Path:
    """Return the file in which a running sandbox says where it is."""
    return configuration.home() / SANDBOX_FILE


def running_sandbox() -> dict[str, object] | None:
    """Return what the sandbox that runs in this home announced, None when none answers there."""
    import requests

    try:
        announced: dict[str, object] = json.loads(announcement().read_text(encoding="utf-8"))
        requests.get(f"{announced['url']}/sandbox/health", timeout=HEALTH_TIMEOUT_SECONDS).raise_for_status()
    except (OSError, ValueError):  # requests' errors are OSErrors
        return None
    return announced


def serve_sandbox(
    choice: SandboxChoice,
    *,
    host: str,
    port: int,
    parent: int | None,
    on_ready: Callable[[str], None],
    allow_remote: bool = False,
) -> None:
    """Serve until interrupted (or until the parent process is gone), announced in the home folder while it runs.

    ``allow_remote``: ``host`` need not be loopback.

    Raises SandboxBusyError when it cannot start.
    """
    from order_pipeline.sandbox.continuity import StateMismatchError
    from order_pipeline.sandbox.demand import DemandUnavailableError
    from order_pipeline.sandbox.server import SandboxSettings, serve

    held = running_sandbox()
    if held:
        raise SandboxBusyError(
            f"a sandbox runs in {configuration.home()} already at {held['url']} (process {held['pid']}); "
            f"stop it, or set {configuration.HOME} to another folder"
        )
    place = announcement()
    place.parent.mkdir(parents=True, exist_ok=True)

    def announce(url: str) -> None:
        shop = Shop(
            id=DEMO_SHOP.id,
            platform="taobao",
            gateway_url=f"{url}/router/rest",
            app_key=DEMO_SHOP.app_key,
            app_secret=DEMO_SHOP.app_secret,
            session_key=DEMO_SHOP.session_key,
            oauth_url=f"{url}/oauth",
        )
        content = {"url": url, "pid": os.getpid(), "parent": parent, "shops": [msgspec.to_builtins(shop)]}
        fresh = place.with_suffix(".new")
        fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
        fresh.replace(place)
        on_ready(url)

    settings = SandboxSettings(
        shops=(DEMO_SHOP,),
        demand=choice.demand,
        scale=choice.scale,
        days=choice.days,
        orders=choice.orders,
        seed=choice.seed,
        live_orders_per_second=choice.live_orders_per_second,
        live_life_speed=choice.live_life_speed,
        calls_per_minute=choice.calls_per_minute,
        state_path=configuration.home() / STATE_FILE,
    )
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        serve(settings, host=host, port=port, on_ready=announce, allow_remote=allow_remote)
    except StateMismatchError as error:
        raise SandboxBusyError(f"{error}; a demo begins anew with --fresh") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise SandboxBusyError(f"the sandbox does not start: {error}") from error
        raise SandboxBusyError(
            f"--port: {port} of {host} is taken; stop what listens there, or choose another"
        ) from error
    except (DemandUnavailableError, ValueError) as error:
        raise SandboxBusyError(f"the sandbox does not start: {error}") from error
    finally:
        place.unlink(missing_ok=True)


@contextmanager
def sandbox_process(choice: SandboxChoice) -> Iterator[str]:
    """Run a sandbox in a process of its own, or join the one that runs, and yield its address."""
    held = _lasting_sandbox()
    if held:
        yield str(held["url"])
        return
    announcement().unlink(missing_ok=True)
    command = [sys.executable, "-m", "order_pipeline", "sandbox", "--port", "0", "--parent", str(os.getpid())]
    for name, value in choice._asdict().items():
        if value is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    log = configuration.home() / "sandbox.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # A group of its own: Ctrl-C reaches us alone, and we stop it in order.
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)  # noqa: S603
    try:
        yield _wait_until_ready(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _lasting_sandbox() -> dict[str, object] | None:
    """Return the sandbox that runs here, once it is clear that it is not about to end with a parent that is gone."""
    import psutil

    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        held = running_sandbox()
        if held is None or held["parent"] is None or psutil.pid_exists(int(str(held["parent"]))):
            return held
        time.sleep(0.1)
    return None


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone, even if that was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        held = running_sandbox()
        if held and held["pid"] == process.pid:
            return str(held["url"])
        if process.poll() is not None:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            why = said[-1].removeprefix("order-pipeline: ") if said else "it said nothing"
            raise SandboxBusyError(f"{why} (see {log})")
        time.sleep(0.05)
    raise SandboxBusyError(f"the sandbox was not ready within {START_TIMEOUT_SECONDS} s; see {log}")
