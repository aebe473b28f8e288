"""Which failed answers another try may mend that asks otherwise: those that were cut off, or did not fit the schema."""

from typing import NamedTuple

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Result
from promptmill.workers.attempts import token_limit
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Settled
from promptmill.workers.output import schema_validation
from promptmill.workers.output.schema_validation import Judge
from promptmill.workers.ports.google import Bucket


class Chances(NamedTuple):
    """What the run allows: ``tokens`` for rows that were cut off with less, and to ``repair`` what the ``judge`` refuses.

    ``repaired`` is the bitmap of the rows of the shard that heard what was wrong already: once is enough.
    """

    tokens: int = 0
    judge: Judge | None = None
    repair: bool = False
    repaired: int = 0

    def judged(self, result: Result) -> Result:
        """Return a result, checked by the run's response schema if it has one."""
        return self.judge.judged(result) if self.judge else result

    def cut_off(self, result: Result, line: bytes) -> bool:
        """Whether more tokens may mend a result, by its line of output."""
        return token_limit.may_mend(result, line, self.tokens)

    def invalid(self, result: Result, place: int | None = None) -> bool:
        """Whether hearing what was wrong may mend a result; its ``place`` in the shard may not be known yet."""
        if not self.repair or result.error is None or result.error.reason != schema_validation.REASON:
            return False
        return place is None or not self.repaired >> place & 1


def load(bucket: Bucket, manifest: Manifest, index: int, attempt: int) -> Chances:
    """Return the chances of an attempt's rows."""
    repaired = 0
    if attempt > 1 and manifest.retry_schema_invalid:
        before = names.shard(manifest.run, index, attempt - 1) + "settled.json"
        repaired = records.unpack(records.get(bucket, before, Settled).repaired)
    return Chances(
        manifest.retry_max_tokens, schema_validation.judge(manifest), manifest.retry_schema_invalid, repaired
    )
