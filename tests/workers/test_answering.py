"""A code location that was away is waited for, and for a while after it is back."""

from kestra_dagster.workers.answering import LONGEST_SECONDS, SETTLED_SECONDS, Answering, problem_of

SERVER = ("code", 4000)


class Place:
    """A clock and a code location that do as they are told."""

    def __init__(self) -> None:
        self.now, self.away = 100.0, False
        self.answering = Answering(lambda *_: "away" if self.away else None, lambda: self.now)

    def is_back(self, later: float = 0.0) -> bool:
        self.now += later
        return self.answering.is_back(SERVER)


def test_one_that_answers_is_not_waited_for() -> None:
    assert Place().is_back()
    assert Answering(lambda *_: "never asked").is_back(None)


def test_one_that_was_away_is_used_when_it_has_been_back_for_a_while() -> None:
    place = Place()
    place.away = True
    assert not place.is_back()
    assert not place.is_back(30)
    place.away = False
    assert not place.is_back(1)
    assert place.is_back(SETTLED_SECONDS)
    assert place.is_back()


def test_one_that_stays_away_is_not_waited_for_for_ever() -> None:
    place = Place()
    place.away = True
    assert not place.is_back()
    assert place.is_back(LONGEST_SECONDS + 1)


def test_a_port_where_nobody_listens_has_a_problem() -> None:
    assert problem_of("127.0.0.1", 9)
