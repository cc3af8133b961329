"""How far four lenses are from the truth, and from the model's own answer, after each iteration of `walks`.

    python examples/compare_lenses.py --prompts 400 --held-out 80

Fits a tuned and a Jacobian lens on prompts whose truth they are never told, and reads the last position of other ones.
Prints KL(truth || lens) and KL(p_R || lens) in bits, means over the held-out prompts, and how much of a state arrives.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace

import torch
from torch import Tensor

import latentlens as ll
from latentlens.models import walks

STEPS = (1, 2, 3, 4)


def sampled(count: int, seed: int) -> list[str]:
    """Prompts of 1 to 4 steps, as many of each."""
    return [prompt for steps in STEPS for prompt in walks.sample(count // len(STEPS), steps=steps, seed=seed + steps)]


def truths(model: ll.LatentModel, prompts: list[str]) -> Tensor:
    """The exact answers, `[prompt, vocab]`."""
    out = torch.zeros(len(prompts), model.vocab_size, dtype=torch.float64)
    for row, prompt in enumerate(prompts):
        for name, share in walks.truth(prompt).items():
            out[row, model.tokenizer.token_id(name)] = share
    return out


def bits(goal: Tensor, logp: Tensor) -> list[float]:
    """KL(goal || p_r) by iteration, mean over prompts; `logp` is `[prompt, iteration, vocab]`."""
    each = (torch.special.xlogy(goal, goal)[:, None] - goal[:, None] * logp).sum(-1) / math.log(2)
    return each.nanmean(0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=400, help="prompts to fit the tuned lens to")
    parser.add_argument("--jacobian-prompts", type=int, default=32, help="prompts to average Jacobians over")
    parser.add_argument("--held-out", type=int, default=80, help="prompts to measure on")
    parser.add_argument("--iterations", type=int, default=None, help="how often to iterate (default: the model's own)")
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()

    model = ll.load("walks")
    unseen = sampled(args.held_out, seed=1000)
    traj = ll.capture(model, unseen, iterations=args.iterations)
    learned = sampled(args.prompts, seed=2000)
    lenses: dict[str, ll.Lens | str] = {"coda": "coda", "logit": "logit"}
    tuned = ll.TunedLens.fit(model, learned, iterations=args.iterations, positions=-1, epochs=args.epochs)
    lenses["tuned"] = tuned
    print(f"tuned: {len(tuned.curve) - 1} epochs; {tuned.summary}", flush=True)
    jacobian = ll.JacobianLens.fit(
        model, sampled(args.jacobian_prompts, seed=3000), iterations=args.iterations, positions=-1
    )
    lenses |= {"jacobian": jacobian, "with offset": replace(jacobian, offset=True)}
    print(f"jacobian: {jacobian.summary}", flush=True)

    goal, own = truths(model, unseen), ll.logits(traj, iterations=[-1], positions=[-1])[:, 0, 0].double().softmax(-1)
    for title, target in (("KL(truth || lens)", goal), ("KL(p_R || lens)", own)):
        print(
            f"\n{title} [bits], mean of {len(unseen)} held-out prompts\niteration "
            + "".join(f"{n:>13}" for n in lenses)
        )
        columns = [
            bits(target, ll.logits(traj, lens, positions=[-1])[:, :, 0].double().log_softmax(-1))
            for lens in lenses.values()
        ]
        for r, row in enumerate(zip(*columns)):
            print(f"{r:9} " + "".join(f"{value:13.3f}" for value in row))


if __name__ == "__main__":
    main()
