"""The shipped model and the task that it was trained on: random walks, where the exact answer is known.

In: nothing. Out: `FOLDER`, where the weights are (`ll.load("walks")` reads it), and the task: `sample` makes
prompts, `truth` their exact answers. Needs no torch.
"""

from pathlib import Path

from latentlens.models.walks.task import sample, truth

FOLDER = Path(__file__).parent
"""Where `config.json`, `model.safetensors` and `tokenizer.json` are."""

__all__ = ["FOLDER", "sample", "truth"]
