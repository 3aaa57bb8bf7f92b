"""order-pipeline notices as a person on call uses it: real processes, a real service, a real warehouse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from order_pipeline.configuration import NOTIFY_URL
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.notices import Notice, Severity, raise_notice
from order_pipeline_tests.end_to_end.program import run
from order_pipeline_tests.notifications.service import running_service


def test_a_trial_message_tells_whether_each_address_takes_it(
    project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_service() as well, running_service() as ill:
        ill.says(200, {"errcode": 310000, "errmsg": "sign not match"})
        (project_folder / ".env").write_text(
            f'{NOTIFY_URL}="wecom://KEY?server={well.url} dingtalk://geheim@TOKEN?server={ill.url}"\n'
        )
        monkeypatch.delenv(NOTIFY_URL, raising=False)
        tried = run("notices", "test")
    assert tried.returncode == 1, tried.stderr
    took, refused = tried.stdout.splitlines()
    assert took.startswith("ok  wecom-")
    assert refused.startswith("FAIL  dingtalk-")
    assert "code 310000: sign not match" in refused
    assert "geheim" not in tried.stdout + tried.stderr
    assert "a trial message" in well.got[0].content


@pytest.mark.parametrize("command", [("notices", "test"), ("dev",)])
def test_a_wrong_address_ends_in_one_line_and_exit_code_2(
    project_folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    assert project_folder
    monkeypatch.setenv(NOTIFY_URL, "dingtak://geheim@TOKEN")
    refused = run(*command)
    assert refused.returncode == 2
    assert refused.stderr.strip() == (
        "order-pipeline: environment: ORDER_PIPELINE_NOTIFY_URL: there is no dingtak://; did you mean dingtalk://?"
    )
    assert refused.stdout == ""


def test_the_list_and_the_status_show_what_waits(
    project_folder: Path, warehouse_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project_folder
    monkeypatch.setenv("ORDER_PIPELINE_DATABASE_URL", warehouse_url)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", warehouse_url)
    with transaction(engine) as connection:
        for _ in range(2):
            raise_notice(connection, Notice("kind", "a", Severity.ERROR, "a title", "what to do"))
    listed = run("notices", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    (notice,) = json.loads(listed.stdout)["notices"]
    assert (notice["title"], notice["times_raised"], notice["delivered_at"]) == ("a title", 2, None)
    status = run("status", "--json")
    assert json.loads(status.stdout)["notices"]["waiting"] == 1
