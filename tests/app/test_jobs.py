"""One thread works through a queue; every job ends in a state that a page can show."""

from __future__ import annotations

import gc
import threading
import weakref

from latentlens_app.jobs import KEPT, Jobs

import latentlens as ll


def forever(started: threading.Event):
    """Work that only ends when it is cancelled."""

    def work(report) -> None:
        while True:
            report(0.5, "capture")
            started.set()

    return work


def test_a_job_tells_how_far_it_is_and_what_it_does():
    jobs, seen, go = Jobs(), threading.Event(), threading.Event()

    def work(report) -> str:
        report(0.25, "decode")
        seen.set()
        go.wait(5)
        return "key"

    job = jobs.submit(work)
    assert seen.wait(5)
    assert (job.state, job.share, job.what, job.finished) == ("running", 0.25, "decode", False)
    go.set()
    jobs.wait(job.id, 5)
    assert (job.state, job.share, job.result, job.finished) == ("done", 1.0, "key", True)


def test_cancelling_ends_the_work_at_its_next_report_and_the_next_job_runs():
    jobs, started = Jobs(), threading.Event()
    first, second = jobs.submit(forever(started)), jobs.submit(lambda report: 2)
    assert started.wait(5)
    assert second.state == "queued"
    jobs.cancel(first.id)
    assert jobs.wait(first.id, 5).state == "cancelled"
    assert jobs.wait(second.id, 5).result == 2


def test_a_queued_job_that_is_cancelled_never_starts():
    jobs, started, ran = Jobs(), threading.Event(), []
    first = jobs.submit(forever(started))
    second = jobs.submit(lambda report: ran.append(2))
    jobs.cancel(second.id)
    assert second.state == "cancelled"
    jobs.cancel(first.id)
    jobs.wait(jobs.submit(lambda report: None).id, 5)
    assert ran == []


def test_what_latentlens_refuses_is_told_in_its_own_words():
    jobs = Jobs()

    def work(report) -> None:
        raise ll.errors.CaptureError("expected a, got b: pass a")

    job = jobs.wait(jobs.submit(work).id, 5)
    assert (job.state, job.message) == ("failed", "expected a, got b: pass a")


def test_work_that_breaks_fails_its_job_and_not_the_worker():
    jobs = Jobs()
    broken = jobs.wait(jobs.submit(lambda report: 1 / 0).id, 5)
    assert broken.state == "failed"
    assert "ZeroDivisionError: division by zero" in broken.message
    assert jobs.wait(jobs.submit(lambda report: 3).id, 5).result == 3


def test_only_the_latest_jobs_are_remembered():
    jobs = Jobs()
    first = jobs.submit(lambda report: None)
    for _ in range(2 * KEPT):
        last = jobs.submit(lambda report: None)
        jobs.wait(last.id, 5)
    assert jobs.get(first.id) is None
    assert jobs.get(last.id) is last
    assert len(jobs._known) <= KEPT


def test_a_job_that_is_not_known_cannot_be_cancelled_and_nothing_happens():
    jobs = Jobs()
    jobs.cancel("no such job")
    assert jobs.get("no such job") is None
    assert jobs.wait(jobs.submit(lambda report: 3).id, seconds=5).result == 3


def test_the_worker_does_not_hold_on_to_a_job_that_is_over():
    jobs = Jobs()

    def work(report) -> None:
        return None

    alive = weakref.ref(work)
    jobs.wait(jobs.submit(work).id, 5)
    for _ in range(KEPT + 1):
        jobs.wait(jobs.submit(lambda report: None).id, 5)
    del work
    gc.collect()
    assert alive() is None
