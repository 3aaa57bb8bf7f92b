"""docker-compose.yml as Docker would read it: variables filled in, files merged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<sign>:-|:\?)(?P<rest>[^}]*))?\})")


class MissingVariableError(Exception):
    """A variable without which compose does not start; the message is the file's own."""


def variables(*names: str) -> set[str]:
    """The variables that the files read."""
    return {
        match["name"]
        for name in names
        for match in _VARIABLE.finditer(_without_comments(name))
        if match["name"] is not None
    }


def read(*names: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The files of the project's root, the later over the earlier, with ``environment`` filled in."""
    merged: dict[str, Any] = {}
    for name in names:
        merged = _merge(merged, yaml.safe_load(_filled(_without_comments(name), environment)))
    return merged


def command_of(service: Mapping[str, Any]) -> list[str]:
    return [str(word) for word in service.get("command", [])]


def mounts_of(service: Mapping[str, Any]) -> dict[str, str]:
    """Where a service's folders and files come from, by where they are in the container."""
    found = {}
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            source, target, *_ = volume.split(":")
        else:
            source, target = volume["source"], volume["target"]
        found[target] = source
    return found


def _without_comments(name: str) -> str:
    return "".join(
        line for line in (ROOT / name).read_text().splitlines(keepends=True) if not line.lstrip().startswith("#")
    )


def _filled(content: str, environment: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        given = environment.get(match["name"])
        if given:
            return given
        if match["sign"] == ":?":
            raise MissingVariableError(f"{match['name']}: {match['rest']}")
        return match["rest"] or ""

    return _VARIABLE.sub(value, content)


def _merge(under: Any, over: Any, path: Sequence[str] = ()) -> Any:
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: _merge(under.get(key), value, [*path, key]) for key, value in over.items()}
    if isinstance(under, list) and path[-1:] == ["volumes"]:
        targets = mounts_of({"volumes": over})
        return [volume for volume in under if next(iter(mounts_of({"volumes": [volume]}))) not in targets] + over
    return over
