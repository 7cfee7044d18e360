"""The queue: no job is lost, none done twice."""

import threading
from pathlib import Path

import pytest

from camixersr.web.store import AlreadyThereError, Job, QueueFullError, Store


def job(number: int, **others: object) -> Job:
    return Job(
        id=f"{number:032x}", action="upscale", name="a.png", file="input.png", sha256="5", bytes=9,
        options={"scale": 2.0}, picture={}, created=float(number), **{"key": None, "owner": "", **others},
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "jobs.sqlite", max_queue=50)


def test_jobs_are_taken_in_order_and_by_one_alone(store: Store) -> None:
    for number in range(40):
        store.add(job(number))
    taken: list[str] = []

    def take() -> None:
        while (found := store.claim()) is not None:
            taken.append(found.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(taken) == [f"{number:032x}" for number in range(40)]
    assert store.counts()["running"] == 40


def test_a_job_ends_once(store: Store) -> None:
    store.add(job(1))
    assert not store.finish(job(1).id, "done")  # it waits
    store.claim()
    assert store.finish(job(1).id, "done", outcome={"notes": ["x"]})
    assert not store.finish(job(1).id, "failed", error="late")
    found = store.get(job(1).id)
    assert found is not None
    assert (found.state, found.outcome, found.error) == ("done", {"notes": ["x"]}, None)


def test_a_job_whose_process_ends_is_begun_once_more(store: Store) -> None:
    store.add(job(1))
    store.add(job(2))
    for expected in ("queued", "failed"):
        claimed = store.claim()
        assert claimed is not None
        assert claimed.id == job(1).id  # before the others
        store.died(claimed.id, "no memory")
        found = store.get(claimed.id)
        assert found is not None
        assert found.state == expected
    assert found.error == "no memory"


def test_what_ran_when_the_service_ended_waits_again_as_often_as_it_takes(tmp_path: Path) -> None:
    for _ in range(5):
        store = Store(tmp_path / "jobs.sqlite", max_queue=50)
        store.recover()
        if not store.ids():
            store.add(job(1))
            store.add(job(2))
        assert store.claim() is not None
        store.close()
    store = Store(tmp_path / "jobs.sqlite", max_queue=50)
    assert store.recover() == 1
    assert store.counts()["queued"] == 2


def test_a_job_that_is_being_cancelled_stays_cancelled_whatever_ends(store: Store) -> None:
    for number in (1, 2):
        store.add(job(number))
        store.claim()
        store.cancel(job(number).id)
    store.died(job(1).id, "killed")
    store.recover()
    assert store.counts()["cancelled"] == 2


def test_the_queue_has_an_end_and_keys_are_known(store: Store) -> None:
    store.add(job(0, key="k"))
    with pytest.raises(AlreadyThereError):
        store.add(job(99, key="k"))
    store.add(job(98, key="k", owner="another"))
    for number in range(1, 49):
        store.add(job(number))
    with pytest.raises(QueueFullError):
        store.add(job(100))


def test_only_what_is_over_is_removed(store: Store) -> None:
    store.add(job(1))
    assert not store.remove(job(1).id)
    store.cancel(job(1).id)
    assert [each.id for each in store.older(1e12)] == [job(1).id]
    assert store.older(5.0) == []
    assert store.remove(job(1).id)
    assert store.ids() == set()
