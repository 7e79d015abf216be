"""What the log says of exchanges that are cut off when a worker ends."""

from __future__ import annotations

from lbproxy.proxy.cut_off import tell_cut
from lbproxy.proxy.record import Record
from tests.proxy.scripted import GET, NOW, Scene, node


def record(scene: Scene, started: float, path: str = "/a", named: bool = True) -> Record:
    exchange, _ = scene.talk(GET.replace(b"/a", path.encode(), 1))
    made = Record(exchange.asker, exchange.head, started, b"id")
    made.link = scene.link() if named else None
    return made


def test_what_is_cut_off_is_named_the_oldest_first(scene: Scene) -> None:
    scene.apply(node(), node("b"))
    cut = [record(scene, NOW - 3.0), record(scene, NOW - 60.0, "/b", named=False)]
    wanted = "2 exchanges cut off: GET /b at no node, 60 s; GET /a at a, 3 s"
    assert tell_cut(cut, NOW) == wanted
    assert tell_cut(cut[:1], NOW).startswith("1 exchange cut off: ")


def test_no_line_holds_them_all_or_a_secret(scene: Scene) -> None:
    scene.apply(node(), node("b"))
    cut = [record(scene, NOW, f"/{number};s=secret/" + 300 * "x") for number in range(7)]
    text = tell_cut(cut, NOW)
    assert text.startswith("7 exchanges cut off: ")
    assert text.endswith("; ...")
    assert (text.count("GET /"), "secret" in text, len(text) < 1300) == (5, False, True)
