"""docker-compose.yml, Dockerfile and what they mount, checked without a Docker engine."""

from __future__ import annotations

import fnmatch
import re
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from order_pipeline.cli import cli
from order_pipeline.configuration import read_shops
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.deployment import dockerfile
from order_pipeline_tests.deployment.compose import (
    ROOT,
    MissingVariableError,
    command_of,
    mounts_of,
    read,
    variables,
)

FILES = ("docker-compose.yml", "docker-compose.celery.yml")
REQUIRED = {"POSTGRES_PASSWORD": "pw-of-postgres", "GRAFANA_PASSWORD": "pw-of-grafana"}
SANDBOX = {"SHOPS_FILE": "deploy/sandbox/shops.yaml"}
ONE_SHOT = {"init"}


def services(*files: str) -> dict[str, Any]:
    found: dict[str, Any] = read(*(files or FILES), environment=REQUIRED | SANDBOX)["services"]
    return found


@pytest.mark.parametrize("files", [FILES[:1], FILES])
def test_the_files_are_what_the_compose_specification_says(files: tuple[str, ...]) -> None:
    merged = read(*files, environment=REQUIRED)
    parsed = PyCompose.from_yaml(yaml.safe_dump(merged))
    parsed.validate()
    assert set(parsed.service_names()) == set(merged["services"])


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_without_a_password_nothing_starts_and_one_line_says_which(missing: str) -> None:
    given = {name: value for name, value in REQUIRED.items() if name != missing}
    with pytest.raises(MissingVariableError, match=f"^{missing}: set {missing} in .env$"):
        read(FILES[0], environment=given)


def test_every_variable_is_documented_and_every_default_is_the_documented_one() -> None:
    documented = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert variables(*FILES) <= set(documented)
    for name in FILES:
        for variable, default in re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / name).read_text()):
            if (variable, name) != ("HISTORY_RUNS", FILES[1]):
                assert documented[variable] == default, f"{variable} in {name}"


def test_no_secret_stands_in_the_files() -> None:
    for name, service in services().items():
        for key, value in service.get("environment", {}).items():
            if "PASSWORD" in key or "://order_pipeline:" in str(value):
                assert "pw-of-" in str(value), f"{name}: {key} does not come from the environment"


def test_what_a_service_depends_on_is_there_and_can_be_waited_for() -> None:
    there = services()
    for name, service in there.items():
        for needed, wanted in service.get("depends_on", {}).items():
            assert needed in there, f"{name} depends on {needed}"
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in there[needed], f"{name} waits for the health of {needed}"
            elif wanted["condition"] == "service_completed_successfully":
                assert needed in ONE_SHOT, f"{name} waits for the end of {needed}"


def test_every_lasting_service_is_watched_limited_and_started_again() -> None:
    for name, service in services().items():
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        if name in ONE_SHOT:
            assert service["restart"] == "no"
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name


def test_only_the_loopback_interface_is_published_and_the_database_not_at_all() -> None:
    there = services()
    published = {name: service["ports"] for name, service in there.items() if service.get("ports")}
    assert set(published) == {"webserver", "prometheus", "grafana"}
    for name, ports in published.items():
        assert all(str(port).startswith("127.0.0.1:") for port in ports), name


def test_our_services_have_no_rights_that_they_do_not_need() -> None:
    for name, service in services().items():
        if "build" in service:
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
            # Signals reach the first process: a list is not wrapped in a shell, and init hands them on.
            assert isinstance(service["command"], list), name
            assert service["init"] is True, name


def test_every_mounted_file_and_volume_is_there() -> None:
    for files in (FILES[:1], FILES):
        merged = read(*files, environment=REQUIRED | SANDBOX)
        for name, service in merged["services"].items():
            for target, source in mounts_of(service).items():
                if "/" in source:
                    assert (ROOT / source).exists(), f"{name} mounts {source} at {target}"
                else:
                    assert source in merged["volumes"], f"{name} mounts the volume {source}"


def test_workers_are_made_like_the_other_services_of_ours() -> None:
    there = services()
    for key in ("image", "build", "env_file", "cap_drop", "security_opt", "init"):
        assert there["worker"][key] == there["code"][key], key
    shared = {"ORDER_PIPELINE_DATABASE_URL", "DAGSTER_POSTGRES_URL", "ORDER_PIPELINE_SHOPS", "CELERY_BROKER_URL"}
    for key in shared:
        assert there["worker"]["environment"][key] == there["code"]["environment"][key], key
    assert mounts_of(there["worker"]) == mounts_of(there["code"])


