"""How the states of `walks` move: which come to rest, which go round, and whether the start matters.

    python examples/dynamics_of_walks.py                                   # 200 prompts, 64 iterations: a few minutes
    python examples/dynamics_of_walks.py --prompts 8 --iterations 16 --starts 4

Prints tables: labels by position and by number of steps; contraction, period, spectra at the last position every 8th
iteration; where the answers commit; and what 32 initial states come to.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import latentlens as ll
from latentlens.models import walks


def main() -> None:
    """Run the study and print it."""
    asked = options()
    torch.set_num_threads(asked.threads)
    began = time.monotonic()
    model, most = ll.load("walks"), asked.steps
    each = asked.prompts // (most + 1)
    prompts = [p for steps in range(most + 1) for p in walks.sample(each, steps=steps, seed=asked.seed + steps)]
    steps = np.repeat(np.arange(most + 1), each)
    print(f"{len(prompts)} prompts of 0 to {most} steps, {asked.iterations} iterations, seed {asked.seed}")
    traj = ll.capture(model, prompts, iterations=asked.iterations, seed=asked.seed, progress=False)
    every = range(8, asked.iterations + 1, 8)
    dyn = ll.dynamics(traj, spectra=every, fixed_point=True, progress=False)
    labels("all tokens", dyn, None)
    labels("the last token, by steps", dyn, steps, position=-1)
    numbers(dyn, steps)
    spectra(dyn, list(every))
    commitments(ll.decode(traj, top_k=1, progress=False), steps)
    print(f"{time.monotonic() - began:.0f} s")
    if asked.out:
        typical(traj, dyn, asked.out)
    starts = ll.path_independence(
        model,
        prompts[:: max(len(prompts) // asked.paths, 1)],
        asked.starts,
        iterations=asked.iterations,
        progress=False,
    )
    paths(starts.data)
    print(f"{time.monotonic() - began:.0f} s")


def labels(title: str, dyn: xr.Dataset, by: np.ndarray | None, position: int | None = None) -> None:
    """How many tokens are called what."""
    word, real = dyn.label.values, dyn.token.values >= 0
    if position is not None:
        real = real & (np.arange(real.shape[1]) == real.sum(1, keepdims=True) + position)
    print(f"\n{title}: " + ", ".join(f"{(word[real] == w).sum()} {w}" for w in sorted(set(word[real]))))
    if by is not None:
        out = ll.aggregate(dyn, by, position=position)
        for group in out.group.values:
            row = out.sel(group=group)
            shares = (f"{w} {float(row.label_share.sel(label=w)):.0%}" for w in row.label.values)
            print(f"  {group} steps: " + ", ".join(shares))


def numbers(dyn: xr.Dataset, steps: np.ndarray) -> None:
    """Contraction, settling and periods of the last token, mean and 95% interval over prompts."""
    print("\nlast token, mean [95% interval] by steps")
    out = ll.aggregate(dyn, steps, position=-1)
    for group in out.group.values:
        row = out.sel(group=group)
        cells = []
        for name in ("contraction", "settle", "last_step", "fixed_point"):
            low, high = float(row[f"{name}_low"]), float(row[f"{name}_high"])
            cells.append(f"{name} {float(row[name]):.3g} [{low:.3g}, {high:.3g}]")
        print(f"  {group} steps: " + ", ".join(cells))
    turning = dyn.label.values == "orbit"
    if turning.any():
        periods, counts = np.unique(np.round(dyn.period.values[turning], 1), return_counts=True)
        print("periods of orbits: " + ", ".join(f"{p:g} ({n})" for p, n in zip(periods, counts)))
        radius = dyn.floquet_radius.values[np.isfinite(dyn.floquet_radius.values)]
        if len(radius):
            print(f"Floquet radius of {len(radius)} last tokens: {radius.min():.3f} to {radius.max():.3f}")


def spectra(dyn: xr.Dataset, every: list[int]) -> None:
    """The Jacobian at the last token, by iteration."""
    print("\nJacobian at the last token, mean over prompts [5% to 95% of prompts]")
    out = ll.aggregate(dyn, position=-1, quantiles=(0.05, 0.95)).sel(group="all")
    for iteration in every:
        row, cells = out.sel(iteration=iteration), []
        for name in ("spectral_radius", "largest_singular_value", "spectral_residual"):
            low, high = row[f"{name}_quantile"].values
            cells.append(f"{name} {float(row[name]):.3f} [{low:.3f}, {high:.3f}]")
        print(f"  iteration {iteration}: " + ", ".join(cells))


def commitments(read: xr.Dataset, steps: np.ndarray) -> None:
    """From which iteration the best answer never changes again."""
    print("\ncommitment of the answer: median [5% to 95%], share settled")
    last = (read.token.values >= 0).sum(1) - 1
    rows = np.arange(len(last))
    commitment, settled = read.commitment.values[rows, last], read.settled.values[rows, last]
    for number in np.unique(steps):
        low, middle, high = np.quantile(commitment[steps == number], [0.05, 0.5, 0.95])
        print(f"  {number} steps: {middle:g} [{low:g}, {high:g}], {settled[steps == number].mean():.0%}")


def typical(traj: ll.Trajectory, dyn: xr.Dataset, folder: Path) -> None:
    """A picture of one token of each kind about its tail: the strongest orbit, otherwise the median last step."""
    emb = ll.embed(traj, n_components=6, progress=False)
    print()
    for word in sorted(set(dyn.label.values[dyn.token.values >= 0])):
        there = (dyn.label.values == word) & (dyn.token.values >= 0)
        last = np.log(np.maximum(dyn.last_step.values, 1e-12))
        score = dyn.period_strength.values if word == "orbit" else -np.abs(last - np.median(last[there]))
        score = np.where(there, np.nan_to_num(score, nan=-np.inf), -np.inf)
        prompt, position = (int(i) for i in np.unravel_index(score.argmax(), score.shape))
        drawing = ll.figures.orbits(emb, dyn, prompt=prompt, position=position, start=8, center="tail")
        said = drawing.save(folder / f"walks-{word.replace(' ', '-')}.png")
        print(f"{said}: prompt {prompt}; {drawing.describe()}")


def paths(data: xr.Dataset) -> None:
    """What many initial states come to."""
    print(f"\n{data.attrs['starts']} initial states of {data.sizes['prompt']} prompts, at the last token")
    out = ll.aggregate(data).sel(group="all")
    for iteration in [r for r in (0, 1, 2, 4, 8, 16, 32, 64) if r < data.sizes["iteration"]]:
        row = out.sel(iteration=iteration)
        print(
            f"  iteration {iteration}: relative spread {float(row.relative_spread):.2e}, "
            f"agreement {float(row.agreement):.3f}, disagreement {float(row.disagreement):.2e} bits"
        )
    print(f"  share of prompts whose answer does not depend on s_0: {float(out.independent):.1%}")


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--steps", type=int, default=3, help="questions of 0 to this many steps")
    parser.add_argument("--iterations", type=int, default=64)
    parser.add_argument("--starts", type=int, default=32)
    parser.add_argument("--paths", type=int, default=40, help="prompts that are run from many starts")
    parser.add_argument("--out", type=Path, help="a folder for a picture of one token of each kind")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
