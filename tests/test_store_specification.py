"""docs/reference/store-format.md is a specification: this module reads and verifies a real store by its text alone.

The first half imports nothing of the project. It is what another implementer would write.
"""

import hashlib
import json
import math
import re
import struct
from itertools import count
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reference/store-format.md").read_text()


class Broken(Exception):
    """Raised for a store that violates the specification."""


def canonical(value):
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def plain(value):
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def digest(content):
    return hashlib.sha256(content).hexdigest()


def require(condition, problem):
    if not condition:
        raise Broken(problem)


def read_record(path):
    """Read a record's own part, after its hash and seal were checked."""
    content = path.read_bytes()
    stored = json.loads(content)
    require(canonical(stored) == content, f"{path}: not canonical")
    require(stored.keys() - {"detail"} == {"record", "sha256", "numerics", "seal"}, f"{path}: unknown fields")
    require(digest(canonical(stored["record"])) == stored["sha256"], f"{path}: sha256")
    sealed = {name: stored[name] for name in ("sha256", "numerics", "detail") if name in stored}
    require(digest(canonical(sealed)) == stored["seal"], f"{path}: seal")
    return stored["record"]


def config_hash(config):
    kept = {name: dict(section) if isinstance(section, dict) else section for name, section in config.items()}
    kept["env"].pop("max_instances", None)
    del kept["training"]["max_steps"], kept["training"]["target"]
    return digest(canonical(kept))


def read_checkpoint(path, reference):
    """Read the tensors of a checkpoint as lists of numbers, and what its header says."""
    content = path.read_bytes()
    require((len(content), digest(content)) == (reference["size"], reference["sha256"]), f"{path}: size or hash")
    (size,) = struct.unpack("<Q", content[:8])
    require(size <= 2**24, f"{path}: header")
    header = json.loads(content[8 : 8 + size])
    metadata, data = header.pop("__metadata__"), content[8 + size :]
    require(metadata.keys() == {"evolve"}, f"{path}: metadata")
    said = json.loads(metadata["evolve"])
    require(canonical(said).decode() == metadata["evolve"] and said["format"] == 1, f"{path}: header's JSON")
    letters = {"F32": "f", "F64": "d"}
    tensors = {}
    for name, found in header.items():
        first, last = found["data_offsets"]
        number = (last - first) // struct.calcsize(letters[found["dtype"]])
        require(number == math.prod(found["shape"]), f"{path}: {name}")
        tensors[name] = struct.unpack(f"<{number}{letters[found['dtype']]}", data[first:last])
        require(all(map(math.isfinite, tensors[name])), f"{path}: {name} is not finite")
    parts = {
        part: {name.removeprefix(f"{part}/") for name in tensors if name.startswith(f"{part}/")}
        for part in ("weights", "exp_avg", "exp_avg_sq")
    }
    require(parts["weights"] == parts["exp_avg"] == parts["exp_avg_sq"], f"{path}: parts")
    require(
        all(header[name]["dtype"] == ("F64" if name.startswith("statistics/") else "F32") for name in header), "types"
    )
    statistics = [name for name in tensors if name.split("/")[0] not in parts]
    pattern = r"statistics/.+\.(mean|variance|count)"
    require(all(re.fullmatch(pattern, name) for name in statistics), f"{path}: unknown tensors")
    return said, tensors


def find_head(run):
    """Find the last COMMIT by asking for single keys: doubling, then bisection."""
    there = lambda g: (run / f"gen/{g:06d}/COMMIT.json").exists()  # noqa: E731
    if not there(0):
        return None
    low, step = 0, 1
    while there(low + step):
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if there(middle) else (low, middle)
    return low


def series(run, name):
    for number in count():
        path = run / name / f"{number:06d}.json"
        if not path.exists():
            return
        yield read_record(path)


