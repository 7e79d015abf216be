"""How busy the CPU is: readings of the kernel, control groups with and without limits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.agent.cpu import (
    CpuLoad,
    GroupMeter,
    LoadError,
    MachineMeter,
    Reading,
    find_meter,
    limit_of,
    load_of,
    machine_reading,
    own_group,
    used_s,
)

STAT = "cpu  1000 50 450 8000 400 20 80 0 300 0\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n"


def test_the_machine() -> None:
    """Idle and iowait are idle; what guests use is part of user and not counted twice."""
    assert machine_reading(STAT) == Reading(busy_s=16.0, whole_s=100.0)


@pytest.mark.parametrize("text", ["", "cpu", "cpu a b c d e", "cpu 1 2 3"])
def test_a_stat_that_is_another(text: str) -> None:
    with pytest.raises(LoadError):
        machine_reading(text)


def test_a_group() -> None:
    assert used_s("usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n") == 2.5
    for text in ("", "usage_usec x\n", "usage_usec\n"):
        with pytest.raises(LoadError):
            used_s(text)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("max 100000\n", None), ("50000 100000\n", 0.5), ("400000 100000\n", 4.0)],
)
def test_limits(text: str, cpus: float | None) -> None:
    assert limit_of(text) == cpus


@pytest.mark.parametrize("text", ["", "1", "x 1", "1 0", "1 x"])
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(LoadError):
        limit_of(text)


def test_the_own_group() -> None:
    assert own_group("0::/system.slice/a.service\n") == "/system.slice/a.service"
    assert own_group("12:cpu:/a\n0::/b\n") == "/b"
    assert own_group("12:cpu:/a\n") is None


class Machine:
    """A file system with a /proc and control groups."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/stat", STAT)
        self.own("/")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def own(self, group: str) -> None:
        self.write("proc/self/cgroup", f"0::{group}\n")

    def group(self, name: str, limit: str | None, usec: int = 0) -> None:
        self.write(f"sys/fs/cgroup{name}/cpu.stat", f"usage_usec {usec}\n")
        if limit is not None:
            self.write(f"sys/fs/cgroup{name}/cpu.max", f"{limit}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_a_limit_it_is_the_machine(machine: Machine) -> None:
    machine.own("/system.slice/agent.service")
    machine.group("/", None)
    machine.group("/system.slice", "max 100000")
    machine.group("/system.slice/agent.service", "max 100000")
    assert isinstance(find_meter(None, machine.root, 4), MachineMeter)


def test_without_control_groups_it_is_the_machine(machine: Machine) -> None:
    (machine.root / "proc/self/cgroup").unlink()
    assert isinstance(find_meter(None, machine.root, 4), MachineMeter)


def test_a_container_sees_its_limit_at_the_root_of_its_namespace(machine: Machine) -> None:
    machine.group("/", "150000 100000")
    meter = find_meter(None, machine.root, 4)
    assert isinstance(meter, GroupMeter)
    assert meter.what == "1.5 CPUs of control group /"


def test_the_tightest_limit_around_counts(machine: Machine) -> None:
    machine.own("/pod/container")
    machine.group("/pod", "100000 100000")
    machine.group("/pod/container", "200000 100000")
    assert find_meter(None, machine.root, 4).what == "1 CPU of control group /pod"


def test_a_named_group_without_a_limit_has_the_machine(machine: Machine) -> None:
    machine.group("/a.service", "max 100000")
    assert find_meter("/a.service", machine.root, 8).what == "8 CPUs of control group /a.service"


def test_a_named_group_is_measured_against_the_limit_around_it(machine: Machine) -> None:
    machine.group("/a.slice", "200000 100000")
    machine.group("/a.slice/a.service", "max 100000", usec=1_000_000)
    meter = find_meter("/a.slice/a.service", machine.root, 8)
    assert meter.what == "2 CPUs of control group /a.slice/a.service"
    load = CpuLoad(lambda: meter, 0.0)
    assert load(10.0) == 50
    machine.group("/a.slice/a.service", "max 100000", usec=2_500_000)
    assert load(11.0) == 25  # 1.5 of 2 CPUs for a second


class Script:
    """A meter that says what a test wants."""

    what = "script"

    def __init__(self) -> None:
        self.busy_s = 0.0
        self.whole_s = 0.0
        self.fails = False

    def read(self, now: float) -> Reading:
        if self.fails:
            raise LoadError("gone")
        return Reading(self.busy_s, self.whole_s)

    def goes_on(self, busy: float) -> None:
        self.busy_s += busy
        self.whole_s += 1.0


def test_it_starts_at_half_and_comes_near() -> None:
    script = Script()
    load = CpuLoad(lambda: script, 15.0)
    assert load(0.0) == 50
    for now in range(1, 16):
        script.goes_on(0.0)
        last = load(float(now))
    assert last == round(100 * (1 - 0.5 * math.exp(-1)))
    for now in range(16, 200):
        script.goes_on(1.0)
        last = load(float(now))
    assert last == 1


def test_asking_again_at_once_changes_nothing() -> None:
    """Several proxies ask for one measure."""
    script = Script()
    load = CpuLoad(lambda: script, 0.0)
    load(0.0)
    script.goes_on(0.2)
    assert load(1.0) == 80
    script.goes_on(1.0)
    assert load(1.1) == 80


def test_counters_that_begin_anew_are_left_out() -> None:
    script = Script()
    load = CpuLoad(lambda: script, 0.0)
    script.busy_s, script.whole_s = 100.0, 100.0
    load(0.0)
    script.busy_s, script.whole_s = 0.0, 101.0
    assert load(1.0) == 50
    script.goes_on(0.1)
    assert load(2.0) == 90


def test_a_group_that_is_made_anew_is_found_anew() -> None:
    """As when the node's service is restarted."""
    meters = [Script(), Script()]
    found: list[Script] = []

    def find() -> Script:
        found.append(meters[len(found)])
        return found[-1]

    load = CpuLoad(find, 0.0)
    load(0.0)
    load(1.0)
    assert len(found) == 1
    meters[0].fails = True
    with pytest.raises(LoadError):
        load(2.0)
    load(3.0)
    assert len(found) == 2


@given(st.lists(st.floats(0, 2), max_size=30), st.floats(0, 100))
def test_the_load_is_always_one_to_a_hundred(steps: list[float], smoothing_s: float) -> None:
    script = Script()
    load = CpuLoad(lambda: script, smoothing_s)
    for now, busy in enumerate(steps):
        script.goes_on(busy)
        assert 1 <= load(float(now)) <= 100


@pytest.mark.parametrize(("busy", "load"), [(0.0, 100), (0.5, 50), (0.994, 1), (1.0, 1)])
def test_more_is_better(busy: float, load: int) -> None:
    assert load_of(busy) == load
