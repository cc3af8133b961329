"""Exit rules against closed forms and the authors' numbers."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentlens.errors import ReadoutError
from latentlens.exits import exit_iteration, exit_pdf


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12))
def test_the_pdf_sums_to_one_whatever_the_gate_says(gate):
    pdf = exit_pdf(torch.tensor(gate, dtype=torch.float64))
    assert pdf.sum().item() == pytest.approx(1)
    assert (pdf >= 0).all()


def test_a_constant_gate_gives_a_geometric_pdf_whose_last_takes_the_rest():
    pdf = exit_pdf(torch.full((5,), 0.25))
    assert pdf.tolist() == pytest.approx([0.25, 0.1875, 0.140625, 0.10546875, 0.31640625])


def test_the_threshold_picks_the_first_iteration_that_reaches_it_and_otherwise_the_last():
    pdf = torch.tensor([[0.5, 0.0], [0.25, 0.0], [0.25, 0.0]])
    assert exit_iteration(pdf, 0.5).tolist() == [1, 3]
    assert exit_iteration(pdf, 0.75).tolist() == [2, 3]
    assert exit_iteration(pdf, 1.0).tolist() == [3, 3]


def test_in_float32_the_sum_can_reach_one_before_the_last_iteration():
    pdf = exit_pdf(torch.tensor([1 - 2**-30, 0.5, 0.5], dtype=torch.float32))
    assert exit_iteration(pdf, 1.0) == 1


def test_a_threshold_outside_the_unit_interval_is_refused():
    with pytest.raises(ReadoutError, match=f"^{re.escape('expected an exit threshold from 0 to 1, got 1.5')}$"):
        exit_iteration(torch.ones(2), 1.5)
