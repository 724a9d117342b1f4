"""The clock of a state directory, under a machine's clock that is set."""

from __future__ import annotations

from pathlib import Path

import pytest

from plasm_core.daemon.store.persistent_clock import MAX_OFF_S, SteadyClock

DAY_S = 86_400.0


class Machine:
    """A machine's clocks and its boot."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "clock.json"
        self.wall_s = 1.8e9
        self.boot_s = 100.0
        self.name = "first"

    def clock(self) -> SteadyClock:
        return SteadyClock(self.path, boot=lambda: self.boot_s, wall=lambda: self.wall_s, boot_name=self.name)

    def passes(self, seconds: float) -> None:
        self.wall_s += seconds
        self.boot_s += seconds

    def reboots(self, off_s: float) -> None:
        self.wall_s += off_s
        self.boot_s = 5.0
        self.name += "'"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("step_s", [3 * DAY_S, -10 * DAY_S, -1.8e9 + 1, 50 * 365 * DAY_S])
def test_a_step_changes_nothing(machine: Machine, step_s: float) -> None:
    clock = machine.clock()
    before = clock.now()
    machine.wall_s += step_s
    machine.passes(10)

    assert (clock.now() - before).total_seconds() == pytest.approx(10)
    assert clock.shown(clock.now()).timestamp() == pytest.approx(machine.wall_s)


@pytest.mark.parametrize("step_s", [3 * DAY_S, -10 * DAY_S])
def test_a_step_while_the_daemon_is_down_changes_nothing(machine: Machine, step_s: float) -> None:
    clock = machine.clock()
    before = clock.now()
    machine.passes(10)
    clock.keep()
    machine.wall_s += step_s
    machine.passes(1000)

    assert (machine.clock().now() - before).total_seconds() == pytest.approx(1010)


@pytest.mark.parametrize(
    ("off_s", "counted_s"), [(600.0, 600.0), (-5 * DAY_S, 0.0), (-1.7e9, 0.0), (400 * DAY_S, MAX_OFF_S)]
)
def test_between_boots_the_clock_advances_by_a_bounded_amount(
    machine: Machine, off_s: float, counted_s: float
) -> None:
    clock = machine.clock()
    clock.keep()
    before = clock.now()
    machine.reboots(off_s)

    assert (machine.clock().now() - before).total_seconds() == pytest.approx(counted_s)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"boot":"first","boot_s":-1,"wall_s":1,"steady_s":1e300}', b"\xff"]
)
def test_nonsense_in_its_file_is_no_time(machine: Machine, content: bytes) -> None:
    machine.path.write_bytes(content)

    assert machine.clock().now().timestamp() == pytest.approx(machine.wall_s)


def test_a_disk_that_does_not_take_it_is_no_error(machine: Machine) -> None:
    clock = machine.clock()
    machine.path.mkdir()

    clock.keep()

    assert clock.now().timestamp() == pytest.approx(machine.wall_s)
