"""When a head is lost."""

from orchestration.workers.sign_of_life import SignOfLife


class Head:
    """A head that answers or not, and the clock."""

    def __init__(self) -> None:
        self.answers, self.now, self.takes = True, 0.0, 0.0

    def ask(self) -> bool:
        self.now += self.takes
        return self.answers


def seconds_until_lost(head: Head, life: SignOfLife, step: float) -> float:
    begun = head.now
    while not life.is_lost():
        head.now += step
        assert head.now < begun + 100
    return head.now - begun


def test_a_head_that_refuses_or_hangs_is_lost_within_ten_seconds():
    for takes in (0.0, 2.0):
        head = Head()
        life = SignOfLife(head.ask, lost_s=6, clock=lambda head=head: head.now)
        assert not life.is_lost()
        head.answers, head.takes = False, takes
        assert 5 <= seconds_until_lost(head, life, 1.0) <= 9


def test_an_answer_in_between_counts():
    head = Head()
    life = SignOfLife(head.ask, lost_s=6, clock=lambda: head.now)
    for number in range(100):
        head.answers = number % 5 == 0
        assert not life.is_lost()
        head.now += 1


def test_one_late_answer_is_no_loss():
    head = Head()
    life = SignOfLife(head.ask, lost_s=6, clock=lambda: head.now)
    assert not life.is_lost()
    head.now, head.answers = 3600.0, False  # the process was stopped for an hour
    assert not life.is_lost()
