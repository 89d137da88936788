"""The jobs of a workflow turned into tasks that depend on one another.

Knows the section ``workflow`` and the records of ``model``; not who runs the tasks.

A job runs once, or once for each point of its own ``for_each`` and of those that it inherits: a job that
refers to a single value of a fanned-out job runs once for each of its instances. Refers it to several such
jobs, their instances go together where the parameters that they share have the same values: a natural join.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mpiexec_runner.config.graph import in_order
from mpiexec_runner.config.job import JobEntry
from mpiexec_runner.config.kinds import Treatment, Workload, canonical, encode, work_content
from mpiexec_runner.config.links import Links, jobs_of, lifted, links_of, parameters_of, stages_of
from mpiexec_runner.config.points import points
from mpiexec_runner.errors import ConfigError
from mpiexec_runner.execute.bindings import Reference, instance_name, replace_references
from mpiexec_runner.model.tasks import (
    CallByName,
    CommandLine,
    PlainArguments,
    TaskKind,
    TaskSpec,
    When,
    Work,
)

MOST_INSTANCES = 1_000_000
MOST_EDGES = 5_000_000
"""Dependencies of one workflow: each is kept by the hub, and on record."""
WHEN = {"success": When.SUCCESS, "any": When.ANY, "failure": When.FAILURE}

Point = dict[str, object]


class _Instance(NamedTuple):
    """A task of a job, as those that depend on it see it."""

    id: int
    name: str
    digest: bytes
    point: Point


class _Row(NamedTuple):
    """What one task of a job is to be: its parameters, and the instances that it refers to."""

    point: Point
    partners: dict[str, _Instance]


def expand_workflow(workflow: Mapping[str, Any], seed: int, first_id: int) -> Workload:
    """Return the tasks of a workflow, each after those that it depends on.

    Parameters
    ----------
    workflow
        The section, checked.
    seed
        What random parameters begin from.
    first_id
        Number of the first task; the others follow.

    Raises
    ------
    ConfigError
        When a job has no instance, or far too many, or SciPy is missing.
    """
    jobs = jobs_of(workflow)
    links = links_of(jobs, stages_of(workflow))
    names = parameters_of(jobs, links)
    expansion = _Expansion(links, names, seed, first_id)
    for name in in_order({job: link.after for job, link in links.items()})[0]:
        expansion.add(name, jobs[name])
    return Workload(tuple(expansion.kinds), expansion.tasks, expansion.duplicates)


class _Expansion:
    """The tasks made so far. Jobs are added in an order in which each follows those that it depends on."""

    def __init__(
        self, links: Mapping[str, Links], names: Mapping[str, tuple[str, ...]], seed: int, first_id: int
    ) -> None:
        self._links, self._names, self._seed, self._first_id = links, names, seed, first_id
        self._instances: dict[str, list[_Instance]] = {}
        self._edges = 0
        self.kinds: list[TaskKind] = []
        self.tasks: list[TaskSpec] = []
        self.duplicates = 0

    def add(self, name: str, job: JobEntry) -> None:
        """Make the tasks of one job."""
        rows = self._rows(name, job)
        self._count_edges(name, len(rows))
        command, auto = job.command, dict[str, str]()
        if command is not None:
            command, auto = lifted(command, {*job.with_, *self._names[name]})
        work: Work = CallByName(job.call) if job.call is not None else CommandLine(command)
        treatment = Treatment(job)
        kind = treatment.kind(len(self.kinds) + 1, work, name)
        self.kinds.append(kind)
        upstream = self._upstream(name, job)
        made = self._instances[name] = []
        for index, row in enumerate(rows):
            rename = _renaming(row.partners)
            # A function gets what is its own job's only: it need not know what it is run once for.
            given = row.point if job.call is None else {key: row.point[key] for key in job.for_each}
            fields: Point = {**given, **rename(job.with_), **rename(auto)}
            args: tuple[object, ...] = tuple(rename(job.args))
            after, uses, before = upstream(row)
            instance = _Instance(
                self._first_id + len(self.tasks),
                instance_name(name, index, fanned=bool(self._names[name])),
                treatment.digest(work_content(job.call, job.command), args, fields, before),
                row.point,
            )
            made.append(instance)
            self.tasks.append(
                TaskSpec(
                    id=instance.id,
                    kind=kind.id,
                    payload=encode(PlainArguments(args, fields, tuple(auto))),
                    name=instance.name,
                    digest=instance.digest,
                    after=after,
                    when=WHEN[job.when],
                    uses=uses,
                    site=treatment.site({**row.point, **fields}),
                )
            )

    def _rows(self, name: str, job: JobEntry) -> list[_Row]:
        rows = [_Row({}, {})]
        joined: list[str] = []
        for other in self._links[name].one:
            rows = _join(rows, [(found.point, {other: found}) for found in self._instances[other]])
            joined.append(other)
            _check_count(name, rows, joined)
        if job.for_each:
            own = self._own_points(job)
            rows = _join(rows, [(point, {}) for point in own])
            _check_count(name, rows, [*joined, "for_each"])
        return rows

    def _own_points(self, job: JobEntry) -> list[Point]:
        found: dict[bytes, Point] = {}
        for point in points(job.for_each, samples=job.samples, combine=job.combine, seed=self._seed):
            if found.setdefault(encode(canonical(point)), point) is not point:
                self.duplicates += 1
        return list(found.values())

    def _count_edges(self, name: str, count: int) -> None:
        link = self._links[name]
        each = len(link.one) + sum(len(self._instances[other]) for other in link.whole)
        self._edges += count * each
        if self._edges > MOST_EDGES:
            told = (
                f"workflow.{name}: its {count:,} instances wait for {each:,} tasks each, and a workflow has "
                f"at most {MOST_EDGES:,} such links. Put a job without for_each between, which waits for "
                "all of them, and let this one depend on that"
            )
            raise ConfigError([told])

    def _upstream(
        self, name: str, job: JobEntry
    ) -> Callable[[_Row], tuple[tuple[int, ...], tuple[int, ...], object]]:
        """Return what says for each row which tasks it waits for and uses, and what identifies them."""
        link = self._links[name]
        waited = [found for other in link.whole for found in self._instances[other]]
        used = {found.id for other in link.every for found in self._instances[other]}

        def links(row: _Row) -> tuple[tuple[int, ...], tuple[int, ...], object]:
            partners = list(row.partners.values())
            found = {item.id: item.digest for item in (*waited, *partners)}
            if not found:
                return (), (), None
            uses = used | {item.id for item in partners}
            return tuple(sorted(found)), tuple(sorted(uses)), (job.when, sorted(found.values()))

        if link.one:
            return links
        alike = links(_Row({}, {}))  # made once, and shared by all
        return lambda _: alike


def _join(rows: list[_Row], table: Iterable[tuple[Point, dict[str, _Instance]]]) -> list[_Row]:
    """Put together each row with each entry that has the same values of the parameters that they share."""
    entries = list(table)
    if not rows or not entries:
        return []
    shared = [name for name in entries[0][0] if name in rows[0].point]
    index: dict[bytes, list[tuple[Point, dict[str, _Instance]]]] = defaultdict(list)
    for entry in entries:
        index[_key(entry[0], shared)].append(entry)
    joined: list[_Row] = []
    for row in rows:
        for point, partners in index.get(_key(row.point, shared), ()):
            joined.append(_Row({**row.point, **point}, {**row.partners, **partners}))
        if len(joined) > MOST_INSTANCES:
            break
    return joined


def _key(point: Point, names: list[str]) -> bytes:
    return encode([canonical(point[name]) for name in names])


def _check_count(name: str, rows: list[_Row], joined: list[str]) -> None:
    if not rows:
        told = (
            f"workflow.{name}: nothing to run: no instances of {' and '.join(joined)} have the same values "
            "of the parameters that they share"
        )
        raise ConfigError([told])
    if len(rows) > MOST_INSTANCES:
        raise ConfigError([f"workflow.{name}: has more than {MOST_INSTANCES:,} instances"])


def _renaming(partners: Mapping[str, _Instance]) -> Callable[[Any], Any]:
    """Return what makes references to jobs into references to their instances."""

    def rename(found: Reference, text: str) -> str:
        if found.every or found.name not in partners:
            return text
        return found._replace(name=partners[found.name].name).text

    return lambda value: replace_references(value, rename)
