"""Any model that latentlens opens, on a page: named, with what it lacks said, and run in its own way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dash
import pytest
from latentlens_app import callbacks
from latentlens_app.asking import Ask, ids_in
from latentlens_app.desk import Desk
from latentlens_app.runs import Runs
from latentlens_app.views import about
from latentlens_app.writing import python_of

import latentlens as ll

OURO = Path(__file__).parent.parent / "data" / "ouro_random"


def finished(desk: Desk, ask: Ask) -> tuple:
    """What a page is told once the job of this ask has ended."""
    told = desk.start(ask)
    desk.jobs.wait(told["id"], 60)
    return callbacks.poll(desk, 1, told)


def test_a_model_is_named_as_soon_as_it_is_loaded_even_where_the_run_fails(llama: str):
    desk = Desk(llama, Runs())
    assert about(desk.runs, llama) is None
    status, shown, _, model = finished(desk, Ask(llama, "Ann : Bob", None))
    assert shown is dash.no_update
    assert status["message"] == (
        "expected token ids from 0 to 60, separated by spaces, got 'Ann': 'tiny-llama' came without a tokenizer, "
        "write for example 12 7 5"
    )
    assert model["title"] == "A decoder, with its layers as iterations"
    assert model["facts"] == ["iterates 3 times", "width 32", "61 tokens"]
    assert model["notes"] == [
        "No tokenizer: write token ids, separated by spaces, in place of text",
        "Its number of iterations cannot be chosen: they are its 3 layers",
    ]
    assert (model["key"], model["iterations"], model["free"], model["ids"]) == (llama, 3, False, True)


def test_what_a_page_knows_about_a_model_is_not_told_again(llama: str):
    desk = Desk(llama, Runs())
    told = desk.start(desk.opening)
    desk.jobs.wait(told["id"], 60)
    model = callbacks.poll(desk, 1, told)[-1]
    assert callbacks.poll(desk, 1, told, model)[-1] is dash.no_update


@pytest.mark.parametrize("iterations", [None, 16])
def test_a_fixed_number_of_iterations_is_used_whatever_was_asked(llama: str, iterations: int | None):
    desk = Desk(llama, Runs())
    ask = Ask(llama, "12 7 5", iterations)
    assert finished(desk, ask)[0]["state"] == "done"
    run = desk.run({"key": ask.key})
    assert run.traj.iterations == 3
    assert run.tokens == ["<12>", "<7>", "<5>"]
    names: dict = {}
    code = python_of(run, 2)
    assert "tokens = [[12, 7, 5]]" in code
    assert "iterations=" not in code
    exec(code.split("ll.figures")[0], names)
    assert names["out"].equals(run.out)


def test_a_page_that_opens_on_a_folder_begins_with_what_the_model_can_read(llama: str):
    desk = Desk(llama, Runs())
    assert desk.opening == Ask(llama, "1 2 3 4 5 6 7 8", None)
    *controls, told = callbacks.open_page(desk, None)
    assert controls == [llama, "1 2 3 4 5 6 7 8", "", 0, "coda", ""]
    desk.jobs.wait(told["id"], 60)
    assert callbacks.poll(desk, 1, told)[0]["state"] == "done"


def test_ouro_runs_as_often_as_it_does_by_itself_and_its_exit_gate_is_said():
    desk = Desk("walks", Runs())
    ask = Ask(str(OURO), "1 2 3", None)
    status, _, _, model = finished(desk, ask)
    assert status["state"] == "done"
    assert model["title"].startswith("Ouro (Zhu et al. 2025)")
    assert model["free"]
    assert any("exit gate" in note for note in model["notes"])
    run = desk.run({"key": ask.key})
    assert run.traj.iterations == 4
    assert "exit_pdf" in run.out


@pytest.mark.parametrize(("prompt", "ids"), [("12 7 5", [12, 7, 5]), ("[12, 7,5]", [12, 7, 5]), ("0\n60", [0, 60])])
def test_ids_are_read_as_they_are_written(llama: str, prompt: str, ids: list[int]):
    assert ids_in(prompt, ll.load(llama)) == ids


@pytest.mark.parametrize(
    ("prompt", "came"),
    [("", "none"), ("12 x", "'x'"), ("61", "'61'"), ("-1", "'-1'"), ("9" * 5000, repr("9" * 40)), ("1.5", "'1.5'"), ("²", "'²'")],
)  # fmt: skip
def test_what_is_no_token_id_is_refused_in_one_line(llama: str, prompt: str, came: str):
    with pytest.raises(ll.errors.TokenError) as caught:
        ids_in(prompt, ll.load(llama))
    assert f"separated by spaces, got {came}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def broken(tmp_path: Path, kind: str) -> tuple[Path, str]:
    """A folder that cannot be opened, and a part of the reason."""
    folder = tmp_path / "model"
    shutil.copytree(OURO, folder, ignore=shutil.ignore_patterns("reference*"))
    weights, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    if kind == "pickle":
        weights.rename(folder / "pytorch_model.bin")
        return folder, "got only pytorch_model.bin, a pickle"
    if kind == "config":
        (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "tanhshrink"}))
        return folder, "hidden_act"
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    tensors.pop("model.norm.weight")
    weights.unlink()
    save_file(tensors, weights)
    return folder, "expected the tensor"


@pytest.mark.parametrize("kind", ["pickle", "config", "tensor"])
def test_a_folder_that_cannot_be_opened_is_one_line_and_the_next_run_is_made(tmp_path: Path, kind: str):
    folder, words = broken(tmp_path, kind)
    desk = Desk("walks", Runs())
    status, shown, stop, model = finished(desk, Ask(str(folder), "1 2 3", None))
    assert (status["state"], stop, shown, model) == ("failed", True, dash.no_update, dash.no_update)
    assert words in status["message"]
    assert "\n" not in status["message"]
    assert finished(desk, Ask(str(OURO), "1 2 3", None))[0]["state"] == "done"
