"""Names of the effects of a worker, independent of run, shard and part."""

import re

_RUN = re.compile(r"^(runs/|open/|)[0-9a-z]{26}(?=/|$)")
_POOL = re.compile(r"^(pools|cuts)/[a-z0-9-]+/[0-9a-f]{16}/[0-9a-z]+")
_HASH = re.compile(r"(?<=^done/)[0-9a-f]{16}/[0-9a-z]{26}|(?<=/reused-)[0-9a-f]{16}")
_NUMBER = re.compile(r"(?<=/)\d[\d-]*(?=[./]|$)")


def kind_of_object(name: str, *_: object) -> str:
    """`runs/01jd…/shards/0003/1/parsed/00000.json` → `runs/*/shards/*/*/parsed/*.json`."""
    return _NUMBER.sub("*", _RUN.sub(r"\1*", _POOL.sub(r"\1/*", _HASH.sub("*", name))))


def first_and_last(journal: list[str]) -> list[tuple[str, int]]:
    """Return every kind of effect in order, with the numbers of its first and last occurrence.

    Effects that depend on time, such as polls, vary in number. Only their first is returned.
    """
    times: dict[str, int] = {}
    for effect in journal:
        times[effect] = times.get(effect, 0) + 1
    first = [(effect, 1) for effect in times]
    last = [
        (effect, count)
        for effect, count in times.items()
        if count > 1 and not depends_on_time(effect)
    ]
    return first + last


def depends_on_time(effect: str) -> bool:
    """Return whether an effect is periodic, so that a run may lack it."""
    return effect.endswith((" note", " index", ".poll", ".pool", ".reconcile", "clock"))
