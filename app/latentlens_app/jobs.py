"""Work that takes longer than a page may wait: one thread, a queue, progress, and a way to stop.

In: a function that takes a progress callable. Out: a `Job` to ask about. States: queued, running, done, failed,
cancelled. A thread, not a process, because a loaded model is shared; cancelling is cooperative: the progress
callable raises in the worker. Knows nothing about models or pages.
"""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from latentlens import LatentLensError

State = Literal["queued", "running", "done", "failed", "cancelled"]
Report = Callable[[float, str], None]
Work = Callable[[Report], Any]
KEPT = 64
"""How many jobs are remembered; the oldest finished ones are forgotten first."""


class Cancelled(Exception):
    """Raised inside the work when its job was cancelled."""


@dataclass
class Job:
    """One piece of work and how far it is; read by pages, written by the worker."""

    work: Work
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: State = "queued"
    share: float = 0.0
    what: str = ""
    result: Any = None
    message: str = ""
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _unheard: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")

    def first_heard(self) -> bool:
        """True the first time that it is asked: a page may hear of one end several times, and act on it once."""
        return self._unheard.acquire(blocking=False)

    def report(self, share: float, what: str) -> None:
        """The progress callable that the work is given."""
        if self.stop.is_set():
            raise Cancelled
        self.share, self.what = share, what

    def run(self) -> None:
        """Do the work; whatever goes wrong becomes a state and a message, never a dead worker."""
        if self.stop.is_set():
            self.state = "cancelled"
            return
        self.state = "running"
        try:
            self.result = self.work(self.report)
            self.share, self.state = 1.0, "done"
        except Cancelled:
            self.state = "cancelled"
        except LatentLensError as error:
            self.message, self.state = str(error), "failed"
        except Exception as error:
            logging.getLogger(__name__).exception("a run failed")
            self.message = f"the run failed with {type(error).__name__}: {error}; the terminal has the details"
            self.state = "failed"


class Jobs:
    """A queue of jobs and the one thread that works through it, started with the first job.

    >>> jobs = Jobs()
    >>> job = jobs.submit(lambda report: 6 * 7)
    >>> jobs.wait(job.id, seconds=5).result
    42
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, Job] = OrderedDict()
        self._queue: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ended = threading.Condition()
        self._worker: threading.Thread | None = None

    def submit(self, work: Work) -> Job:
        """Queue some work; its job can be asked about at once."""
        job = Job(work)
        with self._lock:
            self._known[job.id] = job
            self._forget()
            if self._worker is None:
                self._worker = threading.Thread(target=self._serve, name="latentlens-jobs", daemon=True)
                self._worker.start()
        self._queue.put(job)
        return job

    def get(self, job_id: str) -> Job | None:
        """The job of that id, or None where it is not known (any more)."""
        with self._lock:
            return self._known.get(job_id)

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop; one that still waits is cancelled at once, one that runs at its next report."""
        job = self.get(job_id)
        if job is None:
            return
        job.stop.set()
        if job.state == "queued":
            job.state = "cancelled"

    def wait(self, job_id: str, seconds: float) -> Job:
        """Wait until a job has ended, at most so long, and return it."""
        job = self._known[job_id]
        with self._ended:
            self._ended.wait_for(lambda: job.finished, seconds)
        return job

    def _serve(self) -> None:
        while True:
            job = self._queue.get()
            job.run()
            with self._ended:
                self._ended.notify_all()
            del job

    def _forget(self) -> None:
        for job in [job for job in self._known.values() if job.finished][: max(len(self._known) - KEPT, 0)]:
            del self._known[job.id]
