"""Follow a run that other processes work on, from its store alone: an observer hears of it as if it ran here."""

from collections.abc import Callable

from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Generation, Member
from flows.observers.observer import Observer
from flows.outcome import stored_ending
from tasks.runs import layout
from tasks.runs.failed_members import details
from tasks.runs.ref import RunRef
from tasks.runs.run_store import RunStore


class StoreFollower:
    """Reads what was added to a run since it was looked at last, and tells an observer.

    A look costs one listing and a request per new record, whatever the size of the run. Members are known once they
    are trained, and once they are evaluated: the steps of a member that is training are not in the store.
    """

    def __init__(self, open_run: Callable[[], RunRef], watcher: Observer) -> None:
        self._open_run, self._watcher = open_run, watcher
        self._head: Generation | None = None
        self._trained: set[str] = set()
        self._evaluated: set[str] = set()
        self._confirmed: set[str] = set()
        self.ending: Ending | None = None

    def look(self) -> bool:
        """Tell what is new; return True if anything is. `ending` is set once the run has ended.

        Also after that: a run whose budget is raised goes on.
        """
        ref = self._open_run()
        run = ref.open()
        new = self._start(run) if self._head is None else self._follow_commits(run)
        if self._head is None:
            return False
        new = self._follow_members(run) or new
        new = self._follow_confirmations(run) or new
        ending = stored_ending(ref, self._head)
        if ending is not None and self.ending is None:
            self._watcher.ended(ending)
        self.ending = ending
        return new

    def _start(self, run: RunStore) -> bool:
        self._head = run.head()
        if self._head is None:
            return False
        self._watcher.began(run.run_id, self._head)
        if self._head.members:
            self._watcher.committed(self._head)
        self._begin()
        self._tell_members(run, in_progress=False)
        return True

    def _follow_commits(self, run: RunStore) -> bool:
        assert self._head is not None
        before = self._head.generation
        while run.exists(layout.commit(self._head.generation + 1)):
            commit = run.commit(self._head.generation + 1)
            for member in commit.members:
                self._tell_training(member)
                self._tell_evaluation(run, member)
            self._head = commit
            self._watcher.committed(commit)
            self._begin()
        return self._head.generation > before

    def _begin(self) -> None:
        assert self._head is not None
        self._trained, self._evaluated = set(), set()
        self._watcher.generation_began(self._head.offspring)

    def _follow_members(self, run: RunStore) -> bool:
        before = len(self._trained), len(self._evaluated)
        self._tell_members(run, in_progress=True)
        return (len(self._trained), len(self._evaluated)) != before

    def _tell_members(self, run: RunStore, *, in_progress: bool) -> None:
        """Tell of the records of the running generation; those that were there before count as found, not as made."""
        assert self._head is not None
        generation = self._head.generation + 1
        names = set(run.store.children(run.key(layout.members(generation))))
        for child in self._head.offspring:
            trained, whole = (
                path(generation, child.index).rpartition("/")[2] for path in (layout.training, layout.member)
            )
            if child.uid not in self._trained and trained in names:
                record = run.training(generation, child.index)
                if record is not None:
                    if in_progress:
                        self._watcher.progressed(child.uid, record.steps)
                    self._trained.add(child.uid)
                    self._watcher.trained(record)
            if child.uid not in self._evaluated and whole in names:
                member = run.member(generation, child.index)
                if member is not None:
                    self._tell_evaluation(run, member)

    def _tell_training(self, member: Member) -> None:
        if member.uid not in self._trained and member.training.failure is None:
            self._trained.add(member.uid)
            self._watcher.progressed(member.uid, member.training.steps)
            self._watcher.trained(member.training)

    def _tell_evaluation(self, run: RunStore, member: Member) -> None:
        if member.uid not in self._evaluated:
            self._evaluated.add(member.uid)
            self._watcher.evaluated(member, details(run, [member]).get(member.uid))

    def _follow_confirmations(self, run: RunStore) -> bool:
        assert self._head is not None
        elites = {elite.uid: elite for elite in (self._head.elite, self._head.best) if elite is not None}
        before = len(self._confirmed)
        for uid in sorted(elites.keys() - self._confirmed):
            if (record := run.confirmation(elites[uid])) is not None:
                self._confirmed.add(uid)
                self._watcher.confirmed(record)
        return len(self._confirmed) > before
