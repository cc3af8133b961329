"""What all callbacks share: the runs, the jobs, and what a page opens on.

In: the arguments of `create_app`. Out: a `Desk`. One an app; pages are told apart by the ids of their jobs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from latentlens import LatentLensError
from latentlens_app.asking import ITERATIONS, Ask
from latentlens_app.examples import opening_prompt
from latentlens_app.jobs import Job, Jobs
from latentlens_app.runs import Run, Runs


@dataclass(frozen=True, eq=False)
class Desk:
    """The server's side of every page."""

    model: str
    runs: Runs
    jobs: Jobs = field(default_factory=Jobs)

    @property
    def opening(self) -> Ask:
        """What a fresh page shows: the worked example, or another model as often as it iterates by itself."""
        prompt = opening_prompt(self.model, self.runs.has_tokenizer(self.model))
        return Ask(self.model, prompt, ITERATIONS if self.model == "walks" else None)

    def start(self, ask: Ask, previous: dict[str, Any] | None = None) -> dict[str, Any]:
        """Begin a run, let go of the page's previous one, and say how to ask about it."""
        if previous:
            self.jobs.cancel(previous.get("id", ""))
        job = self.jobs.submit(lambda report: self.runs.make(ask, report))
        return {"id": job.id, "key": ask.key, "ask": ask.to_page()}

    def job(self, told: dict[str, Any] | None) -> Job | None:
        """The job that a page was told about, or None where it is not known (any more)."""
        return self.jobs.get(told["id"]) if told else None

    def run(self, shown: dict[str, Any]) -> Run:
        """The run that a page shows; refuses where it is not kept any more."""
        run = self.runs.get(shown["key"])
        if run is None:
            raise LatentLensError("expected a run that is still kept, got one that was let go: press Run again")
        return run
