"""The tables say what the readout says, and what the script says that the readout should say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from walker import EXACT, WORDS

import latentlens as ll
from latentlens.errors import FigureError
from latentlens.figures.kinds.grid import cells, colour_range, shown, writings


def test_shares_sum_to_one_at_every_iteration(walked):
    table = ll.figures.stream(walked.out).table()
    assert np.abs(table.groupby("iteration").prob.sum() - 1).max() < 1e-6


def test_a_streams_probabilities_are_the_softmax_of_the_script(walked):
    table = ll.figures.stream(walked.out).table()
    exact = walked.script.double().softmax(-1).numpy()
    real = table[table.candidate >= 0]
    assert np.abs(real.prob - exact[real.iteration, real.token]).max() < 1e-6


def test_rank_one_is_the_best_of_the_vocabulary(walked):
    table = ll.figures.stream(walked.out, mode="rank").table()
    order = (-walked.script).argsort(-1).argsort(-1).numpy() + 1
    real = table[table.candidate >= 0]
    assert (real["rank"] == order[real.iteration, real.token]).all()
    assert table[table.candidate < 0]["rank"].isna().all()


def test_a_streams_entropy_is_that_of_the_whole_prediction(walked):
    table = ll.figures.stream(walked.out).table()
    p = walked.script.double().softmax(-1)
    exact = -(p * p.log2()).sum(-1).numpy()
    assert np.abs(table.groupby("iteration").entropy.first() - exact).max() < 1e-5


def test_two_equal_candidates_have_half_each_and_one_bit(walk):
    script = torch.full((3, len(WORDS)), -60.0)
    script[:, [5, 6]] = 0
    table = ll.figures.stream(walk(script, track=["Ann", "Bob"]).out).table()
    assert table[table.candidate >= 0].prob.to_numpy() == pytest.approx(0.5)
    assert table[table.candidate < 0].prob.to_numpy() == pytest.approx(0, abs=1e-6)
    assert table.entropy.to_numpy() == pytest.approx(1)


def test_the_truths_shares_sum_to_one_and_are_the_exact_answer(walked):
    table = ll.figures.stream(walked.out).table()
    last = table[table.iteration == 24].set_index("label").truth
    assert last.sum() == pytest.approx(1)
    assert {name: last[name] for name in EXACT} == EXACT


def test_truth_that_no_candidate_holds_goes_to_the_rest(walk):
    table = ll.figures.stream(walk(track=["Dee"]).out).table()
    assert table[table.iteration == 0].truth.tolist() == pytest.approx([0.5, 0.5])


def test_a_position_without_a_known_truth_has_none(walked):
    drawing = ll.figures.stream(walked.out, position=2)
    assert drawing.table().truth.isna().all()
    assert "exact answer" not in drawing.describe()


def test_each_prompts_last_position_is_its_own(walk):
    out = walk(prompts=["2 steps from Ann", "from Dee"]).out
    assert [ll.figures.stream(out, prompt=p).table().attrs["position"] for p in (0, 1)] == [3, 1]


def test_start_leaves_out_the_iterations_before_it(walked):
    assert ll.figures.stream(walked.out, start=3).table().iteration.min() == 3


def test_a_grid_says_what_the_readout_says(walked):
    table = ll.figures.grid(walked.out).table()
    out = walked.out.isel(prompt=0)
    assert (cells(table, "top") == out.top_token.values[..., 0].T).all()
    assert np.array_equal(cells(table, "entropy"), out.entropy.values.T)
    assert np.array_equal(cells(table, "kl_to_final"), out.kl_to_final.values.T)
    assert np.array_equal(cells(table, "prob"), out.top_prob.values[..., 0].T)
    assert table[table.position == 28].token_text.unique().tolist() == ["Ann"]


def test_a_random_start_does_not_stretch_the_colours(walked):
    table = ll.figures.grid(walked.out).table()
    low, high, above = colour_range(table, "entropy")
    assert (low, high) == (0, cells(table, "entropy")[:, 1:].max())
    assert above == bool(cells(table, "entropy")[:, 0].max() > high)


def test_text_where_the_lead_changes_tells_every_leader(walked):
    figure = ll.figures.grid(walked.out, text="changes").figure
    table = figure.table(walked.out)
    visible, top = shown(figure, table, crowded=False), cells(table, "top")
    said = top.copy()
    for column in range(1, top.shape[1]):
        said[:, column] = np.where(visible[:, column], top[:, column], said[:, column - 1])
    assert (said == top).all()
    assert visible.sum() < top.size / 4


def test_a_writing_ends_where_the_next_begins_or_where_the_ink_would_change(walked):
    figure = ll.figures.grid(walked.out, text="changes").figure
    table = figure.table(walked.out)
    starts = {(w.row, w.column) for w in writings(figure, table, dark=False, crowded=False)}
    for w in writings(figure, table, dark=False, crowded=False):
        assert not starts & {(w.row, w.column + step) for step in range(1, w.room)}
        assert w.column + w.room <= 25


def test_a_maps_coordinates_are_the_embeddings(walked):
    table = ll.figures.map(walked.emb, walked.out, dims=3).table()
    for row in table.sample(50, random_state=0).itertuples():
        exact = walked.emb.coords.values[row.prompt, row.iteration, row.position]
        assert [row.x, row.y, row.z] == exact.astype(np.float32).tolist()


def test_a_map_highlights_each_prompts_last_token(walk):
    walked = walk(prompts=["2 steps from Ann", "from Dee"])
    table = ll.figures.map(walked.emb).table()
    strong = table[table.strong][["prompt", "position"]].drop_duplicates()
    assert strong.to_numpy().tolist() == [[0, 3], [1, 1]]
    assert not table.isna().any().any()  # pads are left out


def test_chosen_positions_alone_are_drawn(walked):
    table = ll.figures.map(walked.emb, position=[0, -1], components=(3, 1)).table()
    assert table.position.unique().tolist() == [0, 28]
    assert table.strong.all()
    assert (table.x.to_numpy()[:25] == walked.emb.coords.values[0, :, 0, 2].astype(np.float32)).all()


def test_descriptions_say_the_key_facts(walked):
    assert ll.figures.stream(walked.out).describe() == (
        "From iteration 6 on Dee leads, with 0.50 at the end; entropy falls from 2.6 to 1.5 bits over iterations 1 to "
        "24; the exact answer is Dee 0.50, Eve 0.25, Ann 0.25."
    )
    assert "at the last token, Ann, Dee leads from iteration 6 on" in ll.figures.grid(walked.out).describe()
    assert "29 paths over iterations 0 to 24" in ll.figures.map(walked.emb, walked.out).describe()


def test_a_description_does_not_call_a_follower_the_leader(walk):
    said = ll.figures.stream(walk(track=["Eve"]).out).describe()
    assert said.startswith("No followed candidate leads at the end, Eve is the likeliest of them with 0.25")


def test_only_the_most_frequent_leaders_have_a_colour_those_of_the_highlighted_token_first(walked):
    table = ll.figures.map(walked.emb, walked.out, color="top").table()
    coloured = table[table.slot >= 0]
    assert coloured.slot.nunique() == 8
    assert (table[table.strong & (table.iteration > 0)].slot >= 0).all()
    kept = coloured[~coloured.top.isin(table[table.strong].top)].top.value_counts()
    left = table[(table.slot < 0) & (table.iteration > 0)].top.value_counts()
    assert kept.min() >= left.max()


def test_a_table_is_a_copy(walked):
    drawing = ll.figures.stream(walked.out)
    table = drawing.table()
    table["prob"] = 7.0
    table.attrs["position"] = 0
    assert drawing.table().prob.max() <= 1
    assert drawing.table().attrs["position"] == 28


def test_another_token_can_be_the_strong_one_of_a_map_and_lies_on_top(wordy):
    emb = ll.embed(ll.capture(wordy, "the cat sat on", iterations=3))
    table = ll.figures.map(emb, strong=1).table()
    assert table[table.strong].position.unique().tolist() == [1]
    assert table.position.unique().tolist() == [0, 2, 3, 1]
    assert np.allclose(table[table.strong].x, emb.coords[0, :, 1, 0])
    with pytest.raises(FigureError, match="position"):
        ll.figures.map(emb, strong=4).table()
