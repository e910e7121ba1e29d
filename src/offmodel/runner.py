"""From a plan to finished artefacts: batch after batch, going on past failures."""

from dataclasses import dataclass, field
from pathlib import Path

from offmodel.executors import Executor
from offmodel.plan import Plan, next_batch
from offmodel.settings import Settings


@dataclass
class Report:
    """What a run made, what failed and why, and what could not be tried because of that."""

    made: list[str] = field(default_factory=list)
    failed: dict[str, tuple[str, Path]] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)

    def describe_failures(self) -> str:
        lines = [f"failed: {name}: {message}\n        log: {log}" for name, (message, log) in self.failed.items()]
        if self.blocked:
            lines.append(f"not tried, for they need what failed: {len(self.blocked)} artefacts")
        return "\n".join(lines)


def run(plan: Plan, settings: Settings, executor: Executor) -> Report:
    """Make every missing artefact of the plan. A failed step holds up only what needs it."""
    report = Report()
    finished = {step.recipe.id for step in plan.steps if step.done}
    remaining = plan.missing
    while batch := next_batch(remaining, finished):
        outcome = executor([step.recipe for step in batch], settings)
        finished |= outcome.done
        report.made += [step.recipe.id for step in batch if step.recipe.id in outcome.done]
        report.failed |= {name: (message, outcome.log) for name, message in outcome.failed.items()}
        if not outcome.done and not outcome.failed:
            # A worker that ends well and tells nothing would be started for ever.
            report.failed |= {step.recipe.id: ("its worker said nothing of it", outcome.log) for step in batch}
        remaining = [s for s in remaining if s.recipe.id not in finished and s.recipe.id not in report.failed]
    report.blocked = [step.recipe.id for step in remaining]
    return report
