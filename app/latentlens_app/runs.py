"""From what is asked to what can be shown: load, capture, decode and embed, and keep the last few results.

In: an `Ask` and a progress callable. Out: a `Run`. Every number in it comes from latentlens.
Used by one worker thread; pages only look results up.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xarray as xr

import latentlens as ll
from latentlens_app.asking import Ask
from latentlens_app.following import track_of
from latentlens_app.jobs import Report
from latentlens_app.kept import Kept
from latentlens_app.saved import saved_lenses

KEPT_RUNS, KEPT_MODELS, KEPT_FOUND = 24, 2, 24
STAGES = {"load": (0.0, 0.1), "capture": (0.1, 0.5), "decode": (0.5, 0.95), "pca": (0.95, 1.0)}


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its states, what the lens says, and the layout of the states.

    `found` is what was worked out of the states since, by name; runs of the same states share it.
    """

    ask: Ask
    traj: ll.Trajectory
    out: xr.Dataset
    emb: ll.Embedding
    also: tuple[str, ...] = ()
    ids: tuple[int, ...] | None = None
    found: Kept[Any] = field(default_factory=lambda: Kept(KEPT_FOUND))

    @property
    def tokens(self) -> list[str]:
        """The texts of the prompt's tokens."""
        return self.traj.str_tokens[0]


class Runs:
    """Makes runs, and keeps the latest of them and of the loaded models.

    `models` are ones that are there already (a model that was handed to `create_app`), by name; `store` is a folder
    of trajectories, in which every run's states are kept and found again; `lenses` is one of saved lenses.
    """

    def __init__(
        self,
        store: Path | None = None,
        models: dict[str, ll.LatentModel] | None = None,
        lenses: Path | None = None,
    ) -> None:
        self.store, self.lenses, self._given = store, lenses, dict(models or {})
        self._saved: dict[str, list[tuple[str, str]]] = {}
        self._runs: Kept[Run] = Kept(KEPT_RUNS)
        self._models: Kept[ll.LatentModel] = Kept(KEPT_MODELS)

    def get(self, key: str) -> Run | None:
        """A finished run, or None where it is not kept (any more)."""
        return self._runs.get(key)

    def known_states(self, ask: Ask) -> Run | None:
        """A run of the same states, which another lens was asked about."""
        return next((run for run in self._runs.values() if run.ask.states_key == ask.states_key), None)

    def make(self, ask: Ask, report: Report) -> str:
        """Do what is asked, or find it done, and return its key."""
        if self.get(ask.key) is None:
            ask.check()
            self._runs.put(ask.key, self._made(ask, report))
        return ask.key

    def loaded(self, name: str) -> ll.LatentModel | None:
        """A model by name, or None where it was not loaded yet."""
        return self._given.get(name) or self._models.get(name)

    def saved(self, name: str) -> list[tuple[str, str]]:
        """The saved lenses of a model, as they were when it last ran: path and title."""
        return self._saved.get(name, [])

    def has_tokenizer(self, name: str) -> bool:
        """Whether a model takes text, as far as that can be known before it is loaded."""
        found, folder = self.loaded(name), Path(name).expanduser()
        if found is not None:
            return found.tokenizer is not None
        return not folder.is_dir() or (folder / "tokenizer.json").is_file()

    def model(self, name: str) -> ll.LatentModel:
        """A model by name, loaded once."""
        found = self.loaded(name)
        if found is None:
            found = ll.load(name)
            self._models.put(name, found)
        return found

    def _made(self, ask: Ask, report: Report) -> Run:
        report(0.0, "load the model")
        model = self.model(ask.model)
        self._saved[ask.model] = saved_lenses(self.lenses, model)
        ids = ask.ids_for(model)
        known = self.known_states(ask)
        traj = self._states(ask, model, ids, report) if known is None else known.traj
        track = track_of(ask.track, model)
        also = () if track else truth_names(model, ask.prompt)
        named = {"track": track, "also": list(also) or None}
        out = ll.decode(traj, lens=ask.lens, **named, statistics="all", progress=staged(report))
        listed = None if ids is None else tuple(ids)
        if known is not None:
            return replace(known, ask=ask, out=out, also=also, ids=listed)
        return Run(ask, traj, out, ll.embed(traj, progress=staged(report)), also, listed)

    def _states(self, ask: Ask, model: ll.LatentModel, ids: list[int] | None, report: Report) -> ll.Trajectory:
        count = ask.iterations_of(model)
        if isinstance(count, int):
            ask.check_size(len(ids or model.tokenizer.encode(ask.prompt)), count)  # type: ignore[union-attr]
        path = None if self.store is None else self.store / f"{ask.states_key}.zarr"
        if path is not None and path.exists():
            return ll.Trajectory.load(path, model=model)
        given: dict[str, Any] = {"prompts": ask.prompt} if ids is None else {"tokens": [ids]}
        traj = ll.capture(model, **given, iterations=count, seed=ask.seed, progress=staged(report))
        if path is not None:
            traj.save(path)
        return traj


def truth_names(model: ll.LatentModel, prompt: str) -> tuple[str, ...]:
    """The names of the exact answer, where the model's task knows one for this prompt."""
    if model.truth is None:
        return ()
    try:
        return tuple(model.truth(prompt))
    except ll.LatentLensError:  # no query in this prompt: it has no exact answer, and that is all right
        return ()


def staged(report: Report, stages: dict[str, tuple[float, float]] = STAGES) -> Report:
    """The progress of one stage as progress of the whole."""

    def staged_report(share: float, what: str) -> None:
        start, end = stages.get(what, (0.97, 1.0))
        report(start + share * (end - start), what)

    return staged_report
