"""The Dockerfile as Docker would read it: stages of instructions."""

from __future__ import annotations

from typing import NamedTuple

from order_pipeline_tests.deployment.compose import ROOT


class Instruction(NamedTuple):
    """One instruction: COPY, and what follows it."""

    word: str
    rest: str


def stages() -> list[list[Instruction]]:
    content = (ROOT / "Dockerfile").read_text()
    lines = "\n".join(line for line in content.splitlines() if not line.startswith("#")).replace("\\\n", "")
    found: list[list[Instruction]] = []
    for line in lines.splitlines():
        if not line.strip():
            continue
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            found.append([])
        found[-1].append(Instruction(word, rest))
    return found


def copied(stage: list[Instruction]) -> list[tuple[list[str], str]]:
    """What a stage copies out of the project: sources, and where to."""
    found = []
    for word, rest in stage:
        if word == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            found.append((sources, target))
    return found


def environment(stage: list[Instruction]) -> dict[str, str]:
    return dict(pair.split("=", 1) for word, rest in stage if word == "ENV" for pair in rest.split())
