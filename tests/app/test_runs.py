"""What is asked becomes a run, once; the last few are kept."""

from __future__ import annotations

import pytest
from latentlens_app.asking import MOST_ITERATIONS, Ask
from latentlens_app.jobs import Cancelled
from latentlens_app.runs import KEPT_RUNS, Kept, Run, Runs

import latentlens as ll


def quiet(share: float, what: str) -> None:
    """A progress callable that lets everything pass."""


def test_a_run_holds_what_latentlens_says(run: Run):
    direct = ll.decode(ll.capture(run.traj.model, run.ask.prompt, iterations=6), also=["Bob", "Ann"], statistics="all")
    assert run.out.equals(direct)
    assert set(run.also) == set(ll.models.walks.truth(run.ask.prompt))


def test_the_same_ask_is_made_once_and_another_lens_reads_the_same_states(runs: Runs, run: Run, ask: Ask):
    assert runs.make(ask, quiet) == ask.key
    assert runs.get(ask.key) is run
    other = Ask(ask.model, ask.prompt, ask.iterations, ask.seed, "logit")
    logit = runs.get(runs.make(other, quiet))
    assert logit is not None
    assert logit.traj is run.traj
    assert logit.out.attrs["lens"] == "logit"


def test_progress_never_goes_back_and_ends_at_one(ask: Ask):
    shares: list[float] = []
    Runs().make(ask, lambda share, what: shares.append(share))
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1)


def test_a_run_stops_where_its_progress_callable_raises(ask: Ask):
    runs = Runs()

    def report(share: float, what: str) -> None:
        if what == "decode":
            raise Cancelled

    with pytest.raises(Cancelled):
        runs.make(ask, report)
    assert runs.get(ask.key) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prompt": ""}, "expected a prompt with at least one token, got ''"),
        ({"prompt": "Ann : Zork ."}, "got 'Zork'"),
        ({"iterations": 0}, "expected iterations to be a whole number of 1 or more, got 0"),
        ({"iterations": ""}, "got ''"),
        ({"iterations": 2.5}, "got 2.5"),
        ({"iterations": MOST_ITERATIONS + 1}, f"expected at most {MOST_ITERATIONS} iterations"),
        ({"seed": -1}, "expected seed to be a whole number of 0 or more, got -1"),
        ({"model": "wolks"}, "did you mean walks?"),
        ({"lens": "nose"}, "expected a lens (coda, logit"),
    ],
)
def test_a_bad_ask_is_refused_in_one_line(runs: Runs, ask: Ask, changed: dict, words: str):
    with pytest.raises(ll.LatentLensError) as caught:
        runs.make(Ask.from_page({**ask.to_page(), **changed}), quiet)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_cells_than_a_page_can_show_are_refused_before_anything_runs(runs: Runs):
    prompt = " ".join(["Ann"] * 60)
    with pytest.raises(ll.LatentLensError, match="got 60 x 1000: shorten the prompt"):
        runs.make(Ask("walks", prompt, 1000), quiet)


def test_what_a_page_kept_is_checked():
    with pytest.raises(ll.LatentLensError, match="reload the page"):
        Ask.from_page({"model": "walks"})
    with pytest.raises(ll.LatentLensError, match="reload the page"):
        Ask.from_page({**Ask("walks", "Ann").to_page(), "model": ["walks"]})
    with pytest.raises(ll.LatentLensError, match="expected texts to follow, got .*reload the page"):
        Ask.from_page({**Ask("walks", "Ann").to_page(), "track": [3]})


def test_a_store_keeps_the_states_and_finds_them_again(tmp_path, ask: Ask):
    first = Runs(store=tmp_path)
    made = first.get(first.make(ask, quiet))
    assert len(list(tmp_path.glob("*.zarr"))) == 1
    seen: list[str] = []
    second = Runs(store=tmp_path)
    again = second.get(second.make(ask, lambda share, what: seen.append(what)))
    assert made is not None
    assert again is not None
    assert "capture" not in seen
    assert bool((again.traj.states == made.traj.states).all())


def test_only_the_latest_values_are_kept():
    kept: Kept[int] = Kept(KEPT_RUNS)
    for number in range(3 * KEPT_RUNS):
        kept.put(str(number), number)
        kept.get("0")
    assert len(kept) == KEPT_RUNS
    assert kept.get("0") == 0  # asked for all the time, so never the oldest
    assert kept.get("1") is None
