"""The Helm values, checked without a cluster: against Dagster's own classes, and against docker-compose.yml."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from dagster._config import validate_config
from dagster._core.instance.config import dagster_instance_config_schema

from order_pipeline.cli import cli
from order_pipeline.launchers.celery_workers import WatchedCeleryLauncher
from order_pipeline_tests.deployment.compose import ROOT, command_of, read

FOLDER = ROOT / "deploy" / "kubernetes"
# What the chart's instance takes from its own values; additionalInstanceConfig must not say it a second time, as the
# chart writes one after the other into one file.
WRITTEN_BY_THE_CHART = {
    "scheduler", "schedule_storage", "run_launcher", "run_storage", "event_log_storage", "run_coordinator",
    "compute_logs", "python_logs", "sensors", "schedules", "telemetry", "retention",
}  # fmt: skip
CONTAINERS = ("prepare.yaml", "celery-workers.yaml")


def values(name: str = "values.yaml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def container(name: str) -> dict[str, Any]:
    (found,) = values(name)["spec"]["template"]["spec"]["containers"]
    return dict(found)


def snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda sign: f"_{sign[1].lower()}", name)


def test_the_run_launcher_takes_what_the_chart_hands_it() -> None:
    # The client of Kubernetes takes seconds to import.
    from dagster_k8s import K8sRunLauncher

    config = values()["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    handed = {
        "service_account_name": "order-pipeline",
        "instance_config_map": "order-pipeline-instance",
        "dagster_home": "/opt/dagster/dagster_home",
        "run_k8s_config": {snake(key): value for key, value in config.items()},
    }
    checked = validate_config(K8sRunLauncher.config_type(), handed)  # type: ignore[no-untyped-call]
    assert checked.success, checked.errors
    assert config["containerConfig"]["resources"]["limits"]["memory"]


def test_the_celery_launcher_takes_its_values() -> None:
    launcher = values("values.celery.yaml")["runLauncher"]["config"]["customRunLauncher"]
    assert f"{WatchedCeleryLauncher.__module__}:{WatchedCeleryLauncher.__name__}" == (
        f"{launcher['module']}:{launcher['class']}"
    )
    checked = validate_config(WatchedCeleryLauncher.config_type(), launcher["config"])
    assert checked.success, checked.errors


def test_the_instance_is_the_one_of_dagster_yaml() -> None:
    more = values()["additionalInstanceConfig"]
    assert not set(more) & WRITTEN_BY_THE_CHART
    checked = validate_config(dagster_instance_config_schema(), more)
    assert checked.success, checked.errors
    celery = yaml.safe_load((ROOT / "dagster.celery.yaml").read_text())
    assert more == {name: celery[name] for name in more}
    daemon = values()["dagsterDaemon"]
    # What stands in additionalInstanceConfig must not be written by the chart, too.
    assert not daemon["runMonitoring"]["enabled"]
    assert not daemon["runRetries"]["enabled"]
    retention = values()["retention"]
    for kind in ("sensor", "schedule"):
        assert retention[kind]["purgeAfterDays"] == celery["retention"][kind]["purge_after_days"]


@pytest.mark.parametrize("name", ["values.yaml", "values.celery.yaml", *CONTAINERS])
def test_secrets_are_named_and_never_written(name: str) -> None:
    content = (FOLDER / name).read_text()
    assert not re.search(r"(?i)password:\s*\S|://[^\s/]+:[^\s/]+@", content)


def test_every_container_has_limits_and_no_rights() -> None:
    (deployment,) = values()["dagster-user-deployments"]["deployments"]
    ours = [deployment, values()["dagsterWebserver"], values()["dagsterDaemon"], *map(container, CONTAINERS)]
    for one in ours:
        assert one["resources"]["limits"]["memory"]
        assert one["securityContext"]["runAsNonRoot"] is True
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_every_container_is_of_one_image() -> None:
    image = values()["dagsterWebserver"]["image"]
    (deployment,) = values()["dagster-user-deployments"]["deployments"]
    assert values()["dagsterDaemon"]["image"] == deployment["image"] == image
    assert {container(name)["image"] for name in CONTAINERS} == {f"{image['repository']}:{image['tag']}"}


def test_the_commands_are_those_of_compose() -> None:
    services = read(
        "docker-compose.yml",
        "docker-compose.celery.yml",
        environment={"POSTGRES_PASSWORD": "x", "GRAFANA_PASSWORD": "x"},
    )["services"]
    assert container("prepare.yaml")["args"] == command_of(services["init"])
    cli.commands["prepare"].make_context("prepare", container("prepare.yaml")["args"][2:])
    assert container("celery-workers.yaml")["args"] == command_of(services["worker"])
    (deployment,) = values()["dagster-user-deployments"]["deployments"]
    served = command_of(services["code"])
    assert deployment["dagsterApiGrpcArgs"] == served[served.index("--module-name") :]
    assert str(deployment["port"]) == served[served.index("--port") + 1]
