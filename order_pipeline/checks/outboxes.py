"""What the checks of both outboxes have in common: notices to people, events to the merchant's own systems.

Belongs here: a judgement as a check's result, in a run and outside of one. Not here: judging (notices.py, hook.py).
"""

from typing import NamedTuple

import dagster as dg

# The tables are right all the same.
SEVERITY = dg.AssetCheckSeverity.WARN


class OutboxVerdict(NamedTuple):
    """Why nobody is told, None when they are or there is nobody, and how many notices or events wait."""

    problem: str | None
    waiting: int

    def result(self) -> dg.AssetCheckResult:
        """Return it for a run."""
        return dg.AssetCheckResult(
            passed=not self.problem,
            severity=SEVERITY,
            description=self.problem,
            metadata={"waiting": self.waiting},
        )

    def evaluation(self, asset: dg.AssetsDefinition, check: str) -> dg.AssetCheckEvaluation:
        """Return the same for whoever is no run."""
        return dg.AssetCheckEvaluation(
            asset_key=asset.key,
            check_name=check,
            passed=not self.problem,
            severity=SEVERITY,
            description=self.problem,
            metadata={"waiting": self.waiting},
        )
