"""The training script: what it shows the model is true, and a run that is cut off goes on."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from latentlens.models import walks
from latentlens.models.walks.task import VOCABULARY

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


@pytest.mark.parametrize("window", [range(1, 4), range(5, 8)])
def test_every_target_is_the_exact_truth_of_the_words_before_it(example, window):
    data = example("walks_data")
    rows = data.batch(0, 1, data.Ask((1, 1, 1, 1, 1, 1), walks=0.3), window, rows=16, length=80, vocab=48)
    assert set(rows.kind) > {0, 1, 2, 3, data.WALK}
    for at, kind, truth in zip(rows.at, rows.kind, rows.truth.swapaxes(0, 1)):
        words = [VOCABULARY[i] for i in rows.ids[at // 80, : at % 80 + 1]]
        prompt = " ".join(words)
        asked = 1 if kind == data.WALK else int(words[-4])
        for iteration, row in zip(window, truth):
            expected = walks.truth(prompt, min(asked, iteration))
            assert {VOCABULARY[i]: row[i] for i in np.flatnonzero(row)} == pytest.approx(expected)
        assert (kind == data.UNFINISHED) == (asked > window[-1])


def test_a_batch_is_a_function_of_its_seed_and_update(example):
    data = example("walks_data")

    def ids(seed, update):
        return data.batch(seed, update, data.Ask((1, 1)), range(1, 3), 2, 80, 48).ids.tolist()

    assert ids(0, 7) == ids(0, 7)
    assert ids(0, 7) != ids(0, 8)
    assert ids(0, 7) != ids(1, 7)


def test_the_blind_answer_misses_the_entropy_of_the_start_on_a_ring(example):
    ring = np.roll(np.eye(4), 1, axis=1)
    assert example("walks_data")._blind(ring, 0) == pytest.approx(np.log(4))


def test_a_run_that_was_cut_off_goes_on_and_writes_the_model(example, monkeypatch, tmp_path):
    train = example("train_walks")
    monkeypatch.setattr(train, "ROWS", 2)
    tiny = ["--width", "16", "--heads", "2", "--mlp", "16", "--no-compile", "--minutes", "0", "--prompts", "2"]
    where = ["--run", str(tmp_path / "run"), "--out", str(tmp_path / "out")]

    def run(updates):
        monkeypatch.setattr(
            sys, "argv", ["examples/train_walks.py", *tiny, *where, "--updates", str(updates), "--note", "again, wider"]
        )
        train.main()

    threads = torch.get_num_threads()
    run(2)
    run(5)
    torch.set_num_threads(threads)
    out = tmp_path / "out"
    text = (out / "README.md").read_text()
    assert "5 updates" in text
    assert "from update 2: python examples/train_walks.py --width 16" in text
    assert "--updates 5  # again, wider\n" in text
    assert str(tmp_path) not in text
    assert json.loads((out / "config.json").read_text())["n_embd"] == 16
    assert {p.name for p in out.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "tokenizer.json", "training.jsonl",
    }  # fmt: skip


def test_a_run_can_begin_with_the_weights_of_another(example, monkeypatch):
    train = example("train_walks")
    shipped = json.loads((walks.FOLDER / "config.json").read_text())
    sizes = [str(shipped[key]) for key in ("n_embd", "n_heads", "intermediate_size")]
    words = [
        "train_walks.py",
        "--width",
        sizes[0],
        "--heads",
        sizes[1],
        "--mlp",
        sizes[2],
        "--start",
        str(walks.FOLDER),
    ]
    monkeypatch.setattr(sys, "argv", words)
    trainer = train.Trainer(train.parse())
    trainer.begin_with(trainer.options.start)
    stored = load_file(walks.FOLDER / "model.safetensors")
    assert set(trainer.average) == set(stored)
    assert all(torch.equal(trainer.average[name], stored[name]) for name in stored)
    assert torch.equal(trainer.model.transformer.adapter.weight, stored["transformer.adapter.weight"])
