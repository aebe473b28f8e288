"""Records the end of jobs: writes the fact, and releases what Redis holds for an open job."""

import structlog

from promptmill.producers.contract.run_index import RunIndex
from promptmill.workers.coordination import progress
from promptmill.workers.coordination.open_jobs import OpenJob, OpenJobs
from promptmill.workers.facts.records import Ended
from promptmill.workers.facts.run_folder import AttemptFolder, RunFolder
from promptmill.workers.facts.step import Step
from promptmill.workers.ports.google import Bucket
from promptmill.workers.supervision.alarms import JobAlarms

_log = structlog.get_logger(__name__)


class JobEndings:
    """Records how jobs ended."""

    def __init__(
        self, bucket: Bucket, index: RunIndex, open_jobs: OpenJobs, alarms: JobAlarms
    ) -> None:
        self._bucket = bucket
        self._index = index
        self._open_jobs = open_jobs
        self._alarms = alarms

    def record_end(self, open_job: OpenJob, ended: Ended) -> list[Step]:
        """Record an end and close the job. Returns ``collect`` if the end is new."""
        is_new = self._find_attempt(open_job).ended.create(ended)
        job = ended.job
        progress.record_job_state(self._index, open_job, job)
        self._alarms.clear_alarm(open_job)
        self._open_jobs.free_slot(open_job.slot)
        self._open_jobs.remove_job(open_job.name)
        if not is_new:
            return []
        _log.info(
            "job_ended", run=open_job.run, shard=open_job.shard, job=open_job.name, state=job.state
        )
        return [Step("collect", open_job.run, (open_job.shard, open_job.attempt))]

    def abandon_job(self, open_job: OpenJob, ended: Ended) -> list[Step]:
        """Record an end that Vertex did not report. The sweep still checks the job."""
        self._bucket.create(self._find_attempt(open_job).abandoned_marker, b"")
        return self.record_end(open_job, ended)

    def _find_attempt(self, open_job: OpenJob) -> AttemptFolder:
        return RunFolder(self._bucket, open_job.run).attempt(open_job.shard, open_job.attempt)
