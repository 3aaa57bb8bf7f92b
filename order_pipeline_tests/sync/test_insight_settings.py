"""insights.yaml: the rules' own settings where it says nothing, and one line that names what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from order_pipeline.configuration import ConfigurationError
from order_pipeline.insights.stalls import DEFAULT_SETTINGS
from order_pipeline.sync.insight_settings import stall_settings

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORDER_PIPELINE_INSIGHTS", raising=False)


def test_without_a_file_the_defaults_hold_and_the_example_shows_them() -> None:
    assert stall_settings() == DEFAULT_SETTINGS
    Path("insights.yaml").write_text((ROOT / "insights.example.yaml").read_text())
    assert stall_settings() == DEFAULT_SETTINGS
    Path("insights.yaml").write_text("")
    assert stall_settings() == DEFAULT_SETTINGS


def test_what_is_said_counts_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.yaml").write_text("stalls: {stall_hours: 48, rules: [S2]}")
    monkeypatch.setenv("ORDER_PIPELINE_INSIGHTS", "mine.yaml")
    settings = stall_settings()
    assert (settings.stall_hours, settings.rules, settings.delivery_hours) == (48, ("S2",), 48)


@pytest.mark.parametrize(
    "wrong", ["{stal_hours: 48}", "{stall_hours: -1}", "{stall_hours: soon}", "[1]", "{rules: [S9]}"]
)
def test_a_wrong_setting_is_named(wrong: str) -> None:
    Path("insights.yaml").write_text(f"stalls: {wrong}")
    with pytest.raises(ConfigurationError, match=r"insights\.yaml.*stalls"):
        stall_settings()


def test_a_file_that_is_named_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_PIPELINE_INSIGHTS", "not-there.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        stall_settings()