def test_the_commands_are_ones_that_the_programs_know() -> None:
    for name, service in services().items():
        program, *words = command_of(service) or [""]
        if program == "order-pipeline" and words[0] in cli.commands:
            context = cli.commands[words[0]].make_context(words[0], list(words[1:]))
            assert context.params, name


def test_the_sandbox_shop_of_the_deployment_is_the_sandboxs_own() -> None:
    environment = services()["code"]["environment"]
    (shop,) = read_shops(ROOT / SANDBOX["SHOPS_FILE"], {key: str(value) for key, value in environment.items()})
    assert (shop.id, shop.app_key, shop.app_secret, shop.session_key) == (
        DEMO_SHOP.id,
        DEMO_SHOP.app_key,
        DEMO_SHOP.app_secret,
        DEMO_SHOP.session_key,
    )
    command = command_of(services()["sandbox"])
    assert shop.gateway_url == f"http://sandbox:{command[command.index('--port') + 1]}/router/rest"
    assert str(shop.calls_per_minute) == command[command.index("--calls-per-minute") + 1]


def test_prometheus_and_grafana_find_what_they_read() -> None:
    there = services()
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (target,) = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    command = command_of(there["metrics"])
    assert target == f"metrics:{command[command.index('--port') + 1]}"
    provisioning = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards/order_pipeline.yml").read_text())["providers"]
    assert provider["options"]["path"] in mounts_of(there["grafana"])


def test_the_image_ends_slim_and_without_root() -> None:
    build, final = dockerfile.stages()
    for stage in (build, final):
        assert re.match(r"python:3\.\d+-slim-\w+", stage[0].rest), "a version that does not move under us"
    runs = " ".join(rest for word, rest in final if word == "RUN")
    assert not re.search(r"\b(pip|uv|gcc|curl|chmod 777|sudo)\b", runs)
    # The one library that the slim image lacks, and no lists of packages left behind.
    assert re.findall(r"apt-get install (.*?) &&", runs) == ["--yes --no-install-recommends libgomp1"]
    assert "rm -rf /var/lib/apt/lists" in runs
    (user,) = (rest for word, rest in final if word == "USER")
    assert int(user) > 0
    assert final.index(dockerfile.Instruction("USER", user)) > max(
        at for at, (word, _) in enumerate(final) if word in ("RUN", "COPY")
    )
    assert not any(word == "ADD" for word, _ in build + final)
    assert not any("PASSWORD" in rest or "SECRET" in rest for word, rest in build + final if word in ("ENV", "ARG"))
    # Everything that is installed is checked against a hash.
    for word, rest in build:
        for command in rest.split("&&") if word == "RUN" else []:
            if "uv pip sync" in command or "uv build" in command:
                assert "--require-hashes" in command
            if "uv pip install" in command:
                assert "--no-deps" in command


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    for stage in dockerfile.stages():
        for sources, _target in dockerfile.copied(stage):
            for source in sources:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored, source
    assert not [line for line in ignored if fnmatch.fnmatch(".env", line.removeprefix("!")) and line.startswith("!")]


def test_the_image_has_the_locks_versions_and_no_development_tools() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / name).read_text(), re.MULTILINE))

    image = pins("requirements.image.lock")
    assert image < pins("requirements.lock")
    names = {pin.split("==")[0] for pin in image}
    assert {"dagster", "dagster-webserver", "dagster-celery", "dagster-k8s", "psycopg2-binary"} <= names
    assert not names & {"pytest", "ruff", "mypy", "hypothesis", "uv", "hatchling"}


def test_the_celery_variant_differs_in_the_launcher_and_in_how_much_goes_at_once() -> None:
    plain, celery = (yaml.safe_load((ROOT / name).read_text()) for name in ("dagster.yaml", "dagster.celery.yaml"))
    assert plain.pop("run_launcher")["class"] == "WatchedCodeServerLauncher"
    assert celery.pop("run_launcher")["class"] == "WatchedCeleryLauncher"
    more = celery["concurrency"]["runs"]
    assert more["max_concurrent_runs"] > plain["concurrency"]["runs"]["max_concurrent_runs"]
    plain["concurrency"].pop("runs")
    celery["concurrency"].pop("runs")
    # There, waiting in the broker's queue counts as starting.
    assert plain["run_monitoring"].pop("start_timeout_seconds") < celery["run_monitoring"].pop("start_timeout_seconds")
    assert plain == celery
