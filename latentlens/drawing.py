"""From the name of a figure and a prompt to the figure: what it is drawn from is made, and nothing else.

In: a model, a prompt, and the choices of a command. Out: a `Drawing`. `names.DRAWN_FROM` says what each kind is drawn
from, and each of these is a property of `Made`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import xarray as xr

from latentlens import figures
from latentlens.embeddings import Embedding, embed
from latentlens.errors import FigureError
from latentlens.figures.base import Drawing
from latentlens.figures.kinds.labels import iteration_ticks
from latentlens.figures.kinds.motion import ASKED
from latentlens.landmarks import Landmarks, mark
from latentlens.lenses import Lens
from latentlens.models.base import LatentModel
from latentlens.motion import dynamics
from latentlens.motion.starts import PathIndependence, path_independence
from latentlens.names import DRAWN_FROM
from latentlens.readouts import decode
from latentlens.recording import capture
from latentlens.trajectory import Trajectory

PAIRED = 6
"""Components of the layout that is drawn in pairs."""
PLACE = {"map": "strong", "grid": "mark", "convergence": "mark"}
"""The option that a position is, where it is not `position`."""


@dataclass(frozen=True)
class Made:
    """One prompt, and whatever a figure of it is drawn from, made when it is asked for."""

    kind: str
    model: LatentModel
    prompt: str
    iterations: int | None = None
    seed: int = 0
    lens: Lens | str | None = None
    track: Sequence[str] | None = None
    position: int | None = None
    marked: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> int:
        """The token that is drawn: the last where none was named."""
        return -1 if self.position is None else self.position

    @cached_property
    def traj(self) -> Trajectory:
        return capture(self.model, self.prompt, iterations=self.iterations, seed=self.seed)

    @cached_property
    def readout(self) -> xr.Dataset:
        return decode(self.traj, self.lens, track=self.track, also=None if self.track else "truth")

    @cached_property
    def layout(self) -> Embedding:
        return embed(self.traj)

    @property
    def pairs(self) -> Embedding:
        return embed(self.traj, n_components=min(PAIRED, self.traj.states.shape[-1]))

    @property
    def marks(self) -> Landmarks | None:
        """Of the state where the playhead stands."""
        if not self.marked:
            return None
        at = self.options.get("playhead")
        iteration = -1 if at is None else at
        return mark(self.layout, self.traj, self.readout, iteration=iteration, position=self.place, lens=self.lens)

    @property
    def motion(self) -> xr.Dataset:
        """Jacobians and fixed points are only worked out where they are drawn."""
        y = str(self.options.get("y", self.options.get("color")))
        wanted: dict[str, Any] = {}
        if self.kind == "spectrum" or ASKED.get(y, "").startswith("spectra"):
            wanted = {"spectra": iteration_ticks(0, self.traj.iterations), "positions": [self.place]}
        elif y in ASKED:
            wanted = {"fixed_point": True}
        return dynamics(self.traj, **wanted)

    @property
    def starts(self) -> PathIndependence:
        return path_independence(
            self.model, self.prompt, positions=[self.place], iterations=self.iterations, seed=self.seed
        )


def drawing(made: Made) -> Drawing:
    """The figure.

    Raises:
        FigureError: marks in a figure that has none, or an option that the figure does not know.

    >>> import latentlens as ll
    >>> drawing(Made("grid", ll.load("walks"), "2 steps from Ann", iterations=4, position=1)).table().attrs["mark"]
    1
    """
    parts = DRAWN_FROM[made.kind]
    if made.marked and "marks" not in parts:
        raise FigureError(f"expected --marks for map only, got it for {made.kind}: leave it out")
    option = PLACE.get(made.kind, "position")
    place = {option: made.position} if option == "mark" else {option: made.place}
    if "starts" in parts:
        place = {}  # the position is what they are made for
    figure = figures.KINDS[made.kind].make(**{**place, **made.options})
    return figure.of(*(getattr(made, part) for part in parts))
