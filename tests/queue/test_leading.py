"""One thread leads; the others wait until they may, or need not."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from auditkit.queue.group_commit import Leadership


def elsewhere(work: Callable[[], object]) -> None:
    """Do something in another thread, and raise here what it raised there."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def test_one_leads_at_a_time() -> None:
    """A thread that asks while another one leads waits for its end, up to the time allowed."""
    leadership = Leadership()
    assert leadership.take(lambda: False)
    with pytest.raises(TimeoutError):
        elsewhere(lambda: leadership.take(lambda: False, 0.001))
    leadership.leave()
    assert leadership.take(lambda: False, 0.001)


def test_a_follower_that_is_done_goes_on_while_others_lead() -> None:
    """A thread whose wish another one fulfils neither leads nor waits for the next leader."""
    leadership, fulfilled = Leadership(), threading.Event()
    assert leadership.take(lambda: False)
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(leadership.take(fulfilled.is_set, 10)))
    waiter.start()
    fulfilled.set()
    leadership.leave()
    waiter.join(10)
    assert answers == [False]
    assert leadership.take(lambda: False, 0.001)  # it was left free
    assert not leadership.take(lambda: True, 10)


def test_each_of_many_gets_its_turn() -> None:
    """Threads that all must lead do so one after the other, and none is forgotten."""
    leadership = Leadership()
    assert leadership.take(lambda: False)
    leading, answers = [], []

    def lead() -> None:
        answers.append(leadership.take(lambda: False, 10))
        leading.append(1)
        assert len(leading) == 1
        leading.pop()
        leadership.leave()

    threads = [threading.Thread(target=lead) for _ in range(20)]
    for thread in threads:
        thread.start()
    with pytest.raises(TimeoutError):  # a thread that gives up is not waited for
        elsewhere(lambda: leadership.take(lambda: False, 0.001))
    leadership.leave()
    for thread in threads:
        thread.join(10)
    assert answers == [True] * 20
    assert leadership.take(lambda: False, 0.001)
