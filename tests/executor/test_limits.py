"""What keeps steps from running at once: the number of threads, tags, pools, slot groups."""

import json
import threading
import time

import pytest
from dagster import In, Nothing, Out, job, op
from dagster._core.execution.plan import instance_concurrency_context
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.executor import SLOTS_TAG, Slot, slots_tag, threaded_executor
from kestra_dagster.executor.slots import SlotGroups, parse_slots

lock = threading.Lock()
active: dict[str, int] = {}
peak: dict[str, int] = {}


@pytest.fixture(autouse=True)
def forget():
    active.clear()
    peak.clear()


def busy(name, seconds=0.15):
    with lock:
        active[name] = active.get(name, 0) + 1
        peak[name] = max(peak.get(name, 0), active[name])
    time.sleep(seconds)
    with lock:
        active[name] -= 1


@op(tags={"kind": "heavy"}, ins={"after": In(Nothing)})
def heavy():
    busy("all")
    return 1


@op(ins={"after": In(Nothing)})
def light():
    busy("light")


@job(executor_def=threaded_executor.configured({"max_concurrent": 3}))
def three_threads():
    for number in range(8):
        heavy.alias(f"heavy_{number}")()


@pytest.mark.dagster
def test_max_concurrent(run):
    assert run(three_threads).status.value == "SUCCESS"
    assert peak["all"] == 3


LIMITS = [{"key": "kind", "value": "heavy", "limit": 2}]


@job(executor_def=threaded_executor.configured({"tag_concurrency_limits": LIMITS}))
def tag_limited():
    for number in range(6):
        heavy.alias(f"heavy_{number}")()
        light.alias(f"light_{number}")()


@pytest.mark.dagster
def test_tag_concurrency_limits(run):
    assert run(tag_limited).status.value == "SUCCESS"
    assert peak["all"] == 2
    assert peak["light"] > 2


NONE_AT_ALL = [{"key": "kind", "value": "heavy", "limit": 0}]


@job(executor_def=threaded_executor.configured({"tag_concurrency_limits": NONE_AT_ALL}))
def tag_limit_of_zero():
    heavy()


@pytest.mark.dagster
def test_a_limit_that_lets_nothing_start_fails_the_run(run):
    outcome = run(tag_limit_of_zero, raise_on_error=False)
    assert outcome.status.value == "FAILURE"
    assert "tag_concurrency_limits" in str(outcome.events[-1].event_specific_data)


@op(pool="database")
def in_pool():
    busy("pool")


@job(executor_def=threaded_executor)
def pooled():
    for number in range(6):
        in_pool.alias(f"in_pool_{number}")()


@pytest.mark.dagster
def test_a_freed_pool_slot_is_taken_at_once(run, monkeypatch):
    # Dagster has a step ask again after seconds; with days of it, only being woken helps
    for name in ("INITIAL_INTERVAL_VALUE", "MAX_CONCURRENCY_CLAIM_BLOCKED_INTERVAL"):
        monkeypatch.setattr(instance_concurrency_context, name, 200_000)
    storage = run.instance.event_log_storage
    storage.set_concurrency_slots("database", 2)
    outcome = run(pooled)
    assert outcome.status.value == "SUCCESS"
    assert peak["pool"] == 2
    assert not storage.get_concurrency_info("database").active_slot_count


@pytest.mark.dagster
def test_a_pool_slot_held_by_another_run_is_waited_for(run):
    storage = run.instance.event_log_storage
    storage.set_concurrency_slots("database", 1)
    storage.claim_concurrency_slot("database", "another-run", "its-step")

    def free_once_wanted() -> None:
        while not storage.get_concurrency_info("database").pending_steps:
            time.sleep(0.05)
        time.sleep(1)  # a wait that is over sooner is not told
        storage.free_concurrency_slots_for_run("another-run")

    other = threading.Thread(target=free_once_wanted, daemon=True)
    other.start()
    outcome = run(pooled)
    other.join()
    assert outcome.status.value == "SUCCESS"
    assert peak["pool"] == 1
    assert outcome.of_type("ENGINE_EVENT").count("in_pool_0") >= 1


# Slot groups


def member(number, outer="lanes", limit=2):
    return slots_tag([Slot(outer, f"lane {number}", limit)])


@op(ins={"after": In(Nothing)})
def first():
    busy("first", 0.05)


@op(ins={"after": In(Nothing)})
def last():
    busy("last", 0.05)


@job(executor_def=threaded_executor)
def lanes():
    for number in range(6):
        tag = member(number)
        head = first.alias(f"first_{number}").tag(tag)()
        last.alias(f"last_{number}").tag(tag)(head)


def in_progress(outcome, members):
    """The most members at once that had started and were not through, by the event log."""
    left = {name: len(keys) for name, keys in members.items()}
    of = {key: name for name, keys in members.items() for key in keys}
    started, most = set(), 0
    for event in outcome.events:
        if event.step_key not in of:
            continue
        name = of[event.step_key]
        if event.event_type_value == "STEP_START":
            started.add(name)
            most = max(most, len(started))
        elif event.event_type_value in ("STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED"):
            left[name] -= 1
            if not left[name]:
                started.discard(name)
    return most


