"""Does the state of `walks` pass through the stops of a walk on its way to the answer? `python examples/stops.py`.

In: prompts that ask for k steps, where every intermediate distribution is known. Out: two tables for each k, mean
KL(truth_j || lens_r) and KL(truth_j || probe_r) in bits, for each stop j against each iteration r, on prompts that no
probe was fitted to; and two figures each, in `--out`. `--page docs/stops.md` writes the tables as a page.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

import latentlens as ll
from latentlens.models import walks

GRAPHS = {"nodes": 5, "successors": (1, 2), "self_loops": False}


PAGE = """# The stops of a walk

Does the state of `walks`, asked where a walk of k steps ends, pass through where it is after 1, 2, ... steps? For every
intermediate stop j the exact distribution is known (`walks.truth(prompt, steps=j)`), so what a lens or a probe misses
of it after iteration r is a number of bits. The model was taught to think one step an iteration, so what the lens shows
on the way is trained, not found; what the probe shows (whether a stop is still held after it was passed, or already
before) is not.

Written by the script from what it measured:

    {command}

Graphs of 5 nodes, one or two successors; {held_out} prompts that no probe was fitted to, {fitted} that it was.
*Start-blind* knows the graph but not the start; *control* is the probe fitted to shuffled targets, in the mean over
iterations. What a probe misses is not proved absent: it is linear, and learnt from so few prompts. Iteration 0 is the
random start; of the others the least of each row is in bold.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 6], help="how many steps the prompts ask for")
    parser.add_argument("--prompts", type=int, default=1600, help="how many; a quarter of them is held out")
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--seed", type=int, default=777, help="of the prompts")
    parser.add_argument("--out", type=Path, default=Path("."), help="a folder for the figures")
    parser.add_argument("--page", type=Path, help="a markdown file for the tables")
    args = parser.parse_args()
    model, parts = ll.load("walks"), []
    for steps in args.steps:
        found = study(model, steps, args.prompts, args.iterations, args.seed)
        for reader in ("lens", "probe"):
            said, name = section(found, steps, reader), f"stops-{steps}-{reader}.png"
            print(said, flush=True)
            drawing = ll.figures.line(found, y=reader, scale="log")
            drawing.save(args.out / name)
            if args.page:
                where = Path(os.path.relpath(args.out, args.page.parent), name).as_posix()
                parts += [said, f"![{drawing.describe()}]({where})\n"]
    if args.page:
        command = f"python {Path(sys.argv[0]).parent.name}/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}".strip()
        held_out = found.attrs["held_out"]
        about = PAGE.format(command=command, held_out=held_out, fitted=args.prompts - held_out)
        args.page.write_text(about + "\n".join(parts), encoding="utf-8")


def section(found: xr.Dataset, steps: int, reader: str) -> str:
    """One table, and where each stop is read best."""
    bits, without = found[reader], "start-blind" if reader == "lens" else "control"
    best = [f"{stop} at {row[1:].argmin() + 1} ({row[1:].min():.3f})" for stop, row in enumerate(bits.values)]
    head = f"## {steps} steps asked: mean KL(truth_j || {reader}_r) in bits\n"
    said = f"Each stop is read best after this iteration (bits): {', '.join(best)}.\n"
    return "\n".join([head, table(bits, found[f"{reader}_none"], without), "", said])


def study(model: ll.LatentModel, steps: int, prompts: int, iterations: int, seed: int) -> xr.Dataset:
    """The bits that a lens and a probe miss of every stop, over stop and iteration."""
    texts = walks.sample(prompts, steps, seed, **GRAPHS)
    traj = ll.capture(model, texts, iterations=iterations, progress=False)
    said = ll.logits(traj, positions=[-1])[:, :, 0].log_softmax(-1)
    lens, probe, blind, control = [], [], [], []
    for stop in range(steps + 1):
        truths = [walks.truth(text, steps=stop) for text in texts]
        fitted = ll.Probe.fit(traj, truths, progress=False)
        held = fitted.scores.held_out.values
        exact = torch.tensor(rows(model, truths))
        lens.append(missed(exact, said)[held].mean(0))
        without = [walks.task.start_blind(text, steps=stop) for text in texts]
        blind.append(missed(exact, torch.tensor(rows(model, without)).log()[:, None])[held].mean())
        probe.append(fitted.scores.bits.values)
        control.append(fitted.scores.bits_control.values.mean())
    bits = {"units": "bits"}
    return xr.Dataset(
        {
            "lens": (("stop", "iteration"), np.stack(lens), {"long_name": "KL(truth_j || lens_r)", **bits}),
            "probe": (("stop", "iteration"), np.stack(probe), {"long_name": "KL(truth_j || probe_r)", **bits}),
            "lens_none": ("stop", np.array(blind)),
            "probe_none": ("stop", np.array(control)),
        },
        coords={"stop": [f"j = {stop}" for stop in range(steps + 1)], "iteration": np.arange(iterations + 1)},
        attrs={"held_out": int(held.sum()), "random_start": 1},
    )


def rows(model: ll.LatentModel, truths: list[dict[str, float]]) -> Float[np.ndarray, "prompt vocab"]:
    """Distributions over names as rows over the vocabulary."""
    out = np.zeros((len(truths), model.vocab_size), dtype=np.float32)
    for row, truth in enumerate(truths):
        for name, probability in truth.items():
            out[row, model.tokenizer.token_id(name)] = probability
    return out


def missed(exact: torch.Tensor, said: torch.Tensor) -> Float[np.ndarray, "prompt iteration"]:
    """KL(exact || said) in bits, of natural log-probabilities `[prompt, iteration, vocab]`."""
    exact = exact[:, None].double()
    terms = torch.where(exact > 0, torch.xlogy(exact, exact) - exact * said.double(), 0.0)
    return (terms.sum(-1) / np.log(2)).numpy()


def table(bits: xr.DataArray, none: xr.DataArray, without: str) -> str:
    """Markdown: a row a stop, a column an iteration, each row's least in bold; and what is missed without the state."""
    head = ["stop", *(str(r) for r in bits.iteration.values), without]
    lines = [head, ["---"] * len(head)]
    for row, least in zip(bits.values, none.values):
        cells = [f"**{value:.3f}**" if value == row[1:].min() else f"{value:.3f}" for value in row]
        lines.append([str(len(lines) - 2), *cells, f"{least:.3f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
