"""Train `walks`, the model that ships with latentlens: `python examples/train_walks.py --minutes 100`.

In: a seed and a budget. Out: `model.safetensors`, `config.json`, `tokenizer.json`, the log and the table, in `--out`.
Resumes by itself from `--run`, where it leaves a checkpoint every two minutes and when it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm
from walks_data import WALK, Ask, Batch, batch

from latentlens.models import raven
from latentlens.models.walks import FOLDER
from latentlens.models.walks.files import config, write
from latentlens.models.walks.report import readme
from latentlens.models.walks.task import MOST_STEPS

ROWS, LENGTH = 32, 80
ITERATIONS = 12  # in the mean, of a run of the finished model
WINDOW = 6  # how many iterations an update trains
STEPS = 6  # the curriculum's last rung; a few queries go further
WARM_UP = 100  # updates
EMA = 0.996
OTHER_TOKENS = 0.05  # the weight of predicting the words that are no answers
SAVE_EVERY = 120.0  # seconds


@contextmanager
def fast(enabled: bool = True) -> Iterator[None]:
    """Blocks compiled and attention written out: the same sums, half the time on a CPU in bfloat16."""
    body, attend = raven.Block.body, F.scaled_dot_product_attention

    def written_out(q: Tensor, k: Tensor, v: Tensor, is_causal: bool = True) -> Tensor:
        q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
        scores = (q @ k.mT).float() * q.shape[-1] ** -0.5
        future = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).triu(1)
        return scores.masked_fill(future, -math.inf).softmax(-1).bfloat16() @ v

    if enabled:
        F.scaled_dot_product_attention = written_out
        raven.Block.body = torch.compile(body, dynamic=False)
    try:
        yield
    finally:
        raven.Block.body, F.scaled_dot_product_attention = body, attend


class Trainer:
    """The model, its running average, the optimisers and the curriculum: all that a checkpoint holds."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        torch.manual_seed(options.seed)
        self.settings = config(options.width, options.heads, options.mlp, ITERATIONS)
        self.model = raven.Raven(raven.RavenConfig.from_dict(self.settings))
        initialise(self.model, self.settings)
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        matrices, rest = [], []
        for name, p in self.model.named_parameters():
            (matrices if p.ndim == 2 and "wte" not in name else rest).append(p)
        self.muon = torch.optim.Muon(matrices, lr=options.muon)
        self.adamw = torch.optim.AdamW(rest, lr=options.adamw, betas=(0.9, 0.95), weight_decay=0.0)
        self.update, self.seconds, self.most = 0, 0.0, 1
        self.history: list[str] = []  # the commands that it was trained with
        self.missing = [1.5] * (WALK + 1)  # nats by kind, a running mean
        self.blind = [1.0] * (WALK + 1)  # what an answer that knows only the graph would miss

    def ask(self) -> Ask:
        """More often what is not known yet; a little of what lies beyond the last rung."""
        known = np.array(self.missing[: self.most + 1])
        weights = 0.4 / (self.most + 1) + 0.6 * known / known.sum()
        weights[0] *= 0.25
        weights[min(self.options.often, self.most)] *= 2
        further = MOST_STEPS - STEPS if self.most == STEPS else 0
        return Ask((*weights, *[0.01] * further))

    def progress(self) -> float:
        """From 0 to 1, by updates or by the clock, whichever is further."""
        by_updates = self.update / self.options.updates if self.options.updates else 0.0
        by_clock = self.seconds / (60 * self.options.minutes) if self.options.minutes else 0.0
        return min(1.0, max(by_updates, by_clock))

    def rate(self) -> float:
        """What the learning rates are multiplied by: warm-up, constant, then linear to zero."""
        return min(1.0, (self.update + 1) / WARM_UP, max((1 - self.progress()) / self.options.decay, 0.001))

    def window(self, update: int) -> range:
        """The iterations that are trained; each is decoded, and shall tell where the walk is after as many steps.

        A share of the updates trains the first ones, the others as many that come after a log-normal Poisson number.
        """
        rng = np.random.default_rng([self.options.seed, update])
        before = 0
        if rng.random() >= self.options.first:
            before = 1 + min(rng.poisson(math.exp(rng.normal(math.log(self.options.hold) - 0.125, 0.7))), 30)
        return range(before + 1, before + WINDOW + 1)

    def train(self, rows: Batch) -> dict[str, float]:
        """One update."""
        started = time.perf_counter()
        loss, missing = self.loss(rows)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser, lr in ((self.muon, self.options.muon), (self.adamw, self.options.adamw)):
            for group in optimiser.param_groups:
                group["lr"] = lr * self.rate()
            if math.isfinite(norm):
                optimiser.step()
            optimiser.zero_grad()
        own = [p.detach() for p in self.model.parameters()]
        torch._foreach_lerp_(list(self.average.values()), own, 1 - min(EMA, self.update / (self.update + 10)))
        self.update += 1
        self.seconds += time.perf_counter() - started
        self.remember(rows, missing)
        return {"loss": float(loss.detach()), "norm": float(norm)}

    def loss(self, rows: Batch) -> tuple[Tensor, Tensor]:
        """The mean of KL(truth || model) over the answers, and a little of every other word's cross-entropy [nats]."""
        ids, at, truth = torch.from_numpy(rows.ids), torch.from_numpy(rows.at), torch.from_numpy(rows.truth)
        with torch.autocast("cpu", torch.bfloat16):
            context = self.model.begin(ids, initial_state=self.start(ids))
            state, seen = context.state, []
            for iteration in range(1, rows.window[-1] + 1):
                with torch.set_grad_enabled(iteration in rows.window):
                    state = self.model.step(state, context)
                if iteration in rows.window:
                    seen.append(state)
            logits = self.model.finish(torch.cat(seen), context)
        logs = logits.float().log_softmax(-1).unflatten(0, (len(seen), -1)).flatten(1, 2)
        missing = (torch.xlogy(truth, truth) - truth * logs[:, at]).sum(-1)
        follows = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -100)], dim=1).flatten()
        follows[at] = -100
        other = F.nll_loss(logs[-1], follows, ignore_index=-100)
        return missing.mean() + OTHER_TOKENS * other, missing[-1].detach()

    def start(self, ids: Tensor) -> Tensor:
        """A fresh `s_0` for every row: a normal cut at 3 std, as the model itself draws it."""
        config, generator = self.model.config, torch.Generator().manual_seed(self.update)
        out = torch.empty(*ids.shape, config.n_embd)
        nn.init.trunc_normal_(out, a=-3, b=3, generator=generator)
        return out * (config.state_std * config.embed_scale)

    def remember(self, rows: Batch, missing: Tensor) -> None:
        """Keep the running means by kind, and go one rung up when most of the hardest one is learnt."""
        values = missing.numpy()
        for kind in range(WALK + 1):
            some = rows.kind == kind
            if some.any():
                self.missing[kind] += 0.05 * (float(values[some].mean()) - self.missing[kind])
                self.blind[kind] += 0.05 * (float(rows.blind[some].mean()) - self.blind[kind])
        if self.most < STEPS and self.missing[self.most] < self.options.learnt * self.blind[self.most]:
            self.most += 1

    def save(self, path: Path) -> None:
        """A checkpoint to go on from; written whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "muon": self.muon.state_dict(),
            "adamw": self.adamw.state_dict(),
            "history": self.history,
            "rest": (self.update, self.seconds, self.most, self.missing, self.blind),
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path) -> None:
        """Go on where a checkpoint stopped."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
        self.average, self.history = state["average"], state.get("history", [])
        self.update, self.seconds, self.most, self.missing, self.blind = state["rest"]

    def begin_with(self, folder: Path) -> None:
        """Begin with the weights of a finished model of the same sizes; optimisers, curriculum and clock start anew."""
        weights = load_file(folder / "model.safetensors")
        self.model.load_state_dict(weights, strict=False)
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def averaged(self) -> raven.Raven:
        """A copy of the model with the averaged weights."""
        out = raven.Raven(self.model.config)
        out.load_state_dict(self.average, strict=False)
        return out