def verify(run):
    """Check a run by the section *Verification*; return the hash of its head."""
    file = read_record(run / "run.json")
    require(file["schema_version"] == 1, "schema_version")
    released = {sha for record in series(run, "gc") for sha in record["blobs"]}
    commits = [read_record(run / f"gen/{g:06d}/COMMIT.json") for g in range(find_head(run) + 1)]
    expected = config_hash(file["config"])
    before = {"train_steps": 0, "eval_steps": 0, "best": None, "offspring": []}
    vital = {child["parent_blob"]["sha256"] for child in commits[-1]["offspring"] if child["parent_blob"]}
    vital |= {commit["elite"]["blob"]["sha256"] for commit in commits[1:]}
    for number, commit in enumerate(commits):
        require(commit["previous"] == expected and commit["generation"] == number, f"link of COMMIT {number}")
        verify_generation(run, commit, before, released - vital)
        before, expected = commit, digest(canonical(commit))
    return expected


def verify_generation(run, commit, before, released):
    members, number = commit["members"], commit["generation"]
    if not number:
        require(not members and commit["draw"] is commit["elite"] is commit["best"] is None, "COMMIT 0")
        return
    require([member["offspring"] for member in members] == before["offspring"], f"members of COMMIT {number}")
    directory = run / f"gen/{number:06d}"
    for index, member in enumerate(members):
        require(read_record(directory / f"m/{index:04d}.json") == member, f"member {number}/{index}")
        require(read_record(directory / f"m/{index:04d}.train.json") == member["training"], f"train {number}/{index}")
        require((member["evaluation"] is None) != (member["failure"] is None), f"outcome of {number}/{index}")
        blob = member["training"]["blob"]
        path = run / f"blobs/{blob['sha256']}.safetensors" if blob else None
        if path and (path.exists() or blob["sha256"] not in released):
            require(path.exists(), f"{path} is missing")
            said, _ = read_checkpoint(path, blob)
            require(said["genome"] == member["offspring"]["genome"], f"{path}: genome")
    evaluations = [member["evaluation"] for member in members if member["evaluation"]]
    require(
        commit["train_steps"] == before["train_steps"] + sum(m["training"]["steps"] for m in members), "train_steps"
    )
    require(commit["eval_steps"] == before["eval_steps"] + sum(e["steps"] for e in evaluations), "eval_steps")
    elite, best = commit["elite"], before["best"]
    require(elite["uid"] == members[commit["draw"]["elite"]]["offspring"]["uid"], "elite")
    require(commit["best"] == (elite if best is None or elite["fitness"] > best["fitness"] else best), "best")
    if (directory / "confirm.json").exists():
        require(read_record(directory / "confirm.json")["uid"] == elite["uid"], "confirmation")
    if (directory / "timings.json").exists():
        times = read_record(directory / "timings.json")
        uids = {member["offspring"]["uid"] for member in members}
        require(times["train"].keys() | times["evaluate"].keys() <= uids, "timings")


