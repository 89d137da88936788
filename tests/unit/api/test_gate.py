"""How many tasks may be under way: waiting, refusing, making room."""

import threading

import pytest

from mpiexec_runner.api.gate import Gate
from mpiexec_runner.api.options import QueueFull
from mpiexec_runner.errors import UserError

WITHIN_S = 400


def fill(gate, *tasks):
    for task in tasks:
        gate.enter()
        gate.note(task)


def test_who_comes_when_it_is_full_is_refused():
    gate = Gate(2, "refuse")
    fill(gate, 1, 2)
    with pytest.raises(QueueFull, match="max_queue_size is 2"):
        gate.enter()
    gate.leave([1])
    fill(gate, 3)


def test_who_comes_when_it_is_full_waits():
    gate = Gate(1, "block")
    fill(gate, 1)
    entered = threading.Event()

    def come():
        gate.enter()
        entered.set()

    thread = threading.Thread(target=come)
    thread.start()
    assert not entered.is_set()
    gate.leave([1])
    thread.join(WITHIN_S)
    assert entered.is_set()


def test_room_that_no_task_came_to_use_is_given_back():
    gate = Gate(1, "refuse")
    gate.enter()
    gate.give_back()
    gate.enter()


def test_a_task_that_ends_twice_makes_room_once():
    gate = Gate(2, "refuse")
    fill(gate, 1, 2)
    gate.leave([1])
    gate.leave([1])
    gate.enter()
    with pytest.raises(QueueFull):
        gate.enter()


def test_a_batch_larger_than_the_gate_enters_alone():
    gate = Gate(2, "refuse")
    fill(gate, 1)
    with pytest.raises(QueueFull):
        gate.enter(5)
    gate.leave([1])
    gate.enter(5)
    with pytest.raises(QueueFull):
        gate.enter()


def test_the_thread_that_makes_room_never_waits_for_it():
    gate = Gate(1, "block")
    gate.leave([])
    gate.enter()
    with pytest.raises(UserError, match="submit elsewhere"):
        gate.enter()


def test_nothing_is_held_up_when_the_run_is_over():
    gate = Gate(1, "block")
    gate.enter()
    gate.close()
    gate.enter()
