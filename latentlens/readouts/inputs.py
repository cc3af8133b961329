"""What can be decoded: a trajectory in memory, one on disk, or a model and prompts that are run as they are read.

In: any of the three. Out: an `Input`, which hands out the states of some prompts when they are asked for. Of a folder,
and of a run, no other states are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentlens import store
from latentlens.errors import ReadoutError, StoreError
from latentlens.models.base import LatentModel, checked_iterations
from latentlens.recording import capture, prompt_ids
from latentlens.trajectory import Trajectory, check_origin

Decodable = Trajectory | LatentModel | str | Path


@dataclass(frozen=True, eq=False)
class Input:
    """The states of a run, some prompts at a time, and what is known about them.

    Attributes:
        states: from a slice of prompts to their states, `[prompt, iteration, position, d_model]`, pads included.
        tokens, mask: `[prompt, position]`.
        iterations: R, the number of the last iteration.
        width: d_model.
        held: whether the states are in memory anyway.
    """

    model: LatentModel
    states: Callable[[slice], Float[Tensor, "prompt iteration position d_model"]] = field(repr=False)
    tokens: Int[Tensor, "prompt position"]
    mask: Bool[Tensor, "prompt position"]
    iterations: int
    width: int
    seed: int
    prompts: list[str] | None
    held: bool


def input_of(
    source: Decodable,
    *,
    model: LatentModel | None = None,
    prompts: str | Sequence[str] | None = None,
    tokens: Any = None,
    mask: Any = None,
    iterations: int | None = None,
    seed: int | None = None,
) -> Input:
    """What `decode` was given, as an `Input`.

    Raises:
        ReadoutError: arguments that do not go together, or nothing to decode.

    >>> import latentlens as ll
    >>> walks = ll.load("walks")
    >>> input_of(walks, prompts=["Ann", "2 steps from Ann"], iterations=4).states(slice(1, 2)).shape[:3]
    torch.Size([1, 5, 4])
    """
    run = {"prompts": prompts, "tokens": tokens, "mask": mask, "iterations": iterations, "seed": seed}
    if isinstance(source, LatentModel):
        _refuse({"model": model}, "a trajectory's path", "a model, which is the one that runs")
        return _running(source, prompts, tokens, mask, iterations, 0 if seed is None else seed)
    _refuse(run, "a model", "a trajectory, which has run already")
    if isinstance(source, Trajectory):
        _refuse({"model": model}, "a trajectory's path", "a trajectory, which knows its model")
        return _checked(_in_memory(source))
    if isinstance(source, (str, Path)):
        return _checked(_on_disk(Path(source), model))
    raise ReadoutError(
        f"expected a trajectory, the path of a saved one, or a model with prompts, got {type(source).__name__}: "
        "pass what ll.capture returns"
    )


def _refuse(options: dict[str, Any], only: str, came: str) -> None:
    """No argument is silently ignored."""
    for name, value in options.items():
        if value is not None:
            raise ReadoutError(f"expected {name}= only with {only}, got it with {came}: leave {name} out")


def _checked(given: Input) -> Input:
    if given.tokens.numel() == 0:
        raise ReadoutError("expected a trajectory with states, got an empty one: capture at least one prompt")
    return given


def _in_memory(traj: Trajectory) -> Input:
    states = traj.states
    return Input(
        traj.needs_model(),
        lambda rows: states[rows],
        traj.tokens,
        traj.mask,
        traj.iterations,
        states.shape[-1],
        traj.seed,
        traj.prompts,
        held=True,
    )


def _on_disk(path: Path, model: LatentModel | None) -> Input:
    arrays, about = store.open_folder(path)
    missing = {"states", "tokens", "mask"} - arrays.keys()
    if missing:
        raise StoreError(f"expected a whole trajectory in {path}, got one without {sorted(missing)[0]!r}")
    if model is None:
        raise ReadoutError(
            f"expected model= beside the path of a trajectory, got {str(path)!r} alone: "
            f"pass model=ll.load({about['origin'].get('name')!r})"
        )
    check_origin(path, about["origin"], model)
    states = arrays["states"]
    return Input(
        model,
        lambda rows: states[rows],
        arrays["tokens"][:],
        arrays["mask"][:],
        states.shape[1] - 1,
        states.shape[-1],
        about["seed"],
        about["prompts"],
        held=False,
    )


def _running(model: LatentModel, prompts: Any, tokens: Any, mask: Any, iterations: int | None, seed: int) -> Input:
    texts = [prompts] if isinstance(prompts, str) else None if prompts is None else list(prompts)
    ids, seen = prompt_ids(model, texts, tokens, mask)
    count = checked_iterations(iterations, model)

    def states(rows: slice) -> Tensor:
        some, real = ids[rows], seen[rows]
        return capture(model, tokens=some, mask=real, iterations=count, seed=seed, progress=False).states

    return Input(model, states, ids, seen, count, model.d_model, seed, texts, held=False)