@pytest.mark.dagster
def test_a_member_holds_its_slot_until_its_last_step(run):
    outcome = run(lanes)
    assert outcome.status.value == "SUCCESS"
    members = {number: [f"first_{number}", f"last_{number}"] for number in range(6)}
    assert in_progress(outcome, members) == 2


@op(out={"on": Out(is_required=False)}, ins={"after": In(Nothing)})
def stops_here():
    yield from ()


@op(ins={"after": In(Nothing)})
def breaks():
    raise ValueError("broken")


@job(executor_def=threaded_executor)
def lanes_that_end_early():
    for number in range(4):
        last.alias(f"skipped_{number}").tag(member(number, limit=1))(
            stops_here.alias(f"stops_{number}").tag(member(number, limit=1))()
        )
    for number in range(4, 8):
        last.alias(f"abandoned_{number}").tag(member(number, limit=1))(
            breaks.alias(f"breaks_{number}").tag(member(number, limit=1))()
        )


@pytest.mark.dagster
def test_skipped_and_abandoned_steps_free_the_slot(run):
    outcome = run(lanes_that_end_early, raise_on_error=False)
    states = outcome.states()
    assert sum(state == "STEP_SKIPPED" for state in states.values()) == 4
    assert sum(state == "STEP_FAILURE" for state in states.values()) == 4


@job(executor_def=threaded_executor.configured({"max_concurrent": 3}))
def nested_lanes():
    for outer in range(3):
        for inner in range(3):
            tag = slots_tag([Slot("outer", f"o{outer}", 2), Slot(f"inner {outer}", f"i{inner}", 1)])
            head = first.alias(f"first_{outer}_{inner}").tag(tag)()
            last.alias(f"last_{outer}_{inner}").tag(tag)(head)


@pytest.mark.dagster
def test_nested_groups(run):
    outcome = run(nested_lanes)
    assert outcome.status.value == "SUCCESS"
    outer = {
        o: [f"{name}_{o}_{i}" for name in ("first", "last") for i in range(3)] for o in range(3)
    }
    assert in_progress(outcome, outer) == 2
    for o in range(3):
        inner = {i: [f"first_{o}_{i}", f"last_{o}_{i}"] for i in range(3)}
        assert in_progress(outcome, inner) == 1


@job(executor_def=threaded_executor)
def lanes_that_wait_for_each_other():
    one = slots_tag([Slot("lanes", "one", 1)])
    two = slots_tag([Slot("lanes", "two", 1)])
    head = first.tag(one)()
    other = light.tag(two)(head)
    last.tag(one)(other)


@pytest.mark.dagster
def test_members_that_wait_for_each_other_do_not_hang(run):
    outcome = run(lanes_that_wait_for_each_other)
    assert outcome.status.value == "SUCCESS"
    assert any("beyond the limits" in message for message in outcome.messages())


@job(executor_def=threaded_executor)
def malformed_slots():
    first.tag({SLOTS_TAG: '[["group", "member"]]'})()


@pytest.mark.dagster
def test_a_malformed_tag_fails_the_run_with_its_name(run):
    outcome = run(malformed_slots, raise_on_error=False)
    assert outcome.status.value == "FAILURE"
    assert SLOTS_TAG in str(outcome.events[-1].event_specific_data)


def test_slots_come_back_from_their_tag():
    slots = [Slot("a", "b", 3), Slot("c", "d", 1)]
    assert parse_slots(slots_tag(slots)) == tuple(slots)
    assert parse_slots(None) == parse_slots({}) == ()


@pytest.mark.parametrize("text", ["no json", "{}x", '[["g", "m", 0]]', '[["g", "m", "x"]]', "[1]"])
def test_malformed_slots_name_the_tag(text):
    with pytest.raises(ValueError, match=SLOTS_TAG):
        parse_slots({SLOTS_TAG: text})


@given(
    members=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    limit=st.integers(1, 3),
    order=st.randoms(use_true_random=False),
)
def test_groups_never_exceed_their_limit_and_always_finish(members, limit, order):
    groups = SlotGroups()
    todo = {
        f"{number}.{step}": (Slot("g", str(number), limit),)
        for number, steps in enumerate(members)
        for step in range(steps)
    }
    for key, slots in todo.items():
        groups.add(key, slots)
    left = {str(number): steps for number, steps in enumerate(members)}
    running: set[str] = set()
    waiting = list(todo)
    open_members: set[str] = set()
    while waiting or running:
        ready = [key for key in waiting if groups.has_room(key)]
        assert ready or running, "deadlock"
        if ready and (not running or order.random() < 0.6):
            key = order.choice(ready)
            groups.start(key)
            waiting.remove(key)
            running.add(key)
            open_members.add(key.split(".")[0])
        else:
            key = order.choice(sorted(running))
            running.remove(key)
            groups.decided(key)
            number = key.split(".")[0]
            left[number] -= 1
            if not left[number]:
                open_members.discard(number)
        assert len(open_members) <= limit


def test_tag_is_plain_json():
    assert json.loads(slots_tag([Slot("a", "b", 1)])[SLOTS_TAG]) == [["a", "b", 1]]
