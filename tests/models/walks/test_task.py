"""The task against closed forms: what the prompts look like, what the truth is, what is refused."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentlens.errors import TokenError
from latentlens.models import walks
from latentlens.models.walks import task

EXAMPLE = "Ann : Bob Cal . Bob : Dee Ann . Cal : Dee Eve . Dee : Ann Bob . Eve : Cal Dee ."
PAIR = "Ann : Bob . Bob : Ann ."


def test_the_example_ends_on_dee_half_the_time():
    assert walks.truth(f"{EXAMPLE} 2 steps from Ann") == {"Dee": 0.5, "Ann": 0.25, "Eve": 0.25}


def test_any_intermediate_stop_is_known_too():
    prompt = f"{EXAMPLE} 2 steps from Ann"
    assert walks.truth(prompt, steps=0) == {"Ann": 1.0}
    assert walks.truth(prompt, steps=1) == {"Bob": 0.5, "Cal": 0.5}


def test_a_successor_named_twice_weighs_double():
    assert walks.truth("Ann : Bob Bob Ann . Bob : Ann . 1 steps from Ann") == {"Bob": 2 / 3, "Ann": 1 / 3}


def test_one_successor_each_is_a_single_answer():
    ring = "Ann : Bob . Bob : Cal . Cal : Dee . Dee : Ann ."
    assert [walks.truth(f"{ring} {k} steps from Ann") for k in range(5)] == [
        {name: 1.0} for name in ("Ann", "Bob", "Cal", "Dee", "Ann")
    ]


def test_after_a_walk_the_truth_is_one_step_from_the_last_stop():
    assert walks.truth(f"{EXAMPLE} walk from Ann Cal") == walks.truth(f"{EXAMPLE} 1 steps from Cal")
    assert walks.truth(f"{EXAMPLE} walk from Ann Cal", steps=3) == walks.truth(f"{EXAMPLE} 3 steps from Cal")


def test_the_last_of_several_questions_is_the_one_that_is_asked():
    assert walks.truth(f"{EXAMPLE} 3 steps from Bob Ann . walk from Dee Bob . 1 steps from Eve") == {
        "Cal": 0.5,
        "Dee": 0.5,
    }


def test_spaces_before_colons_and_stops_are_optional():
    assert walks.truth("Ann:Bob. Bob:Ann.\n1 steps from Ann") == {"Bob": 1.0}


@settings(deadline=None, max_examples=40)
@given(steps=st.integers(0, 12), seed=st.integers(0, 10_000))
def test_the_truth_is_a_row_of_the_matrix_power(steps, seed):
    (prompt,) = walks.sample(1, steps, seed)
    ask = task.parse(prompt)
    row = np.eye(len(ask.graph.nodes))[ask.graph.nodes.index(ask.start)]
    for _ in range(steps):
        row = row @ ask.graph.matrix()
    truth = walks.truth(prompt)
    assert math.isclose(sum(truth.values()), 1)
    assert list(truth.values()) == sorted(truth.values(), reverse=True)
    assert [truth.get(name, 0.0) for name in ask.graph.nodes] == pytest.approx(row.tolist(), abs=1e-12)


def test_start_blind_is_the_mean_of_the_truths_over_all_starts():
    prompts = [f"{EXAMPLE} 3 steps from {name}" for name in ("Ann", "Bob", "Cal", "Dee", "Eve")]
    blind = task.start_blind(prompts[0])
    for name in blind:
        assert blind[name] == pytest.approx(np.mean([walks.truth(prompt).get(name, 0.0) for prompt in prompts]))


def test_one_step_short_stays_at_the_start_when_no_step_is_asked():
    assert task.one_step_short(f"{PAIR} 0 steps from Ann") == {"Ann": 1.0}
    assert task.one_step_short(f"{PAIR} 2 steps from Ann") == {"Bob": 1.0}


def test_the_same_seed_gives_the_same_prompts_and_another_gives_others():
    assert walks.sample(20, 3, seed=5) == walks.sample(20, 3, seed=5)
    assert walks.sample(20, 3, seed=5)[:10] == walks.sample(10, 3, seed=5)
    assert not set(walks.sample(20, 3, seed=5)) & set(walks.sample(20, 3, seed=6))


def test_sampled_prompts_are_as_the_design_says():
    sizes, degrees, doubles, loops = set(), set(), 0, 0
    for prompt in walks.sample(300, 2, seed=0):
        assert re.fullmatch(r"([A-Z][a-z]{2} :( [A-Z][a-z]{2}){1,3} \. ){4,7}2 steps from [A-Z][a-z]{2}", prompt)
        graph = task.parse(prompt).graph
        sizes.add(len(graph.nodes))
        for node, successors in enumerate(graph.successors):
            degrees.add(len(successors))
            doubles += len(set(successors)) < len(successors)
            loops += node in successors
    assert sizes == {4, 5, 6, 7}
    assert degrees == {1, 2, 3}
    assert doubles > 20
    assert loops > 20


def test_the_options_make_the_graphs_of_the_evaluation():
    for prompt in walks.sample(100, 4, seed=0, nodes=5, successors=(1, 2), self_loops=False):
        graph = task.parse(prompt).graph
        assert len(graph.nodes) == 5
        assert all(len(s) in (1, 2) and node not in s for node, s in enumerate(graph.successors))


def test_a_walk_is_sampled_where_no_number_of_steps_is_given():
    (prompt,) = walks.sample(1, None, seed=0)
    assert re.search(r"walk from [A-Z][a-z]{2}$", prompt)


REFUSED = {
    "": "expected a graph, such as 'Ann : Bob Cal .', got nothing: name a node, then ':'",
    "2 steps from Ann": ("expected a graph, such as 'Ann : Bob Cal .', got '2 steps from Ann': name a node, then ':'"),
    PAIR: (
        "expected the prompt to end with 'N steps from NAME' or 'walk from NAME', N from 0 to 12, got nothing: "
        "add '2 steps from Ann', for example"
    ),
    f"{PAIR} 13 steps from Ann": (
        "expected the prompt to end with 'N steps from NAME' or 'walk from NAME', N from 0 to 12, "
        "got '13 steps from Ann': add '2 steps from Ann', for example"
    ),
    f"{PAIR} 2 steps from Ann Bob": (
        "expected the prompt to end with 'N steps from NAME' or 'walk from NAME', N from 0 to 12, "
        "got '2 steps from Ann Bob': add '2 steps from Ann', for example"
    ),
    f"{PAIR} 2 steps from Eve": ("expected the question to name a node of the graph, got 'Eve': take one of Ann, Bob"),
    f"{PAIR} walk from Ann Ann": "expected the walk to go from 'Ann' to one of Bob, got 'Ann': follow the graph",
    "Ann : Bob . Bob : Cal . 1 steps from Ann": (
        "expected the successors of 'Bob' to be nodes of the graph, got 'Cal': "
        "add 'Cal : ... .', or take one of Ann, Bob"
    ),
    "Ann : Bob . Bob : . 1 steps from Ann": (
        "expected at least one successor after 'Bob :', got none: 'Bob : Bob .' stays there"
    ),
    "Ann : Bob . Ann : Ann . 1 steps from Ann": (
        "expected every node once before a ':', got 'Ann' twice: put its successors in one list"
    ),
    "Ann : Bob . Bob : Ann 2 steps from Ann": (
        "expected names and then '.' after 'Bob :', got '2': "
        "end every node's successors with '.', as in 'Ann : Bob Cal .'"
    ),
}


@pytest.mark.parametrize("prompt", REFUSED)
def test_a_bad_prompt_is_refused_in_one_line(prompt):
    with pytest.raises(TokenError) as caught:
        walks.truth(prompt)
    assert str(caught.value) == REFUSED[prompt]


def test_bad_arguments_are_refused_in_one_line():
    refused = {
        "expected a prompt as text, got list: pass one prompt at a time": lambda: walks.truth([PAIR]),
        "expected steps to be a whole number of 0 or more, got -1: pass steps=2, for example": lambda: walks.truth(
            f"{PAIR} 1 steps from Ann", steps=-1
        ),
        "expected steps to be a whole number of 0 or more, got True: pass steps=2, for example": lambda: walks.sample(
            1, True
        ),
        "expected n to be a whole number of 0 or more, got -2: pass n=10, for example": lambda: walks.sample(-2, 1),
        "expected steps from 0 to 12, got 13: the model has no word for more": lambda: walks.sample(1, 13),
        "expected nodes to be a number or a range (least, most) within 1 and 26, got 27: pass nodes=2, for example": (
            lambda: walks.sample(1, 1, nodes=27)
        ),
        "expected successors to be a number or a range (least, most) within 1 and 2, got (1, 3): "
        "pass successors=2, for example": lambda: walks.sample(1, 1, nodes=3, self_loops=False, successors=(1, 3)),
    }
    for message, call in refused.items():
        with pytest.raises(TokenError) as caught:
            call()
        assert str(caught.value) == message


def test_the_task_needs_no_torch():
    code = "import sys; from latentlens.models import walks; walks.sample(1, 2); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
