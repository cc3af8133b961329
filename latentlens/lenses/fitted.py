"""What fitted lenses share: the model they belong to, and their file.

In: a lens. Out: one safetensors file, whole or not there. Knows nothing about how a lens is fitted.
"""

from __future__ import annotations

import importlib.metadata
import json
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from latentlens.errors import LensError
from latentlens.files import write_whole
from latentlens.lenses.lens import Lens
from latentlens.models.base import LatentModel
from latentlens.names import check_lens_file
from latentlens.trajectory import identify

FORMAT = 1
KEY = "latentlens.lenses.lens"


@dataclass(eq=False)
class FittedLens(Lens):
    """A lens with weights of its own, which belong to one model.

    Attributes:
        iterations: those that it was fitted for.
        about: the model (`origin`), the `options` of the fit, and `versions`.
    """

    kind: ClassVar[str]
    iterations: list[int]
    about: dict[str, Any] = field(repr=False)

    @property
    @abstractmethod
    def summary(self) -> str:
        """What the fit came to, in a line."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The weights, as they are saved."""

    @classmethod
    @abstractmethod
    def restored(cls, tensors: dict[str, Tensor], told: dict[str, Any]) -> Self:
        """The lens that had these weights; KeyError or ValueError where they do not fit together."""

    def save(self, path: str | Path) -> Path:
        """Write a .safetensors file, whole or not at all; it says which model it belongs to. Returns the path."""
        out = check_lens_file(path)
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors().items()}
        told = {"format": FORMAT, "kind": self.kind, "iterations": self.iterations, "about": self.about}
        write_whole(out, lambda part: save_file(tensors, part, {KEY: json.dumps(told)}))
        return out

    @classmethod
    def load(cls, path: str | Path, model: LatentModel | None = None) -> Self:
        """Read a lens that was saved; with `model`, refuses one that was fitted to another.

        Raises:
            LensError: a file that is no lens, a lens of another kind, or of another model.
        """
        told = read_header(path)
        if told["kind"] != cls.kind:
            raise LensError(
                f"expected a {cls.kind} lens in {path}, got a {told['kind']} one: pass the path as lens= to ll.decode"
            )
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            lens = cls.restored(tensors, told)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise no_lens(path, error) from None
        if model is not None:
            lens.check_model(model)
        return lens

    def check_model(self, model: LatentModel) -> None:
        """Refuse another model than the one that this lens was fitted to."""
        mine, came = self.about["origin"], identify(model)
        if any(mine[key] != came[key] for key in ("family", "fingerprint", "d_model")):
            raise LensError(
                f"expected the model of this {self.kind} lens, {described(mine)}, got {described(came)}: fit one to it"
            )

    def check_iteration(self, iteration: int) -> None:
        """Refuse an iteration that this lens was not fitted for."""
        if iteration not in self.iterations:
            known = ", ".join(map(str, self.iterations))
            raise LensError(
                f"expected an iteration that this {self.kind} lens was fitted for ({known}), got {iteration}: fit it "
                "for that one too, or read the others with ll.logits(traj, lens, iterations=[...])"
            )


def read_header(path: str | Path) -> dict[str, Any]:
    """What a lens file says about itself, without its weights; refuses a file that is no lens."""
    try:
        with safe_open(path, "np") as file:
            told = json.loads((file.metadata() or {})[KEY])
        if told["format"] != FORMAT or not {"kind", "iterations", "about"} <= told.keys():
            raise KeyError("format")
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise no_lens(path, error) from None
    return told


def no_lens(path: str | Path, error: Exception) -> LensError:
    """What a file is answered with that is no lens."""
    return LensError(f"expected a lens in {path}, got a file that is none ({error}): fit one and save it there")


def about_fit(model: LatentModel, **options: Any) -> dict[str, Any]:
    """What a lens keeps about its making."""
    versions = {name: importlib.metadata.version(name) for name in ("latentlens-trajectories", "torch")}
    return {"origin": identify(model), "options": options, "versions": versions}


def described(origin: dict[str, Any]) -> str:
    return f"{origin['name']!r} ({origin['family']}, weights {str(origin['fingerprint'])[:12]})"