@torch.no_grad()
def initialise(model: raven.Raven, settings: dict) -> None:
    """Huginn's initialisation: normal, smaller where a block writes into the stream."""
    init = settings["init_values"]
    for name, p in model.named_parameters():
        if p.ndim == 2:
            std = init["out_proj"] if name.endswith("proj.weight") else init["std"]
            nn.init.trunc_normal_(p, std=std, a=-3 * std, b=3 * std)


def loop(trainer: Trainer, checkpoint: Path, log: Path, stop: threading.Event) -> None:
    """Train until the budget is spent or someone says stop; the next batch is made while this one is used."""
    options = trainer.options
    saved = time.perf_counter()
    bar = tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}")
    with ThreadPoolExecutor(1) as pool, log.open("a") as lines, fast(options.compile):

        def later(update: int) -> object:
            width = trainer.model.vocab_size
            return pool.submit(batch, options.seed, update, trainer.ask(), trainer.window(update), ROWS, LENGTH, width)

        rows = later(trainer.update)
        while trainer.progress() < 1 and not stop.is_set():
            now, rows = rows.result(), later(trainer.update + 1)
            row = trainer.train(now)
            if trainer.update % 50 == 0:
                row |= {"update": trainer.update, "minutes": round(trainer.seconds / 60, 2), "most": trainer.most}
                row |= {"rate": trainer.rate(), "missing": [round(value, 4) for value in trainer.missing]}
                lines.write(json.dumps(row) + "\n")
                lines.flush()
                bar.set_postfix(
                    update=trainer.update, most=trainer.most, missing=f"{trainer.missing[trainer.most]:.3f}"
                )
                bar.update(round(100 * trainer.progress(), 1) - bar.n)
            if time.perf_counter() - saved > SAVE_EVERY:
                trainer.save(checkpoint)
                saved = time.perf_counter()


