"""What a spectrum costs: 20 products with the Jacobian of one iteration against the whole Jacobian and its eigenvalues."""

from __future__ import annotations

import numpy as np
import torch
from torch.func import jacrev

import latentlens as ll
from latentlens.models import walks
from latentlens.motion.jacobians import opened


def test_spectra_against_whole_jacobians(compare, sized):
    """At the last token of 16 prompts after 8 iterations, all places as one batch; `walks` is 224 wide."""
    model = ll.load("walks")
    count = sized(16, 1)
    traj = ll.capture(model, walks.sample(count, 3, seed=0), iterations=8, progress=False)
    ends = [(prompt, int(seen.sum()) - 1) for prompt, seen in enumerate(traj.mask)]

    def whole() -> list[float]:
        radii = []
        for prompt, end in ends:
            context, width = opened(traj, torch.tensor([prompt]))
            state = traj.states[prompt, 8, :width]

            def one(x, state=state, end=end, context=context):
                return model.step(state.index_put((torch.tensor(end),), x)[None], context)[0, end]

            radii.append(float(torch.linalg.eigvals(jacrev(one)(state[end]).detach()).abs().max()))
        return radii

    found = ll.dynamics(traj, spectra=[8], progress=False).spectral_radius.sel(iteration=8)
    ours = [found.values[prompt, end] for prompt, end in ends]
    np.testing.assert_allclose(ours, whole(), rtol=0.1)  # 20 products are a few percent off
    compare(lambda: ll.dynamics(traj, spectra=[8], progress=False), whole, rounds=5)
