"""Linear probes: what the state of each iteration still holds, whatever the model would answer.

In: a `Trajectory` and targets. Out: a `Probe`: a linear map per iteration, its scores on prompts that it never saw, and
those of its control. Knows nothing about lenses.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from latentlens.errors import ProbeError
from latentlens.files import write_whole
from latentlens.models.base import LatentModel
from latentlens.names import check_name
from latentlens.probes.heldout import KINDS, Found, Trial
from latentlens.probes.targets import Label, asked_positions, make_examples, places
from latentlens.progress import Progress, progress_bar
from latentlens.trajectory import Trajectory, identify

FORMAT = 1
TITLES = {
    "accuracy": ("accuracy, held out", "1"),
    "bits": ("KL(target || probe), held out", "bits"),
    "r2": ("R^2, held out", "1"),
    "penalty": ("penalty on the squared weights", "1"),
    "held_out": ("whether a prompt was held out", "bool"),
}


@dataclass(eq=False)
class Probe:
    """A linear map per iteration from the state to targets (Alain and Bengio 2016, arXiv 1610.01644).

    A lens says what the model would *answer* if it stopped here; a probe says what the state still *holds*. A candidate
    whose probability is low is not dead while a probe finds it.

    Attributes:
        kind: "softmax" (classes or distributions) or "ridge" (vectors).
        classes: the labels, in the order of the outputs; None for "ridge".
        iterations: those that have a map.
        mean, spread: `[iteration, d_model]` of the fit split's states; the maps read `(s - mean) / spread`.
        weight, bias: `[iteration, output, d_model]` and `[iteration, output]`, float32.
        scores: a Dataset over iteration, measured on held-out prompts: `accuracy` from 0 to 1 and `bits` =
            KL(target || probe), or `r2`; each also as `_control`: the same fit to shuffled targets (Hewitt and Liang
            2019, arXiv 1909.03368). What the real targets gain over it is in the states; the rest is in the probe.
            `penalty`, and `held_out` by prompt.
        about: positions, seed, the number of examples, and the model (`origin`).

    >>> import latentlens as ll
    >>> from latentlens.models import walks
    >>> prompts = walks.sample(40, steps=1, seed=1)
    >>> traj = ll.capture(ll.load("walks"), prompts, iterations=4)
    >>> probe = ll.Probe.fit(traj, [p.split()[-1] for p in prompts], penalty=0.01)
    >>> bool(probe.scores.accuracy[1] > probe.scores.accuracy_control[1])
    True
    """

    kind: str
    classes: list[Label] | None
    iterations: list[int]
    mean: Float[Tensor, "iteration d_model"] = field(repr=False)
    spread: Float[Tensor, "iteration d_model"] = field(repr=False)
    weight: Float[Tensor, "iteration output d_model"] = field(repr=False)
    bias: Float[Tensor, "iteration output"] = field(repr=False)
    scores: xr.Dataset = field(repr=False)
    about: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(
        cls,
        traj: Trajectory,
        targets: Any,
        *,
        kind: str = "softmax",
        positions: int | Sequence[int] | None = -1,
        held_out: float = 0.25,
        penalty: float | None = None,
        iterations: Sequence[int] | None = None,
        seed: int = 0,
        progress: Progress = True,
    ) -> Probe:
        """Fit a probe per iteration on some prompts, and measure it on the others.

        Features are standardised by the fit split alone. Softmax by L-BFGS to KL(target || probe), ridge in closed
        form; both convex, so the result does not depend on a start.

        Args:
            traj: what `capture` returns; prompts are its rows.
            targets: one a prompt, or one a token (as long as the prompt, indexed by position; None is no target).
                Softmax: labels, `{label: probability}`, or an array `[prompt, class]` of probabilities. Ridge: an array
                `[prompt]`, `[prompt, output]` or `[prompt, position, output]`.
            positions: which states: one, several (negative: from each prompt's own end), or None for all.
            held_out: the share of prompts that is measured on, never fitted.
            penalty: on the squared weights, beside the mean loss (nats, squared error). None chooses one per iteration
                on a quarter of the fit split; the control takes the same.
            iterations: which to fit; None is all, 0 included.
            seed: of the split and of the shuffle.

        Raises:
            ProbeError: targets that do not fit, or too few prompts.

        >>> import latentlens as ll
        >>> traj = ll.capture(ll.load("walks"), ["1 steps from Ann", "2 steps from Bob", "1 steps from Cal"] * 4)
        >>> probe = ll.Probe.fit(traj, [[1.0], [2.0], [1.0]] * 4, kind="ridge", iterations=[1], penalty=1e-3)
        >>> probe.weight.shape[:2]
        torch.Size([1, 1])
        """
        check_name("a kind of probe", kind, KINDS, ProbeError)
        chosen, trial = _checked(traj, iterations), Trial.make(len(traj.tokens), kind, held_out, penalty, seed)
        examples = make_examples(traj, targets, kind, positions)
        found: list[Found] = []
        with progress_bar(progress, len(chosen), "probe", "iteration") as tick:
            for r in chosen:
                states = traj.states[examples.prompt, r, examples.position].double()
                found.append(trial.run(states, examples))
                tick(1)
        about = {
            "positions": None if positions is None else [int(p) for p in asked_positions(traj, positions)],
            "seed": seed,
            "examples": len(examples.target),
            "held_out": held_out,
            "origin": traj.origin,
        }
        told = {"kind": kind, "seed": seed, "model": str(traj.origin.get("name"))}
        told["random_start"] = int(bool(traj.origin.get("random_start")))
        data: dict[str, Any] = {name: ("iteration", [f.scores[name] for f in found]) for name in found[0].scores}
        data["held_out"] = ("prompt", trial.held_out.numpy())
        maps = {name: torch.stack([getattr(f, name) for f in found]) for name in ("mean", "spread", "weight", "bias")}
        return cls(kind, examples.classes, chosen, **maps, scores=_titled(data, chosen, told), about=about)

    def predict(self, traj: Trajectory, positions: int | Sequence[int] | None = -1) -> xr.DataArray:
        """What the probe reads in the states of a trajectory of the same model.

        Returns:
            `[prompt, iteration, position, class]` probabilities, or `[..., output]` values; NaN where a prompt is too
            short. Positions as asked; None is all.

        Raises:
            ProbeError: another model's trajectory, or one without the iterations that were fitted.

        >>> import latentlens as ll
        >>> traj = ll.capture(ll.load("walks"), ["1 steps from Ann", "1 steps from Bob"] * 4, iterations=2)
        >>> said = ll.Probe.fit(traj, ["Ann", "Bob"] * 4, penalty=0.01).predict(traj)
        >>> said.dims, said.isel(prompt=0, iteration=2, position=0).idxmax("class").item()
        (('prompt', 'iteration', 'position', 'class'), 'Ann')
        """
        self._check_model(traj.origin)
        if max(self.iterations) > traj.iterations:
            raise ProbeError(f"expected a trajectory of {max(self.iterations)} iterations, got {traj.iterations}")
        asked = asked_positions(traj, positions)
        prompt, place, position = places(traj, asked)
        out = torch.full((len(traj.tokens), len(self.iterations), len(asked), self.bias.shape[1]), torch.nan)
        for number, r in enumerate(self.iterations):
            x = (traj.states[prompt, r, position].float() - self.mean[number]) / self.spread[number]
            said = x @ self.weight[number].T + self.bias[number]
            out[prompt, number, place] = said.softmax(-1) if self.kind == "softmax" else said
        name = "class" if self.kind == "softmax" else "output"
        coords: dict[str, Any] = {"iteration": self.iterations, "position": asked}
        if self.classes is not None:
            coords["class"] = np.array(self.classes, object if isinstance(self.classes[0], str) else int)
        return xr.DataArray(
            out.numpy(), dims=("prompt", "iteration", "position", name), coords=coords, name="probe",
            attrs={"long_name": "probability read by the probe" if self.classes else "value read by the probe"},
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write a .safetensors file, whole or not at all; it says which model it belongs to. Returns the path.

        >>> import latentlens as ll, tempfile
        >>> traj = ll.capture(ll.load("walks"), ["1 steps from Ann", "1 steps from Bob"] * 4, iterations=2)
        >>> path = ll.Probe.fit(traj, ["Ann", "Bob"] * 4, penalty=0.01).save(tempfile.mkdtemp() + "/p.safetensors")
        >>> ll.Probe.load(path).classes
        ['Ann', 'Bob']
        """
        out = Path(path)
        if out.suffix != ".safetensors" or not out.parent.is_dir():
            raise ProbeError(f"expected a new file x.safetensors in a folder that exists, got {out}")
        tensors = {name: getattr(self, name).contiguous() for name in ("mean", "spread", "weight", "bias")}
        for name, values in self.scores.data_vars.items():
            tensors[f"scores.{name}"] = torch.from_numpy(np.ascontiguousarray(values.values))
        told = {
            "format": FORMAT,
            "kind": self.kind,
            "classes": self.classes,
            "iterations": self.iterations,
            "about": self.about,
            "scores": self.scores.attrs,
            "dims": {name: list(values.dims) for name, values in self.scores.data_vars.items()},
        }
        write_whole(out, lambda part: save_file(tensors, part, {"latentlens.probe": json.dumps(told)}))
        return out

    @classmethod
    def load(cls, path: str | Path, *, model: LatentModel | None = None) -> Probe:
        """Read a probe that was saved; with `model`, refuses one that was fitted to another."""
        try:
            with safe_open(path, "pt") as file:
                told = json.loads((file.metadata() or {})["latentlens.probe"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if told["format"] != FORMAT:
                raise KeyError("format")
            kept = {name: tensors.pop(name) for name in ("mean", "spread", "weight", "bias")}
            scores = _titled(
                {
                    name.removeprefix("scores."): (tuple(told["dims"][name.removeprefix("scores.")]), tensor.numpy())
                    for name, tensor in tensors.items()
                },
                told["iterations"],
                told["scores"],
            )
            probe = cls(told["kind"], told["classes"], told["iterations"], **kept, scores=scores, about=told["about"])
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ProbeError(f"expected a probe in {path}, got a file that is none ({error}): save one there") from None
        if model is not None:
            probe._check_model(identify(model))
        return probe

    def _check_model(self, origin: dict[str, Any]) -> None:
        mine = self.about["origin"]
        if (mine.get("fingerprint"), mine.get("d_model")) != (origin.get("fingerprint"), origin.get("d_model")):
            raise ProbeError(
                f"expected states of {mine.get('name')!r}, weights {str(mine.get('fingerprint'))[:12]}, got those of "
                f"{origin.get('name')!r}, weights {str(origin.get('fingerprint'))[:12]}: fit a probe to this model"
            )


def _checked(traj: Trajectory, iterations: Sequence[int] | None) -> list[int]:
    """The iterations to fit."""
    last = traj.iterations
    chosen = list(range(last + 1)) if iterations is None else [int(r) for r in iterations]
    if not chosen or not all(0 <= r <= last for r in chosen):
        raise ProbeError(f"expected iterations from 0 to {last}, got {iterations!r}: capture with more iterations")
    return chosen


def _titled(data: dict[str, Any], iterations: list[int], attrs: dict[str, Any]) -> xr.Dataset:
    """The scores with their long names and units."""
    out = xr.Dataset(data, coords={"iteration": iterations}, attrs=attrs)
    for name in out.data_vars:
        title, units = TITLES[str(name).removesuffix("_control")]
        more = ", shuffled targets" if str(name).endswith("_control") else ""
        out[name].attrs = {"long_name": title + more, "units": units}
    return out
