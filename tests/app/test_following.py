"""What a reader types is what is followed; what is shown can be typed."""

from __future__ import annotations

import families
import pytest
from latentlens_app.following import entry_of, track_of

import latentlens as ll

WALKS = ll.load("walks")


@pytest.mark.parametrize(
    ("entries", "track"),
    [
        ([], None),
        (["Bob"], ["Bob"]),
        (["Bob", "<7>", "next"], ["Bob", 7, "next"]),
        (['" Paris"', '"a, b"'], [" Paris", "a, b"]),
        (["="], ["="]),
        (["Paris = Paris, paris"], {"Paris": ["Paris", "paris"]}),
        (['Paris=" Paris",Paris', "Ann"], {"Paris": [" Paris", "Paris"], "Ann": ["Ann"]}),
        (["Bob, Gus"], {"Bob, Gus": ["Bob", "Gus"]}),
        (["one = <1>", "next"], {"one": [1], "next": "next"}),
    ],
)
def test_entries_become_what_decode_follows(entries: list[str], track: object):
    assert track_of(entries, WALKS) == track


def test_without_a_tokenizer_a_number_is_an_id():
    assert track_of(["12", "<7>"], ll.wrap(families.make("llama"))) == [12, 7]


@pytest.mark.parametrize("entry", ["", "  ", "a = ,", ", b", "name = "])
def test_an_entry_that_names_no_token_is_refused_in_one_line(entry: str):
    with pytest.raises(ll.LatentLensError) as caught:
        ll.decode(ll.capture(WALKS, "Ann", iterations=1, progress=False), track=track_of([entry], WALKS))
    assert "\n" not in str(caught.value)


def test_the_next_token_can_stand_beside_groups():
    traj = ll.capture(WALKS, "2 steps from Ann", iterations=2, progress=False)
    out = ll.decode(traj, track=track_of(["boys = Bob, Gus", "next"], WALKS), progress=False)
    alone = ll.decode(traj, track="next", progress=False)
    assert out.candidate_label[0, 0].values.tolist() == ["boys", "next"]
    assert out.prob.sel(candidate=1).equals(alone.prob.sel(candidate=0))


def test_two_candidates_of_one_name_are_refused():
    with pytest.raises(ll.errors.ReadoutError, match="different names, got 'a' twice"):
        track_of(["a = Bob", "a = Gus"], WALKS)


def test_every_token_can_be_typed_as_it_is_shown():
    for token in range(WALKS.vocab_size):
        read = track_of([entry_of(token, WALKS)], WALKS)
        assert read is not None
        (member,) = read
        assert member == token or WALKS.tokenizer.token_id(member) == token
