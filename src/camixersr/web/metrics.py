"""What a service counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]


class Metrics:
    """Counters of one service; two in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.jobs = Counter("camixersr_jobs", "Jobs that have ended.", ["state"], registry=self.registry)
        self.seconds = Histogram(
            "camixersr_job_seconds",
            "Seconds that a job was computed.",
            buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
            registry=self.registry,
        )
        self.waiting = Gauge("camixersr_queue", "Jobs by state.", ["state"], registry=self.registry)
        self.workers = Gauge("camixersr_workers", "Processes that can compute.", registry=self.registry)
        self.answers = Counter("camixersr_http", "Answers by status.", ["status"], registry=self.registry)
        self.uploaded = Counter("camixersr_uploaded_bytes", "Bytes of pictures.", registry=self.registry)
        self.average = 1.0
        """Seconds a job, of late."""

    def answered(self, status: int) -> None:
        """Count an answer."""
        self.answers.labels(str(status)).inc()

    def over(self, state: str, seconds: float) -> None:
        """Count a job."""
        self.jobs.labels(state).inc()
        self.seconds.observe(seconds)
        self.average += 0.1 * (seconds - self.average)

    def text(self, counts: dict[str, int], ready: int) -> bytes:
        """All of it.

        Args:
            counts: of jobs in each state.
            ready: processes that can compute.
        """
        for state, count in counts.items():
            self.waiting.labels(state).set(count)
        self.workers.set(ready)
        return generate_latest(self.registry)
