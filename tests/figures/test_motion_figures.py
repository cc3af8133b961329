"""Motion is drawn as `dynamics` says it: one token, the median of many, or a line a group."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from maps import linear, rotation, travel

import latentlens as ll
from latentlens.errors import FigureError
from latentlens.figures.kinds.line import drawable

PROMPTS = ["2 steps from Ann", "from Dee", "Ann : Bob . 2 steps from Ann"]
QUIET = {"progress": False}


def by_gid(figure, gid):
    return figure.findobj(lambda artist: artist.get_gid() == gid)


@pytest.fixture(scope="module")
def dyn(walk):
    return ll.dynamics(walk(prompts=PROMPTS).traj, **QUIET)


@pytest.fixture(scope="module")
def grouped(dyn):
    return ll.aggregate(dyn, by=["odd", "<b>even</b>", "odd"])


@pytest.fixture(scope="module")
def turning():
    """A spiral in of radius 0.9 and period 6: its spectral radius and steps are known."""
    return ll.dynamics(travel(linear(rotation(6, 0.9), 1.0), [1.0, 2.0], 24), spectra=[0, 8, 24], **QUIET)


def test_the_steps_of_a_contraction_fall_by_its_rate_on_a_logarithmic_axis(turning):
    table = ll.figures.motion(turning).table()
    assert table.iteration.tolist() == list(range(1, 25))
    assert np.allclose(table.value[1:].to_numpy() / table.value[:-1].to_numpy(), 0.9, rtol=1e-4)
    assert not table.attrs["log"]  # 0.9^23 is not yet a factor of 30
    assert ll.figures.motion(turning, scale="log").table().attrs["log"]
    faster = ll.dynamics(travel(linear(0.5 * torch.eye(2).double(), 1.0), [1.0, 5.0], 24), **QUIET)
    assert ll.figures.motion(faster, y="distance_to_final").table().attrs["log"]


def test_a_jacobian_looked_at_here_and_there_is_joined_and_stands_below_the_rule_at_one(turning):
    drawing = ll.figures.motion(turning, y="spectral_radius")
    table = drawing.table()
    assert table.iteration.tolist() == [0, 8, 24]
    assert table.value.to_numpy() == pytest.approx(0.9)
    (rule,) = (shape for shape in drawing.plotly().layout.shapes if shape.name == "reference")
    assert (rule.y0, rule.y1) == (1, 1)
    assert by_gid(drawing.matplotlib(), "reference")[0].get_ydata() == [1, 1]
    assert drawing.matplotlib().axes[0].get_ylim()[1] > 1


def test_one_token_is_the_datasets_own_row(dyn):
    table = ll.figures.motion(dyn, y="state_norm", prompt=2, position=1).table()
    assert table.value.tolist() == dyn.state_norm.values[2, :, 1].astype(float).tolist()
    assert table[["low", "high", "lowest", "highest"]].isna().all(axis=None)


def test_many_tokens_are_their_median_and_quantiles_and_pads_do_not_count(dyn):
    table = ll.figures.motion(dyn, y="state_norm", position=None).table()
    real = dyn.token.values >= 0
    values = np.concatenate([dyn.state_norm.values[p][:, real[p]].T for p in range(3)]).astype(float)
    for name, share in (("lowest", 0.05), ("low", 0.25), ("value", 0.5), ("high", 0.75), ("highest", 0.95)):
        assert table[name].to_numpy() == pytest.approx(np.quantile(values, share, axis=0))
    assert table.attrs["note"] == f"median of {real.sum()} tokens; bands 25–75% and 5–95%"
    ends = ll.figures.motion(dyn, y="state_norm").table()
    own = [dyn.state_norm.values[p, :, len(text.split()) - 1] for p, text in enumerate(PROMPTS)]
    assert ends.value.to_numpy() == pytest.approx(np.median(own, axis=0))


def test_groups_have_a_line_each_with_their_interval_or_their_quantiles(grouped):
    table = ll.figures.motion(grouped, y="relative_step").table()
    for number, name in enumerate(grouped.group.values):
        row, own = table[table.label == name], grouped.sel(group=name).sel(iteration=slice(1, None))
        assert set(row.slot) == {number}
        for column, kept in (("value", ""), ("low", "_low"), ("high", "_high")):
            assert row[column].tolist() == own[f"relative_step{kept}"].values.tolist()
    assert table.attrs["note"] == "mean of each group; band 95% interval"
    spread = ll.figures.motion(grouped, y="relative_step", band="quantiles").table()
    for column, share in (("lowest", 0.05), ("low", 0.25), ("value", 0.5), ("high", 0.75), ("highest", 0.95)):
        own = grouped.relative_step_quantile.sel(quantile=share, group="odd").values[1:]
        assert spread[spread.label == "odd"][column].tolist() == own.tolist()
    assert spread.attrs["note"] == "median of each group; bands 25–75% and 5–95%"


def test_the_label_of_a_group_is_shown_and_not_run(grouped, tmp_path):
    drawing = ll.figures.motion(grouped)
    assert "&lt;b&gt;even&lt;/b&gt;" in [a.text for a in drawing.plotly().layout.annotations]
    assert ">&lt;b&gt;even&lt;/b&gt;<" in drawing.save(tmp_path / "motion.svg").read_text()


def test_every_quantity_over_iterations_can_be_drawn(dyn, turning, grouped):
    for data in (dyn, turning):
        for y in set(drawable(data)) - {"participation_ratio"}:
            assert len(ll.figures.motion(data, y=y, position=None).table()) >= 3, y
    assert len(ll.figures.motion(dyn, y="participation_ratio").table()) == 25
    assert len(ll.figures.motion(grouped, y="angle").table()) == 46


def test_both_backends_draw_the_table(dyn):
    drawing = ll.figures.motion(dyn, y="distance_to_final", position=None, playhead=9)
    figure, page, table = drawing.plotly(), drawing.matplotlib(), drawing.table()
    seen = table[table.value > 0]
    (trace,) = (t for t in figure.data if t.meta)
    (line,) = by_gid(page, "series-0")
    assert np.array_equal(np.array(trace.y)[: len(seen)], seen.value)
    assert np.array_equal(line.get_ydata()[: len(seen)], seen.value)
    assert (figure.layout.shapes[0].name, figure.layout.shapes[0].x0) == ("playhead", 9)
    assert by_gid(page, "playhead")[0].get_xdata()[0] == 9
    assert figure.layout.uirevision == "motion"


REFUSED = [
    ({"y": "step_norms"}, "expected y of motion (state_norm, step_norm, relative_step, cosine, angle, acceleration, distance_to_final, participation_ratio), got 'step_norms': did you mean step_norm?"),
    ({"y": "contraction"}, "expected a quantity over iterations for y of motion (state_norm, step_norm, relative_step, cosine, angle, acceleration, distance_to_final, participation_ratio), got 'contraction', which has one value for them all"),
    ({"y": "spectral_radius"}, "expected dynamics with spectra= for y='spectral_radius' of motion, got one without: pass ll.dynamics(traj, spectra=[-1])"),
    ({"y": "participation_ratio", "prompt": 0}, "expected no prompt and no position for y='participation_ratio' of motion, which is over all: leave them out"),
    ({"band": "quantiles"}, "expected no band for motion of tokens, got one: pass what ll.aggregate returns"),
    ({"position": 3}, "expected a position from -2 to 1 (prompt 1 has 2 tokens), got 3"),
    ({"position": "last"}, "expected position of motion to be a whole number, got 'last'"),
    ({"prompt": 3}, "expected a prompt from -3 to 2, got 3"),
    ({"playhead": 25}, "expected playhead from 0 to 24 (the iterations captured), got 25"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_an_option_that_does_not_fit_is_refused_in_one_line(dyn, options, said):
    with pytest.raises(FigureError, match=f"^{re.escape(said)}$"):
        ll.figures.motion(dyn, **options).table()


def test_what_dynamics_did_not_make_and_choices_after_grouping_are_refused(walked, grouped, dyn):
    with pytest.raises(
        FigureError, match="^expected what ll.dynamics or ll.aggregate returns for motion, got Dataset: call one first$"
    ):
        ll.figures.motion(walked.out).table()
    with pytest.raises(
        FigureError, match="^expected no prompt and no position for motion of groups, got one: choose b"
    ):
        ll.figures.motion(grouped, position=0).table()
    with pytest.raises(FigureError, match=r"^expected quantiles on both sides of 0.5 .*, got \[0.5\]: leave quant"):
        ll.figures.motion(ll.aggregate(dyn, quantiles=[0.5]), band="quantiles").table()
