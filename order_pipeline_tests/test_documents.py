"""What the documents name exists: every command of order-pipeline, every option, every file that is linked."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from order_pipeline.cli import cli

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# In code: a span between backticks, or a line of a block that begins with it.
CALL = re.compile(r"(?:`|^ *(?:\S*/)?)order-pipeline ([a-z][^`\n|#]*)", re.MULTILINE)


def called(document: Path) -> list[str]:
    return [match.group(1).strip() for match in CALL.finditer(document.read_text())]


def unknown(call: str) -> str | None:
    """Return what of a call does not exist."""
    words = call.split()
    command: click.Command = cli
    while words and isinstance(command, click.Group):
        names = words[0].split("/")
        found = [command.commands.get(name) for name in names]
        if not all(found):
            return words[0]
        words.pop(0)
        (first, *_) = found
        assert first is not None
        command = first
        if len(names) > 1:
            return None
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    return next((option for option in options if option not in known | {"--help"}), None)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    assert {call: missing for call in called(document) if (missing := unknown(call))} == {}


def test_a_command_that_does_not_exist_would_be_found() -> None:
    assert unknown("status --json") is None
    assert unknown("stauts") == "stauts"
    assert unknown("backfill --form 2026-11-01") == "--form"
    assert unknown("quarantine list --json") is None
    assert len(called(ROOT / "docs" / "operations.md")) > 15


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_links_exists(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
