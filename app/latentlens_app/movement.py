"""What is worked out of a run's states for the motion panel: made when it is asked for, and kept with the run.

In: a run, and the choices of the panel. Out: a `Wanted`, which makes its numbers, draws itself and writes itself as
Python. Every number comes from latentlens. Knows nothing about pages.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import latentlens as ll
from latentlens.figures.base import Drawing
from latentlens.models.describing import describe
from latentlens_app.jobs import Report
from latentlens_app.runs import Run, staged
from latentlens_app.views import sentence

NEEDS = {
    "motion": ("dynamics",),
    "convergence": ("dynamics",),
    "orbits": ("pairs", "dynamics"),
    "waterfall": (),
    "spectrum": ("spectra",),
    "path_independence": ("starts",),
}
"""What each picture is made of."""
STAGES = {"dynamics": (0.0, 1.0), "capture": (0.0, 0.9)}
FEW, PAIRS = 16, 6
NARROW: dict[str, dict[str, Any]] = {"orbits": {"pairs": 1}, "convergence": {"labels": False}}
OVER_ALL = ("participation_ratio",)
"""Quantities of all tokens together."""


@dataclass(frozen=True)
class Wanted:
    """A picture of motion, with the choices that it depends on.

    >>> Wanted("spectrum", 3, spectra=4).looked_at(16)
    [4, 8, 12, 16]
    """

    kind: str
    position: int
    y: str = "step_norm"
    everyone: bool = False
    color: str = "distance_to_final"
    spectra: int = 4
    starts: Any = FEW

    def to_page(self) -> dict[str, Any]:
        """The same as plain JSON, for a page to keep."""
        return asdict(self)

    def looked_at(self, last: int) -> list[int]:
        """The iterations whose Jacobian is looked at, evenly spaced, the last among them; all where `spectra` is 0."""
        count = min(self.spectra or last, last)
        return [round(last * (number + 1) / count) for number in range(count)]

    def options(self, name: str, run: Run) -> dict[str, Any]:
        """How latentlens is asked for what the picture is made of."""
        known: dict[str, dict[str, Any]] = {
            "dynamics": {},
            "pairs": {"n_components": min(PAIRS, run.traj.states.shape[-1], run.emb.frame.states - 1)},
            "spectra": {"spectra": self.looked_at(run.traj.iterations), "positions": [self.position]},
            "starts": {
                "starts": self.starts,
                "positions": [self.position],
                "iterations": run.traj.iterations,
                "seed": run.ask.seed,
            },
        }
        return known[name]

    def key(self, name: str, run: Run) -> str:
        """A name of exactly what is made."""
        return f"{name} {self.options(name, run)}"

    def there(self, run: Run) -> bool:
        """Whether everything that the picture needs was made."""
        return all(run.found.get(self.key(name, run)) is not None for name in NEEDS[self.kind])

    def make(self, run: Run, report: Report) -> None:
        """Make what is not there yet."""
        for name in NEEDS[self.kind]:
            if run.found.get(self.key(name, run)) is None:
                report(0.0, name)
                run.found.put(self.key(name, run), _made(name, run, self.options(name, run), staged(report, STAGES)))

    def draw(self, run: Run, narrow: bool = False) -> Drawing:
        """The picture, of what is there; in little room one pair of components and no words at the side."""
        parts = [run.found.get(self.key(name, run)) for name in NEEDS[self.kind]]
        given = [run.emb, run.out] if self.kind == "waterfall" else parts
        return getattr(ll.figures, self.kind)(*given, **self.drawn(), **(NARROW.get(self.kind, {}) if narrow else {}))

    def drawn(self) -> dict[str, Any]:
        """The options of the figure."""
        place = {"prompt": 0, "position": None if self.everyone else self.position}
        options: dict[str, dict[str, Any]] = {
            "motion": {"y": self.y, **({} if self.y in OVER_ALL else place)},
            "convergence": {"color": self.color, "mark": self.position},
            "orbits": {"position": self.position},
            "waterfall": {"position": self.position},
            "spectrum": {"position": self.position},
            "path_independence": {},
        }
        return options[self.kind]

    def code(self, run: Run) -> list[str]:
        """The Python that makes this picture, after that of the run."""
        calls = {"dynamics": "dynamics(traj", "pairs": "embed(traj", "spectra": "dynamics(traj"}
        calls["starts"] = "path_independence(model, " + ("prompt" if run.ids is None else "tokens=tokens")
        names = {"dynamics": "dyn", "pairs": "pairs", "spectra": "dyn", "starts": "found"}
        lines = [f"{names[n]} = ll.{calls[n]}{named(self.options(n, run))})" for n in NEEDS[self.kind]]
        given = ", ".join(names[n] for n in NEEDS[self.kind]) or "emb, out"
        emb = ["emb = ll.embed(traj)"] if self.kind == "waterfall" else []
        saved = f'.save("{self.kind}.pdf")'
        return [*emb, *lines, f"ll.figures.{self.kind}({given}{named(self.drawn())}){saved}"]


def refusal(run: Run, kind: str) -> str | None:
    """Why a model cannot do what a picture needs, or None where it can."""
    model = run.traj.needs_model()
    if kind in ("spectrum", "path_independence") and not model.steps:
        return f"{sentence(describe(model).lacks['step'])}."
    if kind == "path_independence" and not model.random_start:
        return "Its initial state is not random: every run of this prompt starts from the same one."
    if kind != "waterfall" and run.traj.iterations < 2:
        return "One iteration is too few to tell motion: run with two or more."
    return None


def named(options: dict[str, Any]) -> str:
    """Options as they are written in a call.

    >>> named({"space": "norm", "iterations": range(1, 3)})
    ", space='norm', iterations=range(1, 3)"
    """
    return "".join(f", {name}={value!r}" for name, value in options.items())


def _made(name: str, run: Run, options: dict[str, Any], report: Report) -> Any:
    if name == "pairs":
        return ll.embed(run.traj, **options, progress=report)
    if name == "starts":
        given: dict[str, Any] = {"prompts": run.ask.prompt} if run.ids is None else {"tokens": [list(run.ids)]}
        found = ll.path_independence(run.traj.needs_model(), **given, **options, progress=report)
        return found.data  # its states would be those of many runs
    return ll.dynamics(run.traj, **options, progress=report)
