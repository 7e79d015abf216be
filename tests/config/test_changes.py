"""What differs between two configurations, as an operator reads it after a reload."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.config.changes import ChangeKind, differences
from lbproxy.config.read import parse_config
from lbproxy.config.schema import Config

FILE: dict[str, Any] = {
    "listeners": [
        {"name": "http", "bind": "127.0.0.1:8080"},
        {"name": "other", "bind": "127.0.0.1:8081"},
    ],
    "pools": {
        "idp": {
            "profile": "keycloak",
            "nodes": [
                {"name": "kc1", "url": "http://192.0.2.1:8080"},
                {"name": "kc2", "url": "http://192.0.2.2:8080"},
            ],
        },
        "ops": {"nodes": [{"name": "o1", "url": "http://192.0.2.3:8080"}]},
    },
    "routes": [{"host": "idp.example.com", "pool": "idp"}, {"path": "/ops", "pool": "ops"}],
}


def config(data: dict[str, Any]) -> Config:
    result = parse_config(yaml.safe_dump(data), "x.yaml", None)  # type: ignore[arg-type]
    assert result.config is not None, result.problems
    return result.config


def said(change: Callable[[dict[str, Any]], object]) -> list[str]:
    """What is told if the file is changed so."""
    after = copy.deepcopy(FILE)
    change(after)
    return [str(each) for each in differences(config(FILE), config(after))]


def add_node(data: dict[str, Any]) -> None:
    data["pools"]["idp"]["nodes"].append({"name": "kc3", "url": "http://192.0.2.4:8080"})


def move_node(data: dict[str, Any]) -> None:
    data["pools"]["idp"]["nodes"].reverse()


def change_weight(data: dict[str, Any]) -> None:
    data["pools"]["idp"]["nodes"][0]["weight"] = 3


def remove_pool(data: dict[str, Any]) -> None:
    del data["pools"]["ops"]
    del data["routes"][1]


def swap_routes(data: dict[str, Any]) -> None:
    data["routes"].reverse()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data, []),
        (add_node, ["pool idp: node kc3 added"]),
        (move_node, []),
        (change_weight, ["pool idp: node kc1: weight 1 -> 3"]),
        (remove_pool, ["pool ops removed", "route */ops removed"]),
        (lambda data: data.update(limits={"body": "32MiB"}), ["limits.body 16MiB -> 32MiB"]),
        (lambda data: data.update(limits={"body": False}), ["limits.body 16MiB -> off"]),
        (
            lambda data: data["listeners"][0].update(bind="[::]:80"),
            ["listener http: bind 127.0.0.1:8080 -> [::]:80"],
        ),
        (lambda data: data["pools"]["idp"].update(sticky=False), ["pool idp: sticky on -> off"]),
        (
            lambda data: data["pools"]["idp"].update(timeouts={"response": "5s"}),
            ["pool idp: timeouts.response null -> 5s"],
        ),
        (lambda data: data["routes"][1].update(pool="idp"), ["route */ops: pool ops -> idp"]),
        (
            swap_routes,
            ["routes.order idp.example.com/, */ops -> */ops, idp.example.com/"],
        ),
        (
            lambda data: data["pools"]["idp"].update(hide=["/a"]),
            ["pool idp: hide [/admin, /health, /metrics] -> [/a]"],
        ),
    ],
)  # fmt: skip
def test_a_difference_is_told_in_the_words_of_the_file(
    change: Callable[[dict[str, Any]], object], words: list[str]
) -> None:
    assert said(change) == words


def test_routes_of_the_same_host_and_path_are_told_apart() -> None:
    def twin(data: dict[str, Any]) -> None:
        data["routes"].append({"path": "/ops", "pool": "idp"})

    assert said(twin) == ["route */ops (2) added"]


def test_a_change_says_what_it_was_and_is() -> None:
    after = copy.deepcopy(FILE)
    after["timeouts"] = {"drain": "1m"}
    (change,) = differences(config(FILE), config(after))
    assert (change.place, change.kind) == (("timeouts", "drain"), ChangeKind.CHANGED)
    assert (change.before, change.after) == ("30s", "1m")


NAMES = st.sampled_from(["kc1", "kc2", "kc3", "kc4"])


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    data = copy.deepcopy(FILE)
    names = draw(st.lists(NAMES, min_size=1, unique=True))
    data["pools"]["idp"]["nodes"] = [
        {
            "name": name,
            "url": f"http://192.0.2.{index + 1}:8080",
            "weight": draw(st.integers(1, 3)),
        }
        for index, name in enumerate(sorted(names))
    ]
    data["limits"] = {"connections": draw(st.integers(10, 12))}
    return data


@given(files(), files())
def test_what_is_told_forwards_is_told_backwards(one: dict[str, Any], two: dict[str, Any]) -> None:
    before, after = config(one), config(two)
    there, back = differences(before, after), differences(after, before)
    assert (there == ()) == (before == after)
    opposite = {
        ChangeKind.ADDED: ChangeKind.REMOVED,
        ChangeKind.REMOVED: ChangeKind.ADDED,
        ChangeKind.CHANGED: ChangeKind.CHANGED,
    }
    assert {(each.place, each.kind) for each in there} == {
        (each.place, opposite[each.kind]) for each in back
    }
