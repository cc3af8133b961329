"""Fixtures that many tests share: the authors' reference, and a model folder that may be broken at will."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "models")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import contract
import families
import toys

import latentlens as ll

DATA = Path(__file__).parent / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--contract", action="store_true", help="print the largest error of every family's contract")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--contract") and contract.FOUND:
        terminalreporter.section("contract: largest error as a share of the spread of the logits")
        for line in (contract.HEADER, *map(str, contract.FOUND.values())):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def reference() -> dict[str, Tensor]:
    """What the authors' own code computes on the random Huginn."""
    return load_file(DATA / "raven_random" / "reference.safetensors")


@pytest.fixture(scope="session")
def raven() -> ll.LatentModel:
    """The random Huginn, in float32."""
    return ll.load(str(DATA / "raven_random"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the random Huginn with a word-level tokenizer, to be broken."""
    path = tmp_path / "wordy"
    path.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(DATA / "raven_random" / name, path / name)
    toys.write_tokenizer(path)
    return path


@pytest.fixture
def wordy(folder: Path) -> ll.LatentModel:
    """The random Huginn with ten words."""
    return ll.load(str(folder))


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a decoder of three layers, and no tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    families.make("llama").save_pretrained(folder)
    return str(folder)
