"""Random sequences of operations, crashes and damage: commits stay, damage is found, and repaired where possible."""

from datetime import timedelta
from functools import cache

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from evo_core.records.chain import record_hash
from tasks.runs import layout, retention
from tasks.runs.recomputation import Recomputer
from tasks.runs.ref import RunRef
from tasks.runs.repair import Repair, repair_all
from tasks.runs.run_records import Extension, extended
from tasks.runs.verification import verify
from tasks.store import memory_backend as memory
from tasks.store import store as base
from tests.fake import SPACES, evolve, fake_config, fake_trainer, run_generation, run_member

GENERATION_STEPS = 4 * 256
CONFIG = fake_config(2)
URL = "memory://machine"
PAUSE_S = base.PAUSE_S
INDEX = st.integers(0, 3)
LONGEST = 30
"""Generations of the longest run."""


@cache
def undisturbed_chain():
    """Return the chain of an undisturbed run, longer than any run of the machine."""
    memory._stores.pop("memory://calm", None)
    with fake_trainer():
        run = RunRef("memory://calm", "run", fake_config(LONGEST), "cpu")
        evolve(run)
    return [record_hash(commit) for commit in run.open().commits()]


class Machine(RuleBasedStateMachine):
    """One run in memory, and operations of users, clocks and disks on it."""

    generations = Bundle("generations")

    @initialize()
    def begin(self):
        memory._stores.pop(URL, None)
        base.PAUSE_S = 0.0
        self.trainer = fake_trainer()
        self.trainer.__enter__()
        self.seen: dict[str, bytes] = {}
        self.head_seen = 0
        self.backend = self.run().store.backend
        self.late = timedelta(0)
        now = memory.MemoryBackend.now
        memory.MemoryBackend.now = lambda backend: now(backend) + self.late
        self.real_now = now
        self.run().create_run(CONFIG)
        evolve(self.ref(generations=1))

    def teardown(self):
        if hasattr(self, "trainer"):
            memory.MemoryBackend.now, base.PAUSE_S = self.real_now, PAUSE_S
            assert verify(self.run(), SPACES).findings == []
            head = evolve(self.ref())
            assert [record_hash(commit) for commit in self.run().commits()] == undisturbed_chain()[
                : head.generation + 1
            ]
            self.trainer.__exit__(None, None, None)

    def ref(self, generations=None):
        """Return the run as a new process sees it."""
        config = CONFIG
        if generations is not None:
            config = extended(CONFIG, Extension(max_steps=GENERATION_STEPS * generations, target=None))
        elif self.run().exists(layout.RUN):
            config = self.run().config()
        return RunRef(URL, "run", config, "cpu")

    def run(self):
        return RunRef(URL, "run", CONFIG, "cpu").open()

    def unfinished(self):
        return self.run().head().generation < self.run().config().max_generations

    @precondition(lambda self: self.unfinished())
    @rule(index=INDEX)
    def record_a_member(self, index):
        run_member(self.ref(), self.run().head().generation + 1, index)

    @precondition(lambda self: self.unfinished())
    @rule(index=INDEX)
    def crash_after_the_checkpoint(self, index):
        """Write a checkpoint without its record."""
        child = self.run().head().offspring[index]
        if self.run().training(child.generation, child.index) is None:
            content, _ = Recomputer(self.run(), CONFIG, SPACES).train(child)
            self.run().put_blob(content)

    @precondition(lambda self: self.unfinished())
    @rule()
    def commit(self):
        run_generation(self.ref(), self.run().head())

    @rule()
    def resume(self):
        evolve(self.ref())

    @precondition(lambda self: self.run().config().max_generations < LONGEST)
    @rule()
    def extend(self):
        budget = self.run().config().training.max_steps + GENERATION_STEPS
        self.run().extend(Extension(max_steps=budget, target=None))

    @rule(back=st.integers(1, 3))
    def second_writer(self, back):
        """Repeat the work of an older head, as a delayed process does."""
        generation = max(0, self.run().head().generation - back)
        run_generation(self.ref(), self.run().commit(generation))
        run_member(self.ref(), generation + 1, 0)  # it was in the middle of it

    @rule(keep=st.integers(1, 3))
    def collect(self, keep):
        retention.collect(self.run(), keep)

    @rule(hours=st.integers(-48, 48))
    def clock_jump(self, hours):
        self.late += timedelta(hours=hours)

    @rule(data=st.data(), how=st.sampled_from(["flip", "truncate", "delete"]), count=st.integers(1, 3))
    def damage(self, data, how, count):
        objects = {key: value for key, value in self.backend._objects.items() if key.startswith("run/")}
        keys = data.draw(st.lists(st.sampled_from(sorted(objects)), min_size=1, max_size=count, unique=True))
        keys = [key for key in keys if how != "delete" or self.matters(key)]
        for key in keys:
            content, moment = objects[key]
            if how == "flip":
                bit = data.draw(st.integers(0, 8 * len(content) - 1))
                flipped = bytearray(content)
                flipped[bit // 8] ^= 1 << bit % 8
                self.backend._objects[key] = (bytes(flipped), moment)
            elif how == "truncate":
                self.backend._objects[key] = (content[: data.draw(st.integers(0, len(content) - 1))], moment)
            else:
                del self.backend._objects[key]
        self.must_be_found_and_mended(keys, objects)

    def matters(self, key):
        """Return True if a missing object is damage; timings, confirmations and attempts are optional."""
        name, head = key.removeprefix("run/"), self.run().head()
        if name.startswith("gen/") and int(name.split("/")[1]) > head.generation:
            return False
        if name.startswith("blobs/"):
            named = {m.training.blob.sha256 for c in self.run().commits() for m in c.members if m.training.blob}
            return name.removeprefix("blobs/").removesuffix(".safetensors") in named
        unknowable = name.endswith(("timings.json", "confirm.json")) or name.startswith(("extend/", "gc/"))
        return not unknowable and name != layout.commit(head.generation)  # that is a crash just before it

    def must_be_found_and_mended(self, keys, objects):
        found = verify(self.run(), SPACES)
        assert {f"run/{finding.name}" for finding in found.findings} >= set(keys)
        for key in keys:  # nothing else says what these held: restored from a copy, as the advice says
            if key.removeprefix("run/").startswith((layout.RUN, "extend/", "gc/")):
                self.backend._objects[key] = objects[key]
        rounds = 0
        while (found := verify(self.run(), SPACES)).findings and rounds < 4:  # some repairs need others first
            repair_all(Repair(self.run(), found, Recomputer(self.run(), CONFIG, SPACES)))
            rounds += 1
        assert found.findings == []
        for key in keys:
            kept = key in self.backend._objects
            assert not kept or self.backend._objects[key][0] == objects[key][0]
            assert kept or "timings.json" in key or "blobs/" in key

    @invariant()
    def what_is_committed_stays(self):
        if not hasattr(self, "trainer"):
            return
        head = self.run().head().generation
        assert head >= self.head_seen
        self.head_seen = head
        for generation in range(head + 1):
            key = f"run/{layout.commit(generation)}"
            content = self.backend.read(key)
            assert self.seen.setdefault(key, content) == content
        assert [record_hash(commit) for commit in self.run().commits()] == undisturbed_chain()[: head + 1]


Machine.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestMachine = Machine.TestCase
