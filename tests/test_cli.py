"""The command line: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run
from toys import change_config

import latentlens as ll
from latentlens import names
from latentlens.quantities import DEFAULT, ON_REQUEST

GRAPH = "Ann : Bob Cal . Bob : Dee Ann . Cal : Dee Eve . Dee : Ann Bob . Eve : Cal Dee ."
PROMPT = f"{GRAPH} 2 steps from Ann"


def test_decode_prints_a_line_an_iteration_and_the_truth(capsys):
    status, out, _ = run(capsys, "decode", "--model", "walks", "--prompt", PROMPT, "--iterations", "6")
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == f"walks (raven), coda lens, seed 0, position {len(PROMPT.split()) - 1} 'Ann'"
    assert [line.split()[0] for line in lines[2:9]] == list("0123456")
    assert lines[-1] == "truth: Dee 0.500  Ann 0.250  Eve 0.250"


def test_decode_as_json_has_the_readouts_numbers_unrounded(capsys, folder):
    words = ("decode", "--model", str(folder), "--prompt", "the cat sat", "--iterations", "3", "--json")
    status, out, _ = run(capsys, *words, "--track", "cat", "--track", "mat", "--position", "1", "--lens", "logit")
    got = json.loads(out)
    own = ll.decode(ll.capture(ll.load(str(folder)), "the cat sat", iterations=3), "logit", track=["cat", "mat"])
    assert status == 0
    assert (got["position"], got["token"], got["lens"]) == (1, "cat", "logit")
    for r, row in enumerate(got["iterations"]):
        assert [c["prob"] for c in row["candidates"]] == own.prob[0, r, 1].values.tolist()
        assert [c["rank"] for c in row["candidates"]] == own["rank"][0, r, 1].values.tolist()
        assert row["entropy"] == float(own.entropy[0, r, 1])
        assert [t["token"] for t in row["top"]] == own.top_token[0, r, 1].values.tolist()
    assert got["iterations"][0]["kl_step"] is None


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_decode_writes_a_tidy_table_with_the_readouts_numbers_unrounded(capsys, folder, tmp_path, kind):
    path = tmp_path / f"t.{kind}"
    words = ("decode", "--model", str(folder), "--prompt", "the cat sat", "--iterations", "3", f"--{kind}", str(path))
    status, out, err = run(capsys, *words, "--track", "cat", "--track", "mat", "--position", "1", "--statistic", "all")
    table = pd.read_csv(path) if kind == "csv" else pd.read_parquet(path)
    traj = ll.capture(ll.load(str(folder)), "the cat sat", iterations=3)
    own = ll.decode(traj, track=["cat", "mat"], statistics="all").isel(prompt=0, position=1)
    assert (status, out, err) == (0, f"{path}\n", "")
    assert table.position.eq(1).all()
    assert table.iteration.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table.candidate_label.tolist() == ["cat", "mat"] * 4
    assert (table.prob.to_numpy("float32") == own.prob.values.ravel()).all()
    assert (table["rank"] == own["rank"].values.ravel()).all()
    for name in (*DEFAULT, *ON_REQUEST[:6]):
        assert np.array_equal(table[name].to_numpy("float32")[::2], own[name].values.astype("float32"), equal_nan=True)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_parquet_without_pyarrow_is_refused_before_the_model_is_loaded(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = run(
        capsys, "decode", "--model", "no/such", "--prompt", "a", "--parquet", str(tmp_path / "t.parquet")
    )
    assert status == 2
    assert err == "latentlens: expected pyarrow to write parquet, got none: pip install pyarrow, or write CSV\n"


def test_capture_writes_a_store_that_loads(capsys, folder, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("the cat sat\n\n  a b \n")
    status, out, _ = run(
        capsys, "capture", "--model", str(folder), "--prompts", str(prompts), "--out", str(tmp_path / "r.zarr"), "--seed", "3"
    )  # fmt: skip
    traj = ll.Trajectory.load(tmp_path / "r.zarr")
    assert status == 0
    assert "2 prompts" in out
    assert (traj.prompts, traj.seed, traj.iterations) == (["the cat sat", "a b"], 3, 6)
    again = ll.capture(ll.load(str(folder)), ["the cat sat", "a b"], seed=3)
    assert torch.equal(traj.states, again.states)


@pytest.mark.parametrize("kind", names.FIGURES)
@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".html"])
def test_every_figure_is_saved_in_every_way(capsys, tmp_path, kind, suffix):
    path = tmp_path / f"fig{suffix}"
    words = ("figure", kind, "--model", "walks", "--prompt", PROMPT, "--out", str(path), "--iterations", "4")
    status, out, err = run(capsys, *words)
    assert (status, out, err) == (0, f"{path}\n", "")
    start = {".pdf": b"%PDF", ".svg": b"<?xml", ".html": b"<"}[suffix]
    assert path.read_bytes().lstrip().lower().startswith(start.lower())


def test_an_option_of_a_figure_is_passed_on_and_an_unknown_one_refused(capsys, tmp_path):
    words = (
        "figure",
        "stream",
        "--model",
        "walks",
        "--prompt",
        PROMPT,
        "--iterations",
        "2",
        "--out",
        str(tmp_path / "f.svg"),
    )
    assert run(capsys, *words, "--option", "mode=line")[0] == 0
    (tmp_path / "f.svg").unlink()
    status, _, err = run(capsys, *words, "--option", "modus=line")
    assert status == 2
    assert "modus" in err
    assert not list(tmp_path.iterdir())


def saved(capsys, tmp_path, kind: str, *more: str) -> str:
    """The text of a figure of a short prompt, as SVG."""
    path = tmp_path / "f.svg"
    words = (
        "figure",
        kind,
        "--model",
        "walks",
        "--prompt",
        "2 steps from Ann",
        "--iterations",
        "8",
        "--out",
        str(path),
    )
    assert run(capsys, *words, *more) == (0, f"{path}\n", "")
    return path.read_text()


def test_a_position_frames_a_row_of_all_tokens_and_chooses_one_elsewhere(capsys, tmp_path):
    for kind in ("grid", "convergence"):
        assert 'id="mark"' not in saved(capsys, tmp_path, kind)
        assert 'id="mark"' in saved(capsys, tmp_path, kind, "--position", "1")
    assert "at Ann: spectral radius" in saved(capsys, tmp_path, "spectrum")
    assert "at steps: spectral radius" in saved(capsys, tmp_path, "spectrum", "--position", "1")
    assert saved(capsys, tmp_path, "motion") != saved(capsys, tmp_path, "motion", "--position", "1")


def test_a_map_marks_its_candidates_and_the_position_that_is_drawn_strongly(capsys, tmp_path):
    plain, marked = (saved(capsys, tmp_path, "map", *more) for more in ((), ("--marks",)))
    assert 'id="anchor"' not in plain
    assert 'id="anchor"' in marked
    assert saved(capsys, tmp_path, "map", "--position", "1") != plain
    words = ("--model", "walks", "--prompt", PROMPT, "--iterations", "4", "--out", str(tmp_path / "g.svg"), "--marks")
    said = "expected --marks for map only, got it for grid: leave it out"
    assert run(capsys, "figure", "grid", *words) == (2, "", f"latentlens: {said}\n")


def test_dynamics_is_asked_for_what_is_drawn(capsys, tmp_path):
    assert "spectral radius" in saved(capsys, tmp_path, "motion", "--option", "y=spectral_radius")
    assert "comes to rest" in saved(capsys, tmp_path, "motion", "--option", "y=distance_to_fixed_point")


def test_models_lists_the_shipped_model_and_every_family(capsys):
    status, out, _ = run(capsys, "models")
    assert status == 0
    assert "shipped  walks" in out
    assert all(f"family   {family.name}" in out for family in ll.models.FAMILIES)


def prepare(folder: Path) -> dict[str, str]:
    """Everything broken that the table below names."""
    where = folder.parent
    (where / "prompts.txt").write_text("a b\n")
    (where / "empty.txt").write_text("\n \n")
    (where / "latin1.txt").write_bytes(b"caf\xe9 \xff\n")
    (where / "noise.gguf").write_bytes(np.random.default_rng(0).bytes(64))
    (where / "exists.zarr").mkdir()
    for name in ("broken", "pickled", "bare", "noise", "other", "cut"):
        (where / name).mkdir()
        (where / name / "config.json").write_text((folder / "config.json").read_text())
    (where / "broken" / "config.json").write_text("{not json")
    (where / "pickled" / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    (where / "noise" / "model.safetensors").write_bytes(np.random.default_rng(1).bytes(4096))
    (where / "cut" / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    change_config(where / "other", injection_type="gate")
    (where / "other" / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    return {"FOLDER": str(folder), "WHERE": str(where)}


DECODE = "decode --model FOLDER --prompt a --iterations 2"
FIGURE = "figure stream --model FOLDER --prompt a --iterations 2 --out WHERE/f.pdf"
CAPTURE = "capture --model FOLDER --iterations 2 --prompts WHERE/prompts.txt --out WHERE/r.zarr"
BAD = {
    "no command": ("", "the following arguments are required: command"),
    "unknown command": ("decoed", "invalid choice: 'decoed'"),
    "unknown flag": (f"{DECODE} --iteration-count 3", "unrecognized arguments: --iteration-count 3"),
    "unknown model": ("decode --model wlaks --prompt a", "got 'wlaks', which is none: did you mean walks?"),
    "unknown hub model": ("decode --model no/such --prompt a", "got 'no/such', which is no folder here"),
    "empty prompt": (f"{DECODE} --prompt=", "expected a prompt with at least one token, got an empty one"),
    "unknown word": (f"{DECODE} --prompt dog", "got 'dog': known are a b c cat mat on sat the"),
    "unknown plain word": ("decode --model walks --prompt Zebra", "expected words that the model knows, got 'Zebra'"),
    "no iterations": (f"{DECODE} --iterations 0", "expected a whole number of 1 or more, got '0'"),
    "negative iterations": (f"{DECODE} --iterations -3", "expected a whole number of 1 or more, got '-3'"),
    "iterations in words": (f"{DECODE} --iterations x", "expected a whole number of 1 or more, got 'x'"),
    "negative seed": (f"{DECODE} --seed -1", "expected a whole number of 0 or more, got '-1'"),
    "unknown lens": (f"{DECODE} --lens codda", "expected a lens (coda, logit), got 'codda': did you mean coda?"),
    "unknown figure": (FIGURE.replace("stream", "steam"), "got 'steam': did you mean stream?"),
    "unknown style": (f"{FIGURE} --style nips", "expected a style (default, neurips"),
    "unknown ending": (f"{FIGURE} --out WHERE/f.docx", "(.pdf, .svg, .png, .html), got '.docx'"),
    "unknown option": (f"{FIGURE} --option mode", "expected --option NAME=VALUE, got 'mode'"),
    "a lens for motion": (f"{FIGURE.replace('stream', 'motion')} --lens logit", "expected no --lens and no --track for motion"),
    "an unknown quantity": (f"{FIGURE.replace('stream', 'motion')} --option y=step", "got 'step': did you mean step_norm?"),
    "figure folder missing": (f"{FIGURE} --out WHERE/no/f.pdf", "expected a folder at WHERE/no, got none: make it first"),
    "position out of range": (f"{DECODE} --position 1", "expected a position from -1 to 0 for this prompt, got 1"),
    "position in words": (f"{DECODE} --position last", "invalid int value: 'last'"),
    "unknown tracked word": (f"{DECODE} --track dog", "expected a token that the model knows, got 'dog'"),
    "unknown statistic": (f"{DECODE} --statistic margins", "got 'margins': did you mean margin?"),
    "table folder missing": (f"{DECODE} --csv WHERE/no/t.csv", "expected a folder at WHERE/no, got none: make it first"),
    "table is a folder": (f"{DECODE} --csv WHERE", "expected a file name, got the folder WHERE: add a name"),
    "two forms": (f"{DECODE} --json --csv WHERE/t.csv", "argument --csv: not allowed with argument --json"),
    "broken config": (f"{DECODE} --model WHERE/broken", "expected JSON in WHERE/broken/config.json"),
    "unknown config value": (f"{DECODE} --model WHERE/other", "expected injection_type to be 'linear' in the config"),
    "no config": (f"{DECODE} --model WHERE", "expected config.json in WHERE, got none"),
    "no weights": (f"{DECODE} --model WHERE/bare", "expected weights in *.safetensors in WHERE/bare, got none"),
    "a pickle": (f"{DECODE} --model WHERE/pickled", "got only pytorch_model.bin, a pickle, which latentlens never reads"),
    "random weights file": (f"{DECODE} --model WHERE/noise", "expected safetensors in WHERE/noise/model.safetensors"),
    "weights cut short": (f"{DECODE} --model WHERE/cut", "expected safetensors in WHERE/cut/model.safetensors"),
    "random gguf": (f"{DECODE} --model WHERE/noise.gguf", "expected a GGUF file at WHERE/noise.gguf, got one that starts"),
    "missing gguf": (f"{DECODE} --model WHERE/no.gguf", "expected a GGUF file at WHERE/no.gguf, got none"),
    "a file as a model": (f"{DECODE} --model WHERE/prompts.txt", "expected a model's folder, got the file"),
    "no prompts file": (f"{CAPTURE} --prompts WHERE/no.txt", "expected a text file at WHERE/no.txt, one prompt a line"),
    "empty prompts file": (f"{CAPTURE} --prompts WHERE/empty.txt", "expected prompts in WHERE/empty.txt, one a line"),
    "prompts not text": (f"{CAPTURE} --prompts WHERE/latin1.txt", "got none (not UTF-8)"),
    "output folder missing": (f"{CAPTURE} --out WHERE/no/r.zarr", "expected a folder at WHERE/no, got none"),
    "output exists": (f"{CAPTURE} --out WHERE/exists.zarr", "got WHERE/exists.zarr, which exists"),
    "app with unknown model": ("app --model wlaks", "did you mean walks?"),
    "port out of range": ("app --port 99999", "expected a port from 1 to 65535, got '99999'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line_with_status_2_and_leaves_nothing(capsys, folder, case):
    places = prepare(folder)
    before = sorted(Path(places["WHERE"]).rglob("*"))
    words, message = BAD[case]
    filled = [re.sub("FOLDER|WHERE", lambda m: places[m[0]], word) for word in words.split()]
    status, out, err = run(capsys, *filled)
    assert status == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert re.sub("FOLDER|WHERE", lambda m: places[m[0]], message) in err
    assert sorted(Path(places["WHERE"]).rglob("*")) == before


def test_the_namesake_distribution_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.2" if name == "latentlens" else "0")
    status, _, err = run(capsys, "models")
    assert status == 2
    assert "got the unrelated package latentlens 1.2 beside it" in err


def test_help_and_refusals_need_no_torch(folder):
    code = (
        "import sys; from latentlens import cli\n"
        "try: status = cli.main(sys.argv[1:])\n"
        "except SystemExit as stop: status = stop.code\n"
        "print(status, sorted({'torch', 'dash', 'plotly', 'transformer_lens', 'numpy'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = [
        subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment).stdout
        for words in (["--help"], ["decode", "--prompt", "a", "--lens", "x"])
    ]
    assert told[0].endswith("0 []\n")
    assert told[1] == "2 []\n"
