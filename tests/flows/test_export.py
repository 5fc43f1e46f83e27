"""Exported files equal their agents and describe themselves; the examples play them."""

import ast
import io
import json
import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open

from evo_core.agent.checkpoint import load_agent, to_bytes
from evo_core.export.agreement import gives_masks, largest_difference, play_steps
from evo_core.export.policy import Card, Policy
from evo_core.records.chain import Failure
from flows import member_lookup as members
from flows.cli.app import _main
from flows.cli.evaluate import evaluate
from flows.cli.export import export
from flows.cli.export_formats import WRITERS
from flows.cli.member_choice import choose
from flows.settings import BadInput, Failed
from tasks.runs.ref import RunRef
from tests.conftest import make_config
from tests.evo_core.agents import KINDS, MORE, RECURRENT, make_agent
from tests.flows.conftest import ROOT, make_run, make_runs

EXAMPLES = ROOT / "docs" / "examples"
LIGHT = {"population.size": 2, "evaluation.confirm_episodes": 2}
RUNS = {
    "plain": make_config(**LIGHT, **{"training.max_steps": 512}),
    "memory": make_config(
        **LIGHT, **RECURRENT, **{"algorithm.normalize_observations": True, "training.max_steps": 1024}
    ),
    "masks": make_config("Taxi-v4", **LIGHT, **{"training.max_steps": 512, "evaluation.max_steps": 40}),
    "nested": make_config(
        "CartPole-v1",
        **LIGHT,
        **{"training.max_steps": 512, "env.wrappers": [{"TimeAwareObservation": {"flatten": False}}]},
    ),
}


@pytest.fixture(scope="module")
def exported(store):
    """Export the delivered agent of every run as ONNX; return the files with the command's output."""
    for run in RUNS:
        assert export(run, format="onnx", output=store / f"{run}.onnx", store=str(store)) == 0
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"), RUNS)


def run_example(name, monkeypatch, capsys, *arguments):
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return float(capsys.readouterr().out.split()[0])


def scored(capsys, run, store, **given):
    capsys.readouterr()
    asked = {"member": None, "episodes": 4, "seed": None, **given}
    assert evaluate(run, store=str(store), json=True, **asked) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [(k, s) for k in KINDS for s in ("onnx", "safetensors")] + [(k, "torchscript") for k in [*KINDS, *MORE]],
)
def test_a_file_does_what_its_agent_does_over_1000_steps(kind, suffix):
    config, agent = make_agent(kind)
    steps = play_steps(agent, config, (1, 2, 3, 4), 256)
    policy = Policy(agent, masks=gives_masks(steps))
    card = Card(
        run_id="run",
        member="g0001/m00",
        env={},
        max_steps=None,
        fitness=None,
        fitness_sem=None,
        inputs=policy.inputs,
        outputs=policy.outputs,
    )
    content, run = WRITERS[suffix](agent, policy, card)
    assert largest_difference(policy, run, steps) <= 1e-5
    alone = [largest_difference(policy, run, play_steps(agent, config, (seed,), 8)) for seed in (5, 6)]
    assert max(alone) <= 1e-5
    assert content


def test_an_onnx_file_describes_itself_and_not_this_machine(exported, store, here):
    content = (exported / "memory.onnx").read_bytes()
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    card = json.loads({entry.key: entry.value for entry in model.metadata_props}["evolve"])
    member = choose("memory", None, str(store)).member
    assert (card["format"], card["run_id"], card["member"]) == (1, "memory", member.uid)
    assert card["fitness"] == member.fitness
    assert card["env"] == {"id": "CartPole-v1", "kwargs": {}, "wrappers": []}
    for ports, values in ((card["inputs"], model.graph.input), (card["outputs"], model.graph.output)):
        assert [port["name"] for port in ports] == [value.name for value in values]
        for port, value in zip(ports, values, strict=True):
            kind, shape = value.type.tensor_type.elem_type, value.type.tensor_type.shape.dim
            assert onnx.helper.tensor_dtype_to_np_dtype(kind) == port["dtype"]
            assert [d.dim_value for d in shape[1:]] == port["shape"] and shape[0].dim_param == "batch"
    assert str(ROOT).encode() not in content and str(sys.prefix).encode() not in content


def test_the_same_member_gives_the_same_file(exported, store, here, capfd):
    assert _main(["export", "masks", "--store", str(store), "--output", "again.onnx"]) == 0
    assert Path("again.onnx").read_bytes() == (exported / "masks.onnx").read_bytes()
    said = capfd.readouterr()
    assert "batch × 6" in said.out and "compared with the agent over 1,000 steps" in said.out
    assert said.err == ""


def test_a_policy_takes_a_mask_if_its_environment_gives_one(store, here, capsys):
    names = {}
    for run in RUNS:
        assert export(run, format="torchscript", store=str(store), json=True) == 0
        told = json.loads(capsys.readouterr().out)
        names[run] = [port["name"] for port in told["card"]["inputs"]]
        assert Path(told["file"]).stat().st_size == told["bytes"]
        assert told["largest_difference"] <= 1e-5
    assert names == {
        "plain": ["observation"],
        "memory": ["observation", "memory"],
        "masks": ["observation", "action_mask"],
        "nested": ["obs", "time"],
    }


