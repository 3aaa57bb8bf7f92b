"""Events for the merchant's own systems: a real command and a real web server, in order, at least once."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from order_pipeline.configuration import ConfigurationError
from order_pipeline.notifications.hook import open_hook
from order_pipeline.sync.hook import hand_over_events, is_late, look_at_hook
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.hook_events import Event, put_events
from order_pipeline_tests.notifications.service import running_service


def put(engine: Engine, *numbers: int) -> None:
    with transaction(engine) as connection:
        put_events(connection, [Event("presale_hold", f"key-{number}", {"held": number}) for number in numbers])


def wait_over(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.notice_sink SET next_attempt_at = '-infinity'"))


def test_a_web_address_gets_each_event_in_order_and_a_refusal_holds_up_the_rest(engine: Engine) -> None:
    with running_service() as service:
        hook = open_hook(f"{service.url}/erp")
        put(engine, 1, 2)
        put(engine, 2, 1)  # told again: nothing new
        service.says(500, "down")
        failed = hand_over_events(engine, hook)
        assert (failed.events, len(service.got)) == (0, 1)
        assert "HTTP status 500" in failed.stopped
        service.says(200, "")
        # It is left alone for a while first.
        assert "left alone" in hand_over_events(engine, hook).stopped
        wait_over(engine)
        put(engine, 3)
        assert hand_over_events(engine, hook).events == 3
        assert [got.body["held"] for got in service.got] == [1, 1, 2, 3]
        assert service.got[-1].path == "/erp"
        assert {"event", "key", "raised_at", "held"} == service.got[-1].body.keys()
        assert hand_over_events(engine, hook) == (0, "")
    assert look_at_hook(engine).events == 0


def test_a_command_gets_the_document_on_its_standard_input(engine: Engine, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    script = tmp_path / "erp.py"
    script.write_text(
        "import json, sys\nevent = json.load(sys.stdin)\nopen(sys.argv[1], 'a').write(json.dumps(event) + '\\n')\n"
        "if event['held'] == 2:\n    sys.exit('the ERP does not know order 2')\n"
    )
    hook = open_hook(f"{sys.executable} '{script}' {kept}")
    put(engine, 1, 2, 3)
    stopped = hand_over_events(engine, hook)
    assert stopped.events == 1
    assert "ended with 1: the ERP does not know order 2" in stopped.stopped
    assert [json.loads(line)["key"] for line in kept.read_text().splitlines()] == ["key-1", "key-2"]
    waiting = look_at_hook(engine)
    assert waiting.events == 2
    assert not is_late(waiting, datetime.now(UTC))
    assert is_late(waiting, datetime.now(UTC) + timedelta(minutes=16))
    wait_over(engine)
    assert "does not start (No such file or directory)" in hand_over_events(engine, open_hook("/no/such/erp")).stopped


@pytest.mark.parametrize("configured", ["https://", "erp 'unclosed"])
def test_a_hook_that_is_none_is_said(configured: str) -> None:
    with pytest.raises(ConfigurationError, match="ORDER_PIPELINE_HOOK is no"):
        open_hook(configured)
