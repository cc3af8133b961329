"""What a readout says of every place: names, titles and units, and which are there only where they are asked for.

Light on purpose: no torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from latentlens.errors import ReadoutError
from latentlens.names import check_name

SETTLED = 4
"""A commitment is `settled` where it held for this many iterations at the end."""

DEFAULT = ("entropy", "kl_to_final", "missing_bits", "kl_step")
"""Statistics over (prompt, iteration, position) that every readout has."""
ON_REQUEST = (
    "kl_step_back",
    "js_to_final",
    "total_variation",
    "agreement",
    "margin",
    "nucleus_size",
    "leader_changes",
    "surprisal",
)
"""Statistics that `statistics=` adds."""

TITLES = {
    "top_token": ("best tokens", "token id"),
    "top_prob": ("probability of the best tokens", "1"),
    "candidate_token": ("followed tokens", "token id"),
    "candidate_label": ("what a followed token is called", "text"),
    "prob": ("probability of the candidates", "1"),
    "rank": ("number of tokens with a strictly greater logit", "1"),
    "other_prob": ("probability of everything but the candidates", "1"),
    "entropy": ("entropy of the prediction", "bits"),
    "kl_to_final": ("KL(p_r || p_R)", "bits"),
    "missing_bits": ("KL(p_R || p_r)", "bits"),
    "kl_step": ("KL(p_{r-1} || p_r)", "bits"),
    "kl_step_back": ("KL(p_r || p_{r-1})", "bits"),
    "js_to_final": ("Jensen-Shannon divergence to the final prediction", "bits"),
    "total_variation": ("total variation distance to the final prediction", "1"),
    "agreement": ("whether the best token is the final one", "1"),
    "margin": ("probability of the best token less that of the second", "1"),
    "nucleus_size": ("number of tokens that hold 0.9 of the mass", "tokens"),
    "leader_changes": ("how often the best token changes from one iteration to the next", "1"),
    "surprisal": ("-log2 of the probability of the candidates", "bits"),
    "commitment": ("first iteration from which the top candidate never changes", "iteration"),
    "settled": (f"whether the commitment held for the last {SETTLED} iterations", "bool"),
    "token": ("token of the prompt", "token id"),
    "text": ("text of every token id that occurs", "text"),
    "exit_pdf": ("probability that the exit gate stops here", "1"),
    "exit_cdf": ("probability that the exit gate has stopped by here", "1"),
    "exit_iteration": ("iteration at which the model's own exit threshold stops", "iteration"),
    "truth": ("exact probability of the candidates", "1"),
    "truth_bits": ("KL(truth || p_r)", "bits"),
}


def check_statistics(statistics: str | Sequence[str]) -> frozenset[str]:
    """The names asked for; "all" is every one; an unknown name is refused with the nearest.

    >>> sorted(check_statistics(["margin", "entropy"]))
    ['entropy', 'margin']
    >>> check_statistics("margins")
    Traceback (most recent call last):
    latentlens.errors.ReadoutError: expected a statistic (all, entropy, ...), got 'margins': did you mean margin?
    """
    names = [statistics] if isinstance(statistics, str) else list(statistics)
    known = ("all", *DEFAULT, *ON_REQUEST)
    for name in names:
        check_name("a statistic", name, known, ReadoutError)
    return frozenset(known[1:] if "all" in names else names)
