"""Spectra against matrices whose eigenvalues are known, and against the whole Jacobian of a model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from maps import linear, logistic, rotation, travel
from torch.func import jacrev

import latentlens as ll
from latentlens.motion.jacobians import Blocks, Places, opened
from latentlens.motion.krylov import arnoldi, largest_singular_value

REAL = torch.diag(torch.tensor([0.9, -0.7, 0.5, 0.1]).double())
COMPLEX = torch.block_diag(rotation(6, 0.95), rotation(5, 0.5), torch.tensor([[0.7]]).double())
DEFECTIVE = torch.tensor([[0.9, 1.0, 0.0], [0.0, 0.9, 1.0], [0.0, 0.0, 0.9]]).double()
REPEATED = torch.diag(torch.tensor([0.5, 0.5, 0.5, 0.2]).double())
NILPOTENT = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).double()
MATRICES = [  # name, matrix, eigenvalues by falling modulus, how exact
    ("real", REAL, [0.9, -0.7, 0.5, 0.1], 1e-6),
    ("complex", COMPLEX, [0.95 * np.exp(1j * np.pi / 3), 0.95 * np.exp(-1j * np.pi / 3), 0.7], 1e-6),
    # A Jordan block of three: rounding splits its eigenvalue by the cube root.
    ("defective", DEFECTIVE, [0.9, 0.9, 0.9], 1e-4),
    ("repeated", REPEATED, [0.5, 0.5, 0.5, 0.2], 1e-6),
    ("nilpotent", NILPOTENT, [0.0, 0.0], 1e-6),
    ("zero", torch.zeros(3, 3).double(), [0.0, 0.0, 0.0], 1e-12),
]


def shaken(matrix):
    """The same matrix in other axes, so that nothing is found by luck."""
    torch.manual_seed(1)
    turn = torch.linalg.qr(torch.randn(*matrix.shape).double())[0]
    return turn @ matrix @ turn.T


@pytest.mark.parametrize(("matrix", "exact", "within"), [m[1:] for m in MATRICES], ids=[m[0] for m in MATRICES])
def test_a_linear_map_has_the_eigenvalues_and_singular_values_of_its_matrix(matrix, exact, within):
    traj = travel(linear(shaken(matrix), 1.0), torch.ones(len(matrix)).double(), 6)
    dyn = ll.dynamics(traj, spectra=[3], progress=False).sel(iteration=3, prompt=0, position=0)
    found = dyn.eigenvalues.values[: len(exact)]
    assert np.allclose(sorted(found, key=np.angle), sorted(np.array(exact, complex), key=np.angle), atol=within)
    assert float(dyn.spectral_radius) == pytest.approx(abs(exact[0]), abs=within)
    assert float(dyn.largest_singular_value) == pytest.approx(float(torch.linalg.svdvals(matrix)[0]), rel=1e-6)


def test_other_positions_are_held_and_several_are_one_batch():
    own, pull = shaken(REAL), torch.randn(4, 4).double()
    traj = travel(linear(own, 1.0), torch.ones(4).double(), 6, positions=3, pull=pull)
    dyn = ll.dynamics(traj, spectra=[0, -1], positions=[0, 1, -1], progress=False)
    assert np.allclose(dyn.spectral_radius.sel(iteration=[0, 6]), 0.9, atol=1e-6)
    assert np.isnan(dyn.spectral_radius.sel(iteration=[1, 5])).all()


@pytest.fixture(scope="module")
def run(raven):
    return ll.capture(
        raven, tokens=[[5, 80, 200, 17], [9, 3, 0, 0]], mask=[[1] * 4, [1, 1, 0, 0]], iterations=6, progress=False
    )


def test_products_are_those_of_the_models_whole_jacobian(run):
    places = Places(torch.tensor([0, 1]), torch.tensor([3, 5]), torch.tensor([3, 1]))
    blocks, model = Blocks(run, places), run.model
    vectors = torch.randn(2, 64, generator=torch.Generator().manual_seed(0)).double()
    pushed, pulled = blocks.push(vectors), blocks.pull(vectors)
    for row, (prompt, iteration, position) in enumerate(((0, 3, 3), (1, 5, 1))):
        context, width = opened(run, torch.tensor([prompt]))
        state = run.states[prompt, iteration, :width]

        def one(x, state=state, position=position, context=context):
            return model.step(state.index_put((torch.tensor(position),), x)[None], context)[0, position]

        whole = jacrev(one)(state[position]).double().detach()
        assert torch.allclose(pushed[row], whole @ vectors[row], atol=1e-4)
        assert torch.allclose(pulled[row], whole.T @ vectors[row], atol=1e-4)


def test_with_as_many_products_as_dimensions_a_models_spectrum_is_numpys(run):
    places = Places(torch.tensor([0]), torch.tensor([4]), torch.tensor([3]))
    blocks = Blocks(run, places)
    whole = torch.stack([blocks.push(row[None])[0] for row in torch.eye(64).double()], dim=1)
    exact = np.linalg.eigvals(whole.numpy())
    exact = exact[np.argsort(-np.abs(exact))]
    dyn = ll.dynamics(run, spectra=[4], products=70, n_eigenvalues=4, progress=False).sel(
        prompt=0, iteration=4, position=3
    )
    assert np.allclose(np.abs(dyn.eigenvalues), np.abs(exact[:4]), rtol=1e-3)
    # 20 products, as by default: near, and it says how near.
    few = ll.dynamics(run, spectra=[4], progress=False).sel(prompt=0, iteration=4, position=3)
    assert float(few.spectral_radius) == pytest.approx(abs(exact[0]), rel=0.1)
    assert float(few.spectral_residual) < 0.2 * abs(exact[0])
    assert 0.85 < float(few.largest_singular_value) / np.linalg.svd(whole.numpy())[1][0] <= 1 + 1e-5


def test_the_seed_fixes_the_spectrum(run):
    one, two = (ll.dynamics(run, spectra=[2], lyapunov=2, seed=4, progress=False) for _ in range(2))
    assert one.equals(two)


def test_a_cycle_of_four_has_the_multiplier_of_its_whole_round():
    traj = travel(logistic(3.5), [0.3], 256)
    dyn = ll.dynamics(traj, spectra=[-1], lyapunov=True, progress=False)
    x = traj.states[0, -4:, 0, 0].numpy()
    exact = np.prod(3.5 * (1 - 2 * x))
    assert dyn.floquet_period.item() == 4
    assert dyn.floquet.values.ravel()[0] == pytest.approx(exact, rel=1e-5)
    assert dyn.lyapunov.item() == pytest.approx(math.log(abs(exact)) / 4, rel=1e-5)


def test_exponents_of_a_linear_map_are_the_logs_of_its_moduli():
    traj = travel(linear(COMPLEX), torch.ones(5).double(), 64)
    exact = np.log([0.95, 0.95, 0.7, 0.5, 0.5])
    found = ll.dynamics(traj, lyapunov=9, progress=False).lyapunov.values.ravel()
    # A turn of period 5 or 6 leaves a little in the mean over 24 iterations.
    assert np.allclose(found, exact, atol=0.01)


def test_arnoldi_of_a_large_matrix_finds_what_stands_apart():
    torch.manual_seed(0)
    matrix = torch.randn(3, 200, 200).double() / 200**0.5 * 0.5
    matrix[:, 0, :] = 0
    matrix[:, 0, 0] = 2

    def product(v):
        return torch.einsum("rij,rj->ri", matrix, v)

    found = arnoldi(product, torch.randn(3, 200).double(), 14, eps=1e-15)
    values, residual = found.leading(2)
    assert torch.allclose(values[:, 0].real, torch.full((3,), 2.0).double(), atol=1e-5)
    assert (residual < 1e-4).all()
    largest = largest_singular_value(product, lambda u: torch.einsum("rij,ri->rj", matrix, u), found, 4)
    exact = torch.linalg.svdvals(matrix)[:, 0]
    assert (largest <= exact + 1e-9).all()
    assert (largest > 0.97 * exact).all()
