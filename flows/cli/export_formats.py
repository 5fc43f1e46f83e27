"""The file formats of `evolve export`: each writes a policy, and returns how to run what was written."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch

from evo_core.agent.agent import Agent
from evo_core.agent.checkpoint import METADATA, load_agent, to_portable_bytes
from evo_core.export.agreement import Run
from evo_core.export.policy import Card, Policy
from evo_core.records.canonical import canonical_json


def _onnx(agent: Agent, policy: Policy, card: Card) -> tuple[bytes, Run]:
    import onnxruntime
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    example, names = policy.example(), [port.name for port in policy.inputs]
    batch = torch.export.Dim("batch", min=1)
    with _quiet():
        program = torch.onnx.export(
            policy,
            example,
            dynamo=True,
            verbose=False,
            input_names=names,
            output_names=[port.name for port in policy.outputs],
            dynamic_shapes=(tuple({0: batch} for _ in example),),
        )
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # source lines and directories of this machine
    program.model.metadata_props[METADATA] = canonical_json(card).decode()
    content: bytes = program.model_proto.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        outputs: Sequence[np.ndarray] = session.run(None, dict(zip(names, arrays, strict=True)))
        return outputs

    return content, run


def _torchscript(agent: Agent, policy: Policy, card: Card) -> tuple[bytes, Run]:
    buffer, jit = io.BytesIO(), cast(Any, torch.jit)
    with _quiet():
        traced = jit.trace(policy, policy.example(), check_trace=False)
        jit.save(traced, buffer, _extra_files={f"{METADATA}.json": canonical_json(card)})
        module = jit.load(io.BytesIO(buffer.getvalue()))
    return buffer.getvalue(), _run_module(module)


def _safetensors(agent: Agent, policy: Policy, card: Card) -> tuple[bytes, Run]:
    content = to_portable_bytes(agent, card.model_dump(mode="json"))
    return content, _run_module(Policy(load_agent(content), masks=policy.masks))


Writer = Callable[[Agent, Policy, Card], tuple[bytes, Run]]
"""Creates a file's content, and a function that runs it."""

WRITERS: dict[str, Writer] = {"onnx": _onnx, "torchscript": _torchscript, "safetensors": _safetensors}


def _run_module(module: Any) -> Run:
    def run(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        with torch.inference_mode():
            return [output.numpy() for output in module(*map(torch.from_numpy, arrays))]

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress messages of torch's exporters that are for developers: deprecations, optional packages."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
