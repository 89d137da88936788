"""Dividing a host among its ranks."""

import pytest

from mpiexec_runner.errors import PeerError
from mpiexec_runner.execute.devices import Devices
from mpiexec_runner.execute.share import View, Wish, chunk, decode_view, divide, encode_view, own_view

EIGHT = tuple(range(8))


def views(*seen: View) -> dict[int, View]:
    return dict(enumerate(seen, 1))


def cores(views: dict[int, View]) -> list[tuple[int, ...]]:
    return [divide(views, rank).cores for rank in views]


@pytest.mark.parametrize(
    ("places", "parts"),
    [
        (1, [[0, 1, 2, 3, 4, 5, 6, 7]]),
        (3, [[0, 1, 2], [3, 4, 5], [6, 7]]),
        (8, [[0], [1], [2], [3], [4], [5], [6], [7]]),
        (10, [[0], [1], [2], [3], [4], [5], [6], [7], [], []]),
    ],
)
def test_contiguous_chunks(places: int, parts: list[list[int]]) -> None:
    assert [list(chunk(EIGHT, place, places)) for place in range(places)] == parts


def test_ranks_that_see_the_same_cores_divide_them() -> None:
    assert cores(views(*[View(EIGHT)] * 3)) == [(0, 1, 2), (3, 4, 5), (6, 7)]
    assert divide(views(View(EIGHT)), 1).pinned


def test_ranks_with_cores_of_their_own_keep_them() -> None:
    assert cores(views(View((0, 1)), View((2, 3, 4)))) == [(0, 1), (2, 3, 4)]


def test_more_ranks_than_cores_share_them_and_nobody_is_held_to_one() -> None:
    shared = views(*[View((4, 5))] * 5)
    assert cores(shared) == [(4,), (5,), (4,), (5,), (4,)]
    assert not any(divide(shared, rank).pinned for rank in shared)


def test_under_a_quota_cores_count_and_are_nobodys() -> None:
    limited = views(*[View(EIGHT, quota=3.5)] * 2)
    assert [len(divide(limited, rank).cores) for rank in limited] == [2, 2]
    assert not divide(limited, 1).pinned
    assert len(divide(views(View(EIGHT, quota=0.5)), 1).cores) == 1
    assert divide(views(View(EIGHT, quota=64)), 1).cores == EIGHT


def test_memory_is_divided_among_all() -> None:
    some = views(View((0,), memory_bytes=900), View((1,), memory_bytes=900))
    assert divide(some, 2).memory_bytes == 450


def test_a_device_is_never_shared() -> None:
    found = Devices(("GPU-a", "GPU-b"))
    three = views(*[View(EIGHT, devices=found)] * 3)
    assert [divide(three, rank).devices.names for rank in three] == [("GPU-a",), ("GPU-b",), ()]
    assert ["gpu" in divide(three, rank).tags for rank in three] == [True, True, False]
    own = views(View(EIGHT, devices=Devices(("0",))), View(EIGHT, devices=Devices(("1",))))
    assert [divide(own, rank).devices.names for rank in own] == [("0",), ("1",)]


def test_what_the_user_says_goes_before() -> None:
    pair = views(*[View(EIGHT, memory_bytes=100, devices=Devices(("5", "6"), "ROCR_VISIBLE_DEVICES"))] * 2)
    share = divide(pair, 2, Wish(cores=2, memory_bytes=7, gpus=1, tags=("mine",)))
    assert (share.cores, share.pinned, share.memory_bytes) == ((4, 5), True, 7)
    assert share.devices == Devices(("6",), "ROCR_VISIBLE_DEVICES")
    assert {"cpu", "gpu", "mine"} <= set(share.tags)
    more = divide(pair, 2, Wish(cores=6, gpus=2))
    assert (len(more.cores), more.pinned) == (6, False)
    assert more.devices.names == ("2", "3")  # more than were found: by number
    assert divide(pair, 1, Wish(gpus=0)).devices.names == ()


def test_a_view_travels() -> None:
    view = own_view()
    assert view.cores
    assert decode_view(encode_view(view)) == view
    with pytest.raises(PeerError, match="malformed"):
        decode_view(b"\xc1")
