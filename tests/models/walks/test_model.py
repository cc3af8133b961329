"""The shipped weights against the exact truth, on graphs that the training never drew."""

import json

import numpy as np
import pytest
import torch

import latentlens as ll
from latentlens.models import walks
from latentlens.models.walks import evaluate, files, task

PROMPTS = 300
MOST = 0.05
"""Bits that 0 to 4 steps may miss after 24 iterations; for 5 and 6 it is half of what the graph alone leaves open."""


@pytest.fixture(scope="module")
def model():
    return ll.load("walks")


@pytest.mark.parametrize("steps", range(7))
def test_the_last_of_24_iterations_is_close_to_the_truth(model, steps):
    prompts = evaluate.held_out(PROMPTS, steps, seed=2024)
    missing = evaluate.missing_bits(model, prompts, (24,)).mean()
    blind, _ = evaluate.baseline_bits(prompts)
    assert missing < (MOST if steps <= 4 else blind / 2)


def test_four_steps_are_as_close_as_fewer_at_their_own_iteration(model):
    prompts = evaluate.held_out(PROMPTS, 4, seed=2024)
    assert evaluate.missing_bits(model, prompts, (4,)).mean() < 0.05


@pytest.mark.parametrize(("steps", "drift"), [(3, 0.01), (4, 0.02)])
def test_an_answer_fades_little_beyond_24_iterations(model, steps, drift):
    prompts = evaluate.held_out(50, steps, seed=2025)
    at_24, at_40 = evaluate.missing_bits(model, prompts, (24, 40)).mean(axis=1)
    assert at_40 < at_24 + drift


def test_every_iteration_goes_one_step_further(model):
    prompts, iterations = evaluate.held_out(60, 4, seed=2026), (1, 2, 3)
    answer = evaluate.missing_bits(model, prompts, iterations).mean(axis=1)
    stop = evaluate.missing_bits(model, prompts, iterations, on_the_way=True).mean(axis=1)
    assert (stop < 0.3).all()
    assert (answer > 1).all()


def test_a_walk_goes_on_along_the_edges(model):
    prompts = task.sample(50, None, seed=2027)
    on_path = []
    for _ in range(3):
        mass = evaluate.walk_mass(model, prompts)
        on_path += mass.tolist()
        prompts = [f"{prompt} {next(iter(walks.truth(prompt)))}" for prompt in prompts]
    assert np.mean(on_path) > 0.95
    assert len(on_path) == 150


def test_the_baselines_are_what_they_say():
    ring = "Ann : Bob . Bob : Cal . Cal : Dee . Dee : Ann . 2 steps from Ann"
    blind, short = evaluate.baseline_bits([ring])
    assert blind == pytest.approx(2.0)  # four nodes, all as likely
    assert short == pytest.approx(np.log2(4 / 0.001))  # Dee, and a thousandth of the four


def test_a_model_that_gives_every_word_the_same_probability_misses_all_but_the_entropy():
    class Indifferent:
        vocab_size = 48

        def begin(self, tokens, seed):
            return None

        def finish(self, state, context):
            return torch.zeros(*state.shape, 48)

        def run(self, tokens, iterations, on_state, seed):
            for i in range(iterations + 1):
                on_state(tokens, evaluate.At(i))

    fair = "Ann : Ann Bob . Bob : Ann Bob . 1 steps from Ann"
    assert evaluate.missing_bits(Indifferent(), [fair], (1,)) == pytest.approx(np.log2(48) - 1)


def test_the_weights_are_small_enough_to_ship():
    assert (walks.FOLDER / "model.safetensors").stat().st_size < 10e6


def test_the_config_is_the_one_that_the_training_writes():
    config = json.loads((walks.FOLDER / "config.json").read_text())
    again = files.config(config["n_embd"], config["n_heads"], config["intermediate_size"], config["mean_recurrence"])
    assert config == again


def test_the_tokenizer_gives_back_every_word(model):
    prompts = [*task.sample(5, 3), *task.sample(5, None)]
    for prompt in prompts:
        ids = model.tokenizer.encode(prompt)
        assert ids == [evaluate.ID[word] for word in prompt.split()]
        assert model.tokenizer.decode(ids) == prompt
    assert model.tokenizer.encode("Ann:Bob.") == [evaluate.ID[word] for word in ("Ann", ":", "Bob", ".")]
    assert model.tokenizer.encode("Ann") == [evaluate.ID["Ann"]]


def test_the_tokenizer_on_disk_is_the_tasks_vocabulary():
    assert json.loads((walks.FOLDER / "tokenizer.json").read_text()) == json.loads(files.tokenizer().to_str())


def test_an_unknown_word_is_named(model):
    with pytest.raises(ll.errors.TokenError, match="expected words that the model knows, got 'Zed': known are"):
        model.tokenizer.encode("Ann : Zed . 1 steps from Ann")
