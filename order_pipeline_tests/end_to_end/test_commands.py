"""The commands as a stranger uses them: real processes, real databases, exit codes, one-line complaints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from order_pipeline_tests.conftest import Play
from order_pipeline_tests.end_to_end.program import run, shops_file


def test_sync_does_what_is_due_and_backfill_loads_days_again(
    project_folder: Path, play: Play, warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops_file(project_folder, play)
    monkeypatch.setenv("ORDER_PIPELINE_DATABASE_URL", warehouse_url)
    synced = run("sync", "--json")
    # The sandbox's clock is driven and stands in another month, so only the first load is due.
    assert synced.returncode == 0, synced.stderr
    assert json.loads(synced.stdout)["finished"] is True
    (shop,) = json.loads(run("status", "--json").stdout)["shops"]
    assert shop["details_due"] == shop["refunds_due"] == 0
    assert shop["refunds"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sync"], "shops.yaml: not there, and no sandbox shop runs"),
        (["backfill", "--from", "2026-02-30", "--to", "2026-03-01"], "'2026-02-30' does not match the format"),
        (["backfill", "--from", "2030-01-01", "--to", "2030-01-02"], "lies in the future"),
        (["backfill", "--from", "2020-01-01", "--to", "2020-01-02"], "the platform lists three months only"),
        (["demo", "--scale", "7"], "is not in the range"),
        (["snyc"], "No such command 'snyc'"),
        (["sandbox", "--host", "0.0.0.0"], "loopback"),
    ],
)
@pytest.mark.usefixtures("project_folder")
def test_a_wrong_call_gets_one_line_and_exit_code_2(arguments: list[str], said: str) -> None:
    refused = run(*arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_shops_that_name_different_budgets_of_one_app_get_one_line_and_exit_code_2(
    project_folder: Path, play: Play
) -> None:
    shops_file(project_folder, play)
    (shop,) = json.loads((project_folder / "shops.yaml").read_text())["shops"]
    other = shop | {"id": "other-shop", "session_key": "6100other", "calls_per_minute": 300}
    (project_folder / "shops.yaml").write_text(json.dumps({"shops": [shop, other]}))
    refused = run("sync")
    assert refused.returncode == 2
    assert "write the same number for all shops of one app_key" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("variable", "said"),
    [("ORDER_PIPELINE_DATABASE_URL", "connecting to the warehouse"), ("DAGSTER_POSTGRES_URL", "Dagster's storage")],
)
def test_a_database_that_is_away_gets_one_line(
    project_folder: Path, play: Play, warehouse_url: str, variable: str, said: str
) -> None:
    shops_file(project_folder, play)
    addresses = {"ORDER_PIPELINE_DATABASE_URL": warehouse_url, "DAGSTER_POSTGRES_URL": warehouse_url}
    refused = run("sync", **addresses | {variable: "postgresql://me:geheim@127.0.0.1:1/x"})
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "127.0.0.1:1" in refused.stderr
    assert variable in refused.stderr
    assert "geheim" not in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"app_secret": "wrong"}, "app_secret"),
        ({"session_key": "6100wrong"}, "session_key"),
        ({"gateway_url": "http://127.0.0.1:9/router/rest"}, "gateway_url"),
    ],
)
def test_the_doctor_names_the_cause_and_the_remedy(
    project_folder: Path, play: Play, warehouse_url: str, changes: dict[str, str], said: str | None
) -> None:
    shops_file(project_folder, play, **changes)
    looked = run("doctor", "--json", ORDER_PIPELINE_DATABASE_URL=warehouse_url, DAGSTER_POSTGRES_URL=warehouse_url)
    report = json.loads(looked.stdout)
    bad = [finding for finding in report["findings"] if not finding["well"]]
    if said is None:
        assert looked.returncode == 0, report
        assert not bad
    else:
        assert looked.returncode == 1
        assert said in bad[0]["said"]
        assert play.shop().app_secret not in looked.stdout


@pytest.mark.usefixtures("project_folder")
def test_a_taken_port_is_said_to_be_taken(play: Play) -> None:
    port = play.server.url.rsplit(":", 1)[1]
    refused = run("dev", "--port", port, "--demand", "synthetic", "--orders", "50")
    assert refused.returncode == 2
    assert f"--port: {port} is taken" in refused.stderr
