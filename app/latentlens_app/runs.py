"""From what is asked to what can be shown: load, capture, decode and embed, and keep the last few results.

In: an `Ask` and a progress callable. Out: a `Run`. Every number in it comes from latentlens.
Used by one worker thread; pages only look results up.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import xarray as xr

import latentlens as ll
from latentlens_app.asking import Ask
from latentlens_app.following import track_of
from latentlens_app.jobs import Report
from latentlens_app.saved import saved_lenses

Value = TypeVar("Value")
KEPT_RUNS, KEPT_MODELS = 24, 2
STAGES = {"load": (0.0, 0.1), "capture": (0.1, 0.5), "decode": (0.5, 0.95), "pca": (0.95, 1.0)}


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its states, what the lens says, and the layout of the states."""

    ask: Ask
    traj: ll.Trajectory
    out: xr.Dataset
    emb: ll.Embedding
    also: tuple[str, ...] = ()

    ids: tuple[int, ...] | None = None

    @property
    def tokens(self) -> list[str]:
        """The texts of the prompt's tokens."""
        return self.traj.str_tokens[0]


class Kept(Generic[Value]):
    """The last few values, by key; the one not touched for longest goes first. Safe to use from threads.

    >>> kept = Kept(2)
    >>> for letter in "abc":
    ...     kept.put(letter, letter.upper())
    >>> kept.get("a"), kept.get("c")
    (None, 'C')
    """

    def __init__(self, most: int) -> None:
        self._most, self._values, self._lock = most, OrderedDict[str, Value](), threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def values(self) -> list[Value]:
        """All of them, oldest first."""
        with self._lock:
            return list(self._values.values())

    def get(self, key: str) -> Value | None:
        """The value, which now counts as the latest, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: str, value: Value) -> None:
        """Keep a value, and let go of the oldest where there are too many."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)


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

    def known_states(self, ask: Ask) -> ll.Trajectory | None:
        """States that another lens was asked about already."""
        return next((run.traj for run in self._runs.values() if run.ask.states_key == ask.states_key), None)

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
        traj = self.known_states(ask) or self._states(ask, model, ids, report)
        track = track_of(ask.track, model)
        also = () if track else truth_names(model, ask.prompt)
        named = {"track": track, "also": list(also) or None}
        out = ll.decode(traj, lens=ask.lens, **named, statistics="all", progress=staged(report))
        emb = ll.embed(traj, progress=staged(report))
        return Run(ask, traj, out, emb, also, None if ids is None else tuple(ids))

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


def staged(report: Report) -> Report:
    """The progress of one stage as progress of the whole."""

    def staged_report(share: float, what: str) -> None:
        start, end = STAGES.get(what, (0.0, 1.0))
        report(start + share * (end - start), what)

    return staged_report
