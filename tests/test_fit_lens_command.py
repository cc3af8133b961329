"""`latentlens fit-lens`, and decoding with what it saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import run

import latentlens as ll


@pytest.fixture
def prompts(tmp_path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("the cat sat\n\non the mat\na b c\n")
    return path


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ((), ll.TunedLens),
        (("--rank", "2", "--shared"), ll.TunedLens),
        (("--kind", "jacobian", "--seed", "3"), ll.JacobianLens),
    ],
)
def test_the_command_line_fits_a_lens_and_decodes_with_it(capsys, folder, tmp_path, prompts, words, kind):
    out = tmp_path / "lens.safetensors"
    common = ("--model", str(folder), "--iterations", "2")
    status, told, _ = run(capsys, "fit-lens", *common, "--prompts", str(prompts), "--out", str(out), *words)
    assert status == 0
    assert told.startswith(f"{out}: {kind.kind} lens of {folder.name} (raven); ")
    lens = kind.load(out, ll.load(str(folder)))
    assert lens.iterations == [0, 1, 2]
    if kind is ll.TunedLens:
        assert (lens.shared, lens.about["options"]["rank"]) == (bool(words), 2 if words else None)
    status, told, _ = run(capsys, "decode", *common, "--prompt", "the cat sat", "--lens", str(out))
    assert (status, told.splitlines()[0]) == (0, f"{folder.name} (raven), {kind.kind} lens, seed 0, position 2 'sat'")


def test_the_command_line_refuses_what_cannot_be_fitted_or_read(capsys, tmp_path, prompts):
    out = str(tmp_path / "l.safetensors")
    fit = ("fit-lens", "--prompts", str(prompts), "--out")
    old = tmp_path / "old.safetensors"
    old.write_text("old")
    for words, message in [
        ((*fit, out, "--kind", "tunde"), "expected a kind of lens (tuned, jacobian), got 'tunde': did you mean tuned?"),
        (
            (*fit, out, "--kind", "jacobian", "--rank", "3"),
            "expected --rank and --shared with --kind tuned, got them with jacobian: leave them out",
        ),
        (
            (*fit, "l.pt"),
            "expected a file name x.safetensors in a folder that exists, got l.pt: choose another path",
        ),
        ((*fit, str(old)), f"expected a new path, got {old}, which exists: choose another name"),
        (
            ("decode", "--prompt", "1 steps from Ann", "--lens", out),
            f"expected a saved lens at {out}, got no file: fit one with latentlens fit-lens",
        ),
    ]:
        assert run(capsys, *words) == (2, "", f"latentlens: {message}\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.safetensors", "prompts.txt"]


def test_ctrl_c_leaves_nothing_behind(capsys, tmp_path, prompts, folder, monkeypatch):
    def interrupt(self, rows, rate):
        raise KeyboardInterrupt

    monkeypatch.setattr("latentlens.lenses.training.Training.step", interrupt)
    out = str(tmp_path / "l.safetensors")
    words = ("fit-lens", "--model", str(folder), "--prompts", str(prompts), "--out", out)
    assert run(capsys, *words, "--iterations", "1") == (130, "", "latentlens: interrupted\n")
    assert not list(tmp_path.glob("*.safetensors"))
