"""What laying out costs: the joint PCA against scikit-learn's exact solvers (the target is at most 0.2 of the fastest,
`covariance_eigh`), peak memory from disk by size, and UMAP."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import latentlens as ll
from latentlens.trajectory import Trajectory

CHILD = """
import sys
import latentlens as ll, torch
torch.set_num_threads(2)
from latentlens import embeddings
def status(name):  # of this process alone: the kernel hands ru_maxrss down from the one that started it
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) // 1024
before = status("VmRSS")
ll.embed(sys.argv[1], progress=False)
print(before, status("VmHWM"))
"""


def a_run(prompts: int, iterations: int, positions: int, width: int) -> Trajectory:
    """States whose variance falls along the dimensions, as those of models do."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(prompts, iterations, positions, width, generator=generator) * torch.logspace(0, -2, width)
    shape = (prompts, positions)
    return Trajectory(states, torch.zeros(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize(
    ("solver", "dtype"), [("covariance_eigh", "float32"), ("covariance_eigh", "float64"), ("full", "float32")]
)
def test_joint_pca_against_scikit_learns_exact_solvers(compare, sized, solver, dtype):
    """40,000 states of 1,024 dimensions, three components, coordinates of all of them; ours is float64 throughout."""
    traj = a_run(sized(25, 2), 32, 50, sized(1024, 64))
    rows = traj.states.flatten(0, 2).numpy().astype(dtype)
    compare(
        lambda: ll.embed(traj, n_components=3, progress=False),
        lambda: PCA(3, svd_solver=solver).fit_transform(rows),
        rounds=3 if solver == "full" else 5,
    )


def test_peak_memory_of_a_joint_pca_from_disk_does_not_grow_with_the_run(benchmark, found, sized, tmp_path):
    """Runs of 1, 4, 8 and 16 times as many prompts; 16 times is 2 GiB of states. What is held beyond the imports is a
    few prompts' states, a few matrices of d_model x d_model, and the coordinates: 256 MiB here."""
    told = []
    for times in (1, 4, 8, 16) if not benchmark.disabled else (1,):
        traj = a_run(sized(32, 2) * times, 32, 32, sized(1024, 32))
        path = traj.save(tmp_path / "run.zarr", overwrite=True)
        size = traj.states.nbytes // 2**20
        del traj
        words = [sys.executable, "-c", CHILD, str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
        before, peak = map(int, done.stdout.split())
        told.append((size, peak - before, peak))
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info["MiB of states, MiB above the imports, MiB at the peak"] = told
    line = ", ".join(f"{above} MiB above the imports ({peak} in all) for {size} MiB" for size, above, peak in told)
    found(f"peak memory of a PCA from disk: {line} of states")
    assert all(above < 256 for _, above, _ in told)


def test_umap_of_ten_thousand_states(rate, sized):
    """10,000 states of 256 dimensions on 50 components, neighbours and 500 epochs included."""
    traj = a_run(sized(10, 2), sized(25, 5), sized(40, 3), sized(256, 8))
    count = int(np.prod(traj.states.shape[:3]))
    rate(lambda: ll.embed(traj, "umap", n_components=2, progress=False), count, "states")