def finish(trainer: Trainer, log: Path) -> None:
    """Write the averaged weights, the log and the measured table where the model goes."""
    out, model = trainer.options.out, trainer.averaged()
    write(out, trainer.settings, trainer.average)
    # A run that was cut off goes back to its checkpoint: the later line of an update counts.
    rows = {json.loads(line)["update"]: line for line in log.read_text().splitlines()}
    (out / "training.jsonl").write_text("".join(f"{rows[i]}\n" for i in sorted(rows) if i % 200 == 0))
    size = (out / "model.safetensors").stat().st_size
    text = readme(model, size, trainer.update, trainer.seconds / 60, trainer.history, trainer.options.prompts)
    (out / "README.md").write_text(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=100.0, help="of training (default: 100)")
    parser.add_argument("--updates", type=int, default=0, help="end after so many, if that comes first")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--mlp", type=int, default=448)
    parser.add_argument("--muon", type=float, default=0.004, help="learning rate of the matrices")
    parser.add_argument("--adamw", type=float, default=7e-4, help="learning rate of embedding, norms and biases")
    parser.add_argument("--decay", type=float, default=0.4, help="share of the run in which the rates fall to zero")
    parser.add_argument("--learnt", type=float, default=0.4, help="ask one step more below this share of start-blind")
    parser.add_argument("--rung", type=int, default=1, help="ask for at least this many steps from now on")
    parser.add_argument("--start", type=Path, help="a folder with the weights to begin with, if there is no checkpoint")
    parser.add_argument("--first", type=float, default=0.5, help="share of the updates that train the first iterations")
    parser.add_argument("--often", type=int, default=0, help="a number of steps that is asked twice as often")
    parser.add_argument("--hold", type=float, default=6.0, help="iterations before the later ones that are trained")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="slower, needs no C++ compiler")
    parser.add_argument("--prompts", type=int, default=300, help="how many a row of the table is measured on")
    parser.add_argument("--note", default="", help="what the README shall say about this part of a run")
    parser.add_argument("--export", action="store_true", help="write what the checkpoint holds, and train no further")
    parser.add_argument("--run", type=Path, default=Path("runs/walks"), help="where the checkpoint and the log are")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the trained model goes")
    return parser.parse_args()


def command(options: argparse.Namespace) -> str:
    """What was typed, without this machine's paths; a note stands behind it, as a comment."""
    typed = re.sub(r" --(run|out|note)[ =]", r" --\1=", " ".join(map(shlex.quote, sys.argv)))
    typed = re.sub(r" --(run|out|note)=('[^']*'|\S+)", "", typed)
    return f"python {typed}" + (f"  # {options.note}" if options.note else "")


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that a run stops between two updates and not within one."""
    stop = threading.Event()
    before = {name: signal.signal(name, lambda *_: stop.set()) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    options.run.mkdir(parents=True, exist_ok=True)
    checkpoint, log = options.run / "checkpoint.pt", options.run / "log.jsonl"
    trainer = Trainer(options)
    if checkpoint.exists():
        trainer.load(checkpoint)
    elif options.start is not None:
        trainer.begin_with(options.start)
    trainer.most = max(trainer.most, options.rung)
    if not options.export:
        trainer.history.append(f"from update {trainer.update}: {command(options)}")
        with stoppable() as stop:
            loop(trainer, checkpoint, log, stop)
        trainer.save(checkpoint)
        if trainer.progress() < 1:
            print(f"\nstopped after {trainer.update} updates: the same command goes on from {checkpoint}")
            return
    finish(trainer, log)


if __name__ == "__main__":
    main()
