"""One thread leads; the others wait until they may, or need not."""

import threading

import pytest

from auditkit.queue.group_commit import Leadership


def test_one_leads_at_a_time() -> None:
    """Whoever asks while another leads waits for its end, up to the time allowed."""
    leadership = Leadership()
    assert leadership.take(lambda: False)
    with pytest.raises(TimeoutError):
        leadership.take(lambda: False, 0.001)
    leadership.release()
    assert leadership.take(lambda: False, 0.001)


def test_who_needs_it_no_longer_goes_on_while_others_lead() -> None:
    """A thread whose wish another one fulfils neither leads nor waits for the next leader."""
    leadership, fulfilled = Leadership(), threading.Event()
    assert leadership.take(lambda: False)
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(leadership.take(fulfilled.is_set, 10)))
    waiter.start()
    fulfilled.set()
    leadership.release()
    waiter.join(10)
    assert answers == [False]
    assert leadership.take(lambda: False, 0.001)  # it was left free
    assert not leadership.take(lambda: True, 10)


def test_each_of_many_gets_its_turn() -> None:
    """Threads that all must lead do so one after the other, and nobody is forgotten."""
    leadership = Leadership()
    assert leadership.take(lambda: False)
    leading, answers = [], []

    def lead() -> None:
        answers.append(leadership.take(lambda: False, 10))
        leading.append(1)
        assert len(leading) == 1
        leading.pop()
        leadership.release()

    threads = [threading.Thread(target=lead) for _ in range(20)]
    for thread in threads:
        thread.start()
    with pytest.raises(TimeoutError):  # whoever gives up is not waited for
        leadership.take(lambda: False, 0.001)
    leadership.release()
    for thread in threads:
        thread.join(10)
    assert answers == [True] * 20
    assert leadership.take(lambda: False, 0.001)
