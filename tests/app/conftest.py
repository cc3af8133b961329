"""A desk with the shipped model, and runs that are made once."""

from __future__ import annotations

import pytest
from latentlens_app.asking import Ask
from latentlens_app.desk import Desk
from latentlens_app.runs import Run, Runs

PROMPT = "Ann : Bob Cal . Bob : Ann . Cal : Bob . 2 steps from Ann"


@pytest.fixture(scope="session")
def runs() -> Runs:
    return Runs()


@pytest.fixture(scope="session")
def ask() -> Ask:
    return Ask("walks", PROMPT, 6, 0, "coda")


@pytest.fixture(scope="session")
def run(runs: Runs, ask: Ask) -> Run:
    made = runs.get(runs.make(ask, lambda share, what: None))
    assert made is not None
    return made


@pytest.fixture
def desk(runs: Runs) -> Desk:
    return Desk("walks", runs)


@pytest.fixture
def shown(run: Run) -> dict:
    """What a page keeps about the run that it shows."""
    return {"key": run.ask.key, "ask": run.ask.to_page()}
