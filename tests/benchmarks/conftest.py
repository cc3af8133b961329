"""Ratios within one run: the two sides alternate, so that a noisy machine is noisy for both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
import torch

Compare = Callable[..., None]
FOUND: list[str] = []


@pytest.fixture(autouse=True)
def two_threads():
    """Every benchmark runs on two threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sized(benchmark) -> Callable[[int, int], int]:
    """`sized(full, small)`: the full size where it is measured, the small one where a test only runs it once."""
    return lambda full, small: small if benchmark.disabled else full


@pytest.fixture
def compare(benchmark, request) -> Compare:
    """`compare(ours, bare, rounds)`: the median of ours / bare over alternating rounds, kept in `extra_info`."""

    def run(ours: Callable[[], object], bare: Callable[[], object], rounds: int = 15) -> None:
        bare()
        if benchmark.disabled:
            benchmark(ours)
            return
        ours()
        ratios = []
        for number in range(rounds):
            first, second = (bare, ours) if number % 2 else (ours, bare)
            took = {}
            for side in (first, second):
                start = time.perf_counter()
                side()
                took[side] = time.perf_counter() - start
            ratios.append(took[ours] / took[bare])
        ratio = statistics.median(ratios)
        benchmark.extra_info["ratio"] = ratio
        FOUND.append(f"{request.node.name}: {ratio:.3f} x ({min(ratios):.3f} to {max(ratios):.3f}, {rounds} rounds)")
        benchmark.pedantic(ours, rounds=3)

    return run


@pytest.fixture
def rate(benchmark, request) -> Callable[[Callable[[], object], int, str], None]:
    """`rate(work, count, unit)`: how many units a second."""

    def run(work: Callable[[], object], count: int, unit: str) -> None:
        if benchmark.disabled:
            benchmark(work)
            return
        benchmark.pedantic(work, rounds=3, warmup_rounds=1)
        a_second = count / benchmark.stats.stats.min
        benchmark.extra_info[f"{unit} a second"] = a_second
        FOUND.append(f"{request.node.name}: {a_second:.0f} {unit} a second")

    return run


@pytest.fixture
def found() -> Callable[[str], None]:
    """`found(line)`: a line for the summary."""
    return FOUND.append


def pytest_terminal_summary(terminalreporter) -> None:
    if FOUND:
        terminalreporter.section("ratios and rates")
        for line in FOUND:
            terminalreporter.write_line(line)
