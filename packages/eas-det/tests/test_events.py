"""Events in memory: what is refused, what is repaired, the conventions of polarity."""

from __future__ import annotations

import numpy as np
import pytest

from eas_det import EVENT_DTYPE, Events


def four(**changed: object) -> dict[str, object]:
    return {"t": [10, 20, 20, 30], "x": [0, 1, 2, 3], "y": [0, 0, 1, 1], "p": [0, 1, 0, 1]} | changed


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"t": [10, 30, 20, 40]}, "time decreases at event 2: 30 us, then 20 us"),
        ({"x": [0, 1, 4, 3]}, "x=4 at event 2 lies outside the sensor 4x2"),
        ({"x": [0, -1, 2, 3]}, "x=-1 at event 1"),
        ({"y": [0, 0, 1, 2]}, "y=2 at event 3"),
        ({"p": [0, 1, 2, 1]}, "p=2 at event 2"),
        ({"p": [-1, 1, 0, 1]}, "at event 2, 0; expected one convention"),
        ({"p": [0, 1]}, "one length"),
    ],
)
def test_what_is_wrong_is_named_with_its_event(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Events(**four(**changed), sensor_size=(4, 2))  # type: ignore[arg-type]


def test_times_that_are_not_whole_are_refused() -> None:
    with pytest.raises(TypeError, match="multiply seconds by 1e6"):
        Events(**four(t=[0.1, 0.2, 0.3, 0.4]))  # type: ignore[arg-type]


@pytest.mark.parametrize("p", [[0, 1, 0, 1], [-1, 1, -1, 1], [False, True, False, True]])
def test_polarity_conventions(p: list[int]) -> None:
    assert Events(**four(p=p)).p.tolist() == [0, 1, 0, 1]  # type: ignore[arg-type]


def test_repair() -> None:
    wrong = four(t=[10, 30, 20, 40])
    assert Events(**wrong, repair="sort").x.tolist() == [0, 2, 1, 3]  # type: ignore[arg-type]
    assert Events(**wrong, repair="cummax").t.tolist() == [10, 30, 30, 40]  # type: ignore[arg-type]


def test_trusted_events_can_be_looked_at_again() -> None:
    arrays = np.array([30, 10]), np.array([1, 0], "u2"), np.array([0, 0], "u2"), np.array([1, 0], "u1")
    events = Events.trusted(*arrays, (2, 1))
    with pytest.raises(ValueError, match="time decreases"):
        events.check()
    assert events.sort().t.tolist() == [10, 30]
    assert events.sort().check() == events.sort()


def test_records_by_name_in_any_order_and_back() -> None:
    records = np.zeros(2, [("polarity", "?"), ("y", "<i4"), ("timestamp", "<u8"), ("x", "<u2"), ("more", "f4")])
    records["timestamp"], records["x"] = [5, 6], [1, 2]
    events = Events.from_structured(records)
    assert events.to_structured().dtype == EVENT_DTYPE
    assert Events.from_structured(events.to_structured()) == events
    with pytest.raises(ValueError, match="no field 'p'"):
        Events.from_structured(records[["timestamp", "x", "y"]])


def test_duplicates_go_and_order_stays() -> None:
    events = Events([1, 1, 1, 2], [5, 3, 5, 5], [0, 0, 0, 0], [1, 1, 1, 1])
    assert events.dedup().x.tolist() == [5, 3, 5]
    assert len(Events.empty().dedup()) == 0


def test_crop_and_window() -> None:
    events = Events(**four(), sensor_size=(4, 2))  # type: ignore[arg-type]
    cut = events.crop(1, 0, 2, 2)
    assert (cut.x.tolist(), cut.sensor_size) == ([0, 1], (2, 2))
    assert events.window(20, 30).x.tolist() == [1, 2]
    assert len(events.window(30, 20)) == 0
    with pytest.raises(ValueError, match="sides >= 1"):
        events.crop(0, 0, 0, 1)
    with pytest.raises(ValueError, match="reverse time"):
        events[::-1]
