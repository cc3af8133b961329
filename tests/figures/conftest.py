"""Runs of a model that walks through a script, for every test of a figure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import toys
import xarray as xr
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from walker import PROMPT, WORDS, Walker, competition

import latentlens as ll
from latentlens.models.tokens import Tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("words")
    toys.write_tokenizer(folder, [*WORDS, "[UNK]"])
    found = Tokenizer.from_folder(folder)
    assert found is not None
    return found


@dataclass
class Walked:
    """What the script's run gives."""

    script: Tensor
    traj: ll.Trajectory
    out: xr.Dataset
    emb: ll.Embedding


@pytest.fixture(scope="session")
def walk(tokenizer: Tokenizer) -> Callable[..., Walked]:
    """Run a script (default: the competition) on prompts."""

    def run(script: Tensor | None = None, prompts: Sequence[str] = (PROMPT,), **options: object) -> Walked:
        logits = competition() if script is None else script
        logits = torch.nn.functional.pad(logits, (0, 1), value=-30.0)
        random_start = bool(options.pop("random_start", True))
        model = Walker(logits, tokenizer, random_start)
        traj = ll.capture(model, list(prompts), iterations=len(logits) - 1, progress=False)
        return Walked(logits, traj, ll.decode(traj, progress=False, **options), ll.embed(traj, progress=False))

    return run


@pytest.fixture(scope="session")
def brief(walk: Callable[..., Walked]) -> Walked:
    """The competition's first nine states, on a few tokens: quick to draw."""
    return walk(competition()[:9], prompts=["Ann : Bob . 2 steps from Ann"], also=["Dee", "Ann", "Eve"])


@pytest.fixture(scope="session")
def walked(walk: Callable[..., Walked]) -> Walked:
    """The competition on one prompt of 27 tokens, 24 iterations."""
    return walk(also=["Dee", "Ann", "Eve"])