def test_torchscript_carries_its_card(store, here):
    assert export("memory", format="torchscript", output=Path("a.pt"), store=str(store)) == 0
    files = {"evolve.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(io.BytesIO(Path("a.pt").read_bytes()), _extra_files=files)
    assert json.loads(files["evolve.json"])["run_id"] == "memory"
    action, logits, memory = module(torch.zeros(3, 4), torch.zeros(3, 32))
    assert (action.shape, logits.shape, memory.shape) == ((3,), (3, 2), (3, 32))


def test_safetensors_loads_with_one_call(store, here):
    file = Path("a.safetensors")
    assert export("nested", member="g0001/m01", format="safetensors", output=file, store=str(store)) == 0
    again, chosen = load_agent(file.read_bytes()), choose("nested", "g0001/m01", str(store))
    assert to_bytes(again.state()) == to_bytes(chosen.agent.state())
    with safe_open("a.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["evolve"])["card"]["member"] == "g0001/m01"


@pytest.mark.parametrize("run", RUNS)
def test_the_onnx_example_reaches_the_score_of_evaluate(exported, store, here, run, capsys, monkeypatch):
    told = scored(capsys, run, store)
    seeds = [one["seed"] for one in told["played"]]
    played = run_example("run_onnx.py", monkeypatch, capsys, exported / f"{run}.onnx", *seeds)
    assert played == pytest.approx(told["mean"])


def test_fifteen_lines_reach_the_score_of_evaluate(exported, store, here, capsys, monkeypatch):
    told = scored(capsys, "plain", store)
    seeds = [one["seed"] for one in told["played"]]
    played = run_example("play_onnx.py", monkeypatch, capsys, exported / "plain.onnx", "CartPole-v1", *seeds)
    assert played == pytest.approx(told["mean"])
    lines = (EXAMPLES / "play_onnx.py").read_text().splitlines()
    assert sum(bool(line) for line in lines[1:]) <= 15


@pytest.mark.parametrize(("name", "more"), [("play_onnx.py", set()), ("run_onnx.py", {"json"})])
def test_the_onnx_examples_need_numpy_gymnasium_and_onnxruntime_alone(name, more):
    tree = ast.parse((EXAMPLES / name).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"sys", "gymnasium", "numpy", "onnxruntime"} | more
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


@pytest.mark.parametrize("run", ["memory", "nested"])
def test_stable_baselines_evaluates_an_exported_agent(store, here, run, capsys, monkeypatch):
    assert export(run, format="safetensors", output=Path("policy.safetensors"), store=str(store)) == 0
    for one in scored(capsys, run, store)["played"][:3]:
        arguments = ("policy.safetensors", 1, one["seed"])
        assert run_example("sb3_evaluate.py", monkeypatch, capsys, *arguments) == one["return"]
    assert run_example("sb3_evaluate.py", monkeypatch, capsys, "policy.safetensors") > 0


def test_nothing_is_written_that_differs_from_its_agent(store, here, monkeypatch):
    write = WRITERS["safetensors"]

    def forged(agent, policy, card):
        content, run = write(agent, policy, card)
        return content, lambda arrays: [run(arrays)[0], run(arrays)[1] + np.float32(1e-3), *run(arrays)[2:]]

    monkeypatch.setitem(WRITERS, "safetensors", forged)
    with pytest.raises(Failed, match=r"the file would differ from its agent by 0\.001"):
        export("memory", format="safetensors", store=str(store))
    assert list(here.iterdir()) == []


BAD = [
    (("--member", "g0009/m00"), "--member g0009/m00: expected a name such as g0003/m05, up to g0002/m01"),
    (("--member", "five"), "--member five: expected a name such as g0003/m05"),
    (("--output", "nowhere/x.onnx"), "--output nowhere/x.onnx: there is no directory"),
    (("--output", "."), "--output .: expected a file to write, this is a directory"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_input_is_refused_before_anything_is_written(store, here, capfd, arguments, message):
    assert _main(["export", "memory", "--store", str(store), *arguments]) == 2
    assert message in " ".join(capfd.readouterr().err.split())
    assert list(here.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(store, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BadInput, match=r"needs onnxruntime, not installed here: pip install 'evolve-rl\[export\]'"):
        export("memory", format="onnx", store=str(store))


def test_a_released_checkpoint_is_computed_again(store, here, capfd):
    chosen = choose("nested", "g0001/m01", str(store))
    blob = store / "nested" / "blobs" / f"{chosen.member.training.blob.sha256}.safetensors"
    content = blob.read_bytes()
    blob.unlink()
    try:
        again = choose("nested", "g0001/m01", str(store))
    finally:
        blob.write_bytes(content)
    assert to_bytes(again.agent.state()) == content
    assert "g0001/m01: its checkpoint was released; computing it again" in capfd.readouterr().err


def test_an_unfinished_run_yields_its_elite_with_a_note(here):
    longer = RUNS["nested"].model_copy(
        update={"training": RUNS["nested"].training.model_copy(update={"max_steps": 10**6})}
    )
    store = here / "runs"
    make_run(store, "cut", RUNS["nested"])
    (store / "cut" / "run.json").unlink()
    RunRef(store.as_uri(), "cut", longer, "cpu").open().create_run(longer)
    chosen = choose("cut", None, str(store))
    assert chosen.why == "the elite of generation 1; the run is not finished"


def test_a_failed_member_is_refused_with_its_reason(store, here, monkeypatch):
    found = members.find_member

    def failed(*arguments):
        return found(*arguments).model_copy(update={"failure": Failure(reason="nan_loss", step=7)})

    monkeypatch.setattr(members, "find_member", failed)
    with pytest.raises(BadInput, match=r"--member g0001/m00: failed \(nan_loss\) and left no agent"):
        choose("memory", "g0001/m00", str(store))