# --- from here on with the project: a real run, and the records' own classes ---


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Write a run of two generations that really learn, extended and with released checkpoints."""
    from tasks.runs.ref import RunRef
    from tasks.runs.run_records import Extension
    from tests.conftest import make_config
    from tests.fake import evolve

    directory = tmp_path_factory.mktemp("specified")
    config = make_config(**{"training.max_steps": 1536, "algorithm.normalize_observations": True})
    run = RunRef(directory.as_uri(), "tiny", config, "cpu")
    head = evolve(run, keep_generations=1)
    run.open().extend(Extension(max_steps=config.training.max_steps * 2, target=None))
    return directory, head


@pytest.fixture
def run(store):
    return store[0] / "tiny"


def test_a_real_run_is_intact_by_the_specification_alone(store, run):
    from evo_core.records.chain import record_hash

    assert (store[0] / ".evolve-probe").read_bytes() == b"evolve\n"
    assert verify(run) == record_hash(store[1])
    blob = read_record(run / "gen/000002/m/0000.train.json")["blob"]
    _, tensors = read_checkpoint(run / f"blobs/{blob['sha256']}.safetensors", blob)
    assert "weights/actor.output.bias" in tensors
    statistics = {f"statistics/leaf observation.{part}" for part in ("mean", "variance", "count")}
    assert {name for name in tensors if name.startswith("statistics/")} == statistics
    assert list(series(run, "extend")) == [{"max_steps": 3072, "target": None}]
    assert [record["keep_generations"] for record in series(run, "gc")] == [1]


def test_the_numerics_of_a_real_run_are_named(run):
    stored = json.loads((run / "gen/000001/m/0001.json").read_bytes())
    named = set(re.findall(r"`(\w+)`", SECTIONS["Numerics"]))
    assert len(stored["numerics"]) > 8
    assert stored["numerics"].keys() <= named


def test_the_specification_names_every_key_of_a_real_run(run):
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE.split("## Keys")[1].split("## ")[0], re.MULTILINE)
    digits = {
        "{sha256}": "[0-9a-f]{64}",
        "{g}": r"\d{6}",
        "{i}": r"\d{4}",
        "{n}": r"\d{6}",
        "{uid}": "[^/]+",
        "{kind}": r"\w+",
    }
    patterns = [re.escape(row).replace(r"\{", "{").replace(r"\}", "}") for row in rows]
    for name, pattern in digits.items():
        patterns = [text.replace(name, pattern) for text in patterns]
    keys = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
    assert len(keys) > 15
    assert [key for key in keys if not any(re.fullmatch(pattern, key) for pattern in patterns)] == []


@pytest.mark.parametrize("name", ["run.json", "gen/000001/COMMIT.json", "gen/000002/m/0001.train.json"])
def test_a_changed_byte_of_a_record_is_found(run, tmp_path, name):
    import shutil

    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / name
    content = path.read_bytes()
    for old, new in ((b"0.01", b"0.02"), (b'"cpu":"', b'"cpu":"x'), (b"{", b"{ ")):
        changed = content.replace(old, new, 1)
        if changed != content:
            path.write_bytes(changed)
            with pytest.raises((Broken, ValueError)):
                verify(tmp_path / "run")
    path.write_bytes(content)
    verify(tmp_path / "run")


def test_a_flipped_bit_of_a_checkpoint_and_another_link_are_found(run, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "run")
    blob = next((tmp_path / "run/blobs").iterdir())
    kept = blob.read_bytes()
    blob.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(Broken, match="size or hash"):
        verify(tmp_path / "run")
    blob.write_bytes(kept)
    commit = tmp_path / "run/gen/000001/COMMIT.json"
    stored = json.loads(commit.read_bytes())
    stored["record"]["previous"] = "0" * 64  # as a forger would, with hash and seal made anew
    stored["sha256"] = digest(canonical(stored["record"]))
    stored["seal"] = digest(canonical({"sha256": stored["sha256"], "numerics": stored["numerics"]}))
    commit.write_bytes(canonical(stored))
    with pytest.raises(Broken, match="link of COMMIT 1"):
        verify(tmp_path / "run")


def models():
    from evo_core.records import chain, replay_record
    from tasks.runs import run_records as own

    records = (chain, replay_record, own)
    return {name: value for module in records for name, value in vars(module).items() if hasattr(value, "model_fields")}


SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", [name for name in SECTIONS if name != "Numerics"])
def test_the_tables_name_every_field_of_a_record(name):
    fields = re.findall(r"^\| `(\w+)` \|", SECTIONS[name], re.MULTILINE)
    if name in ("Timings", "FailedAttempt"):  # objects by uid, described in words
        fields = [field for field in models()[name].model_fields if f"`{field}`" in SECTIONS[name]]
        assert name != "Timings" or re.findall(r"^\| `(\w+)` \|", SECTIONS[name], re.MULTILINE) == list(
            models()["Timing"].model_fields
        )
    assert fields == list(models()[name].model_fields)


def test_every_record_has_a_section():
    beside = {"Record", "RunConfig", "Genome", "Sealed", "Fork", "Timing", "FailedMember"}
    assert models().keys() - beside <= SECTIONS.keys()


@pytest.mark.parametrize(
    ("name", "text"),
    re.findall(r'```json title="(\w+)"\n(.*?)```', PAGE, re.DOTALL),
    ids=lambda part: part[:12].strip(),
)
def test_the_examples_are_records(name, text):
    model = models()[name]
    assert canonical(model.model_validate_json(text).model_dump(mode="json")) == canonical(json.loads(text))
