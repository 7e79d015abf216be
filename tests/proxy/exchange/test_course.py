"""Whose turn it is in an exchange, and until when."""

from __future__ import annotations

import pytest

from lbproxy.proxy.transport.pipe import NO_NODE, SLOW_NODE
from tests.proxy.exchange.bringing import bring
from tests.proxy.scripted import (
    BODY_S,
    EXPECT,
    GET,
    NOW,
    POST,
    RESPONSE_S,
    TUNNEL_S,
    WAIT_S,
    WRITE_S,
    Scene,
    answer,
)

LATER = NOW + 3.0


@pytest.mark.parametrize(
    ("stage", "data", "seconds"),
    [
        ("begun", GET, float("inf")),
        ("room", GET, WAIT_S),
        ("parked", GET, RESPONSE_S),
        ("connecting", GET, float("inf")),
        ("pinging", GET, RESPONSE_S),
        ("asked", GET, RESPONSE_S),
        ("asked", POST, BODY_S),
        ("asked", EXPECT, RESPONSE_S),  # the client waits for the node
        ("answering", GET, RESPONSE_S),
        ("tunnel", GET, TUNNEL_S),
    ],
)
async def test_each_stage_has_its_time(
    scene: Scene, stage: str, data: bytes, seconds: float
) -> None:
    talk = await bring(scene, stage, data)
    assert talk.exchange.deadline == NOW + seconds
    talk.exchange.gone()


async def test_each_piece_of_a_body_has_its_whole_time(scene: Scene) -> None:
    talk = await bring(scene, "asked", POST)
    scene.desk.now = LATER
    talk.exchange.heard()
    talk.exchange.take(b"ab", False)
    assert talk.exchange.deadline == LATER + BODY_S
    talk.exchange.take(b"cd", True)
    assert talk.exchange.deadline == LATER + RESPONSE_S  # from here on it is the node's turn


@pytest.mark.parametrize("stage", ["room", "connecting", "pinging"])
async def test_what_is_heard_before_the_node_is_asked_moves_nothing(
    scene: Scene, stage: str
) -> None:
    talk = await bring(scene, stage, POST)
    before = talk.exchange.deadline
    scene.desk.now = LATER
    talk.exchange.heard()
    assert talk.exchange.deadline == before
    talk.exchange.gone()


async def test_a_node_that_takes_no_more_of_the_body_has_its_own_time(scene: Scene) -> None:
    talk = await bring(scene, "asked", POST)
    scene.desk.now = LATER
    talk.exchange.hold(SLOW_NODE)
    assert talk.client.said == [("hold", SLOW_NODE)]
    assert talk.exchange.deadline == LATER + RESPONSE_S
    talk.exchange.release(SLOW_NODE)
    assert talk.client.said[1:] == [("go_on", SLOW_NODE)]
    assert talk.exchange.deadline == LATER + BODY_S


async def test_a_reason_that_does_not_hold_is_not_released(scene: Scene) -> None:
    talk = await bring(scene, "asked", POST)
    talk.exchange.hold(SLOW_NODE)
    talk.client.said.clear()
    talk.exchange.release(NO_NODE)
    assert (talk.client.said, talk.exchange.held_for) == ([], SLOW_NODE)


async def test_a_node_that_took_what_came_has_its_time_again(scene: Scene) -> None:
    talk = await bring(scene, "asked", POST)
    scene.desk.now = LATER
    talk.exchange.took()
    assert talk.exchange.deadline == LATER + RESPONSE_S


@pytest.mark.parametrize(("data", "held"), [(GET, 0), (POST, NO_NODE)])
async def test_a_body_is_not_read_while_the_node_owes_a_sign_of_life(
    scene: Scene, data: bytes, held: int
) -> None:
    talk = await bring(scene, "pinging", data)
    assert talk.exchange.held_for == held


async def test_of_two_reasons_each_ends_by_itself(scene: Scene) -> None:
    talk = await bring(scene, "asked", POST)
    talk.exchange.hold(SLOW_NODE)
    talk.exchange.hold(NO_NODE)
    talk.exchange.release(SLOW_NODE)
    assert talk.exchange.held_for == NO_NODE
    assert talk.exchange.deadline == NOW + RESPONSE_S  # it is not the client's turn yet
    talk.exchange.release(NO_NODE)
    assert talk.exchange.held_for == 0


async def test_the_body_is_read_again_once_the_node_is_asked(scene: Scene) -> None:
    talk = await bring(scene, "connecting", POST)
    assert talk.exchange.held_for == NO_NODE
    talk.exchange.asked()
    assert talk.client.said == [("go_on", NO_NODE)]
    assert talk.exchange.held_for == 0
    talk.exchange.gone()


async def test_of_a_client_that_does_not_read_only_its_reading_is_awaited(scene: Scene) -> None:
    talk = await bring(scene, "answering")
    talk.client.write_paused = True
    talk.exchange.slow()
    assert talk.exchange.deadline == NOW + WRITE_S
    talk.client.write_paused = False
    talk.exchange.caught_up()
    assert talk.exchange.deadline == NOW + RESPONSE_S


async def test_a_body_held_back_is_asked_for_once(scene: Scene) -> None:
    talk = await bring(scene, "asked", EXPECT)
    assert talk.exchange.holds_back()
    talk.exchange.invite()
    talk.exchange.invite()
    assert talk.client.said == [("interim", 0)]
    assert not talk.exchange.holds_back()
    assert talk.exchange.deadline == NOW + BODY_S


@pytest.mark.parametrize("data", [GET, POST])
async def test_nobody_is_invited_who_holds_nothing_back(scene: Scene, data: bytes) -> None:
    talk = await bring(scene, "asked", data)
    talk.exchange.invite()
    assert talk.client.said == []


async def test_the_nodes_100_invites_as_well(scene: Scene) -> None:
    talk = await bring(scene, "asked", EXPECT)
    talk.exchange.pass_interim(answer(100))
    assert talk.client.said == [("interim", 100)]
    assert talk.exchange.deadline == NOW + BODY_S
    talk.exchange.invite()
    assert talk.client.said == [("interim", 100)]


async def test_a_body_that_has_begun_is_not_held_back(scene: Scene) -> None:
    talk = await bring(scene, "asked", EXPECT)
    talk.exchange.body_sent = True
    assert not talk.exchange.holds_back()


async def test_an_answer_ends_the_holding_back(scene: Scene) -> None:
    talk = await bring(scene, "answering", EXPECT)
    assert not talk.exchange.holds_back()
    assert talk.exchange.responded


async def test_only_an_answer_in_progress_has_begun(scene: Scene) -> None:
    talk = await bring(scene, "asked")
    assert not talk.exchange.responded
    talk.exchange.gone()
    assert not talk.exchange.responded


async def test_early_pieces_are_joined_and_given_once(scene: Scene) -> None:
    talk = await bring(scene, "begun", POST)
    talk.exchange.keep_early(b"ab")
    talk.exchange.keep_early(b"cd")
    assert (talk.exchange.take_early(), talk.exchange.take_early()) == (b"abcd", b"")


@pytest.mark.parametrize(("data", "whole"), [(GET, True), (POST, False)])
async def test_a_request_without_a_body_is_whole(scene: Scene, data: bytes, whole: bool) -> None:
    talk = await bring(scene, "begun", data)
    assert talk.exchange.whole is whole
