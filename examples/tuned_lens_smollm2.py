"""The rank of the right answer after some layers of SmolLM2-135M: the logit lens beside a tuned one.

    python examples/tuned_lens_smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf

Fits translators for six layers to docstrings of Python's standard library, and asks for 50 capital cities. The answer
is the first token of the city's name. `--tokens` and `--epochs` set how long it takes: 0.7 GFLOP for each token seen.
"""

from __future__ import annotations

import argparse
import ast
import sys
import sysconfig
from pathlib import Path

import torch

import latentlens as ll

LAYERS = [5, 10, 15, 20, 25, 29]
# fmt: off
CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Greece": "Athens", "Austria": "Vienna", "Hungary": "Budapest", "Poland": "Warsaw", "Russia": "Moscow",
    "Ukraine": "Kiev", "Sweden": "Stockholm", "Norway": "Oslo", "Denmark": "Copenhagen", "Finland": "Helsinki",
    "Ireland": "Dublin", "Belgium": "Brussels", "the Netherlands": "Amsterdam", "Switzerland": "Bern",
    "the Czech Republic": "Prague", "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi", "Iraq": "Baghdad",
    "Iran": "Tehran", "Syria": "Damascus", "Lebanon": "Beirut", "Jordan": "Amman",
    "Afghanistan": "Kabul", "Pakistan": "Islamabad", "Japan": "Tokyo",
    "China": "Beijing", "South Korea": "Seoul", "Thailand": "Bangkok", "Vietnam": "Hanoi", "Indonesia": "Jakarta",
    "the Philippines": "Manila", "Australia": "Canberra", "New Zealand": "Wellington", "Canada": "Ottawa",
    "Cuba": "Havana", "Peru": "Lima", "Chile": "Santiago", "Argentina": "Buenos", "Venezuela": "Caracas",
    "Colombia": "Bogota", "Ecuador": "Quito", "Nepal": "Kathmandu", "Bulgaria": "Sofia", "Romania": "Bucharest",
}
# fmt: on


def docstrings() -> list[str]:
    """Every docstring of more than 200 characters in the standard library, module by module; nothing is imported."""
    out = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
        out += [text for text in texts if len(text) > 200]
    return out


def pieces(model: ll.LatentModel, texts: list[str], count: int, length: int) -> torch.Tensor:
    """`count` tokens, evenly from all texts, in rows of `length`."""
    rows = []
    for text in texts:
        ids = model.tokenizer.encode(text)
        if len(ids) >= length:
            rows.append(ids[:length])
    every = max(len(rows) * length // count, 1)
    return torch.tensor(rows[::every][: count // length])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the .gguf file, or anything that ll.load takes")
    parser.add_argument("--tokens", type=int, default=16_000, help="tokens to fit to")
    parser.add_argument("--length", type=int, default=64, help="tokens to a piece of text")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rank", type=int, default=None, help="the rank of the translators (default: full)")
    parser.add_argument("--out", help="save the lens here (x.safetensors)")
    args = parser.parse_args()

    model = ll.load(args.model, dtype=torch.float32)
    ids = pieces(model, docstrings(), args.tokens, args.length)
    traj = ll.capture(model, tokens=ids)
    print(f"{model.name}: {ids.numel()} tokens of {len(ids)} docstrings", file=sys.stderr, flush=True)
    lens = ll.TunedLens.fit(model, traj, iterations=LAYERS, epochs=args.epochs, rank=args.rank, batch_size=8)
    if args.out:
        lens.save(args.out)

    cities = ll.capture(model, [f"The capital of {country} is the city of" for country in CAPITALS])
    answers = torch.tensor([model.tokenizer.encode(f" {city}")[0] for city in CAPITALS.values()])
    ranks, last = {}, model.iterations
    for name in ("logit", lens):
        said = ll.logits(cities, name, iterations=LAYERS, positions=[-1])[:, :, 0]
        ranks[str(getattr(name, "name", name))] = (
            said > said.gather(2, answers[:, None, None].expand(-1, said.shape[1], 1))
        ).sum(2)
    own = ll.logits(cities, iterations=[last], positions=[-1])[:, 0, 0]
    print(
        f"{lens.summary}\n\n{len(answers)} capitals: median rank (0 is first), and how many are first\nlayer"
        + "".join(f"{n:>14}" for n in ranks)
    )
    for number, layer in enumerate(LAYERS):
        cells = [ranks[name][:, number] for name in ranks]
        print(f"{layer:5}" + "".join(f"{int(c.median()):9} ({int((c == 0).sum()):2})" for c in cells))
    final = (own > own.gather(1, answers[:, None])).sum(1)
    print(f"the model itself: {int(final.median())} ({int((final == 0).sum())})")


if __name__ == "__main__":
    main()
