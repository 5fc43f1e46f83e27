"""A fingerprint of this process's arithmetic: hashes of the results of about a hundred primitive functions.

Two processes with the same versions may still differ in last bits, because libraries choose their code by the
processor, its maker included. Equal fingerprints do not prove that runs agree, but every difference observed
between machines so far changed them.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.adam import adam

DIGITS = 6
"""Digits of the hash of each group: 24 bits."""

ELEMENTWISE = ("exp", "expm1", "log", "log1p", "sigmoid", "sin", "cos", "tanh", "erf", "rsqrt", "atan", "asin")
ACTIVATIONS = ("elu", "gelu", "mish", "selu", "silu", "softplus", "softsign", "logsigmoid")
MATH = (
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "cbrt", "sin", "cos", "tan", "asin", "acos"),
    *("atan", "sinh", "cosh", "tanh", "erf", "gamma", "lgamma"),
)
NUMPY = (
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log1p",
    "sqrt",
    "cbrt",
    "sin",
    "cos",
    "tan",
    "tanh",
    "arcsin",
    "arctan",
)
RANDOM = ("random", "standard_normal", "standard_exponential")
REDUCTIONS = ("sum", "mean", "var", "std", "prod", "logsumexp")

Arrays = Sequence[Any]


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Hash what every group of primitives returns: `adam 1f09aa, convolutions 77c2e0, …`.

    Computed once per process, on the caller's threads; see evo_core.numerics.provenance.one_thread.
    """
    return ", ".join(f"{name} {_hash(results)}" for name, results in sorted(_groups().items()))


def differing_groups(one: str, other: str) -> list[str]:
    """Return the groups in which two fingerprints differ; an empty (unknown) fingerprint equals any other."""
    if not one or not other:
        return []
    first, second = (dict(part.rsplit(" ", 1) for part in text.split(", ")) for text in (one, other))
    return [name for name in sorted(first.keys() | second.keys()) if first.get(name) != second.get(name)]


def primitives() -> int:
    """Count the results that the fingerprint is made of."""
    return sum(len(list(results)) for results in _groups().values())


def _groups() -> Mapping[str, Iterator[Arrays]]:
    numbers = np.random.Generator(np.random.PCG64(0)).random(70_000)  # from integers only: the same everywhere
    values = torch.from_numpy(numbers)
    return {
        "adam": _adam(values.float()),
        "convolutions": _convolutions(values.float() - 0.5),
        "functions": _functions(values),
        "math": _math(numbers[:400].tolist()),
        "matrices": _matrices(values.float() - 0.5),
        "numpy": _numpy(numbers),
        "qr": ([*torch.linalg.qr(_shaped(values.float() - 0.5, *shape))] for shape in ((64, 64), (96, 16), (33, 7))),
        "random": _random(),
        "recurrence": _recurrence(values.float() - 0.5),
        "reductions": _reductions(values),
        "softmax": _softmax(values.float() * 8),
    }


def _hash(results: Iterator[Arrays]) -> str:
    digest = hashlib.sha256()
    for arrays in results:
        for array in arrays:
            digest.update(np.ascontiguousarray(array.detach() if isinstance(array, Tensor) else array).tobytes())
    return digest.hexdigest()[:DIGITS]


def _shaped(values: Tensor, *shape: int) -> Tensor:
    return values[: math.prod(shape)].view(shape)


def _gradients(function: Callable[..., Tensor], *inputs: Tensor) -> Arrays:
    """Return a function's result, and its gradients by all inputs."""
    leaves = [value.detach().clone().requires_grad_() for value in inputs]
    with torch.enable_grad():
        result = function(*leaves)
        return [result, *torch.autograd.grad(result.square().sum(), leaves)]


def _matrices(values: Tensor) -> Iterator[Arrays]:
    for rows, inputs, outputs in ((1, 4, 64), (16, 8, 64), (64, 64, 64), (256, 64, 4), (128, 128, 128), (25, 33, 17)):
        x, weight = _shaped(values, rows, inputs), _shaped(values.flip(0), outputs, inputs)
        yield _gradients(functional.linear, x, weight, values[:outputs])
        yield [x @ weight.T, x.double() @ weight.double().T, torch.mv(x, weight[0])]
    yield [torch.bmm(_shaped(values, 4, 16, 32), _shaped(values, 4, 32, 8))]


def _convolutions(values: Tensor) -> Iterator[Arrays]:
    for batch, size, stride, kernel, channels in ((2, 42, 4, 8, 8), (4, 16, 2, 3, 16), (3, 7, 1, 3, 5)):
        images = _shaped(values, batch, 3, size, size)
        weight = _shaped(values.flip(0), channels, 3, kernel, kernel)
        yield _gradients(partial(functional.conv2d, stride=stride, padding=kernel // 2), images, weight)
        yield [functional.conv2d(images, weight, stride=stride)]


def _recurrence(values: Tensor) -> Iterator[Arrays]:
    steps, batch, inputs, hidden = 6, 3, 8, 16
    x, zeros = _shaped(values, steps, batch, inputs), torch.zeros(1, batch, hidden)
    for gates, run, memory in ((4, torch.lstm, (zeros, zeros)), (3, torch.gru, zeros)):
        weights = [_shaped(values, gates * hidden, inputs), _shaped(values.flip(0), gates * hidden, hidden)]
        weights += [values[: gates * hidden], values[: gates * hidden]]

        def outputs(x: Tensor, *weights: Tensor, run: Any = run, memory: Any = memory) -> Tensor:
            result: Tensor = run(x, memory, weights, True, 1, 0.0, False, False, False)[0]
            return result

        yield _gradients(outputs, x, *weights)
        with torch.inference_mode():
            yield [outputs(x, *weights)]


def _functions(values: Tensor) -> Iterator[Arrays]:
    for numbers in (values[:3001].float(), values[:501]):
        for name in ELEMENTWISE:
            yield [getattr(torch, name)(numbers), getattr(torch, name)(numbers[7])]
        yield [torch.pow(numbers, 1.7), torch.atan2(numbers, numbers.flip(0))]
    for name in ACTIVATIONS:
        yield _gradients(getattr(functional, name), values[:1001].float() * 6 - 3)


def _softmax(values: Tensor) -> Iterator[Arrays]:
    for columns in (2, 6, 64):
        yield _gradients(partial(torch.log_softmax, dim=-1), _shaped(values, 64, columns))
        yield [torch.softmax(_shaped(values, 64, columns), -1)]


def _reductions(values: Tensor) -> Iterator[Arrays]:
    for count in (5, 256, 5000):
        numbers = values[:count].float() - 0.5
        for name in REDUCTIONS:
            yield [getattr(torch, name)(numbers, dim=0)]
        yield [torch.linalg.vector_norm(numbers), numbers.cumsum(0)]
    rows = _shaped(values.float(), 64, 32)
    yield [rows.sum(0), rows.mean(1), *_gradients(lambda x: functional.layer_norm(x, (32,)), rows)]


def _adam(values: Tensor) -> Iterator[Arrays]:
    for count in (3, 64, 4099):
        weights, gradients, first, second = (values[i : i + count].clone() for i in range(4))
        steps = [torch.tensor(7.0)]
        options: dict[str, Any] = {
            "beta1": 0.9,
            "beta2": 0.999,
            "lr": 1e-3,
            "weight_decay": 0.0,
            "eps": 1e-5,
            "maximize": False,
        }
        adam([weights], [gradients], [first], [second], [], steps, fused=True, amsgrad=False, **options)
        yield [weights, first, second]


def _numpy(numbers: np.ndarray) -> Iterator[Arrays]:
    for values in (numbers[:2001], numbers[:2001].astype(np.float32)):
        for name in NUMPY:
            yield [getattr(np, name)(values)]
        yield [values**1.7, np.arctan2(values, values[::-1]), values.sum(), values.var(), np.hypot(values, 0.3)]
        square = values[:1024].reshape(32, 32)
        yield [square @ square, square @ square[0], np.dot(values, values)]
    yield [*np.linalg.qr(numbers[:256].reshape(16, 16)), np.linalg.inv(numbers[:256].reshape(16, 16))]


def _random() -> Iterator[Arrays]:
    for name in RANDOM:
        yield [getattr(np.random.Generator(np.random.PCG64(1)), name)(2000)]
    yield [torch.randn(999, generator=torch.Generator().manual_seed(1))]


def _math(numbers: list[float]) -> Iterator[Arrays]:
    for name in MATH:
        yield [np.array([getattr(math, name)(number) for number in numbers])]
    yield [np.array([number**1.7 for number in numbers])]
    yield [np.array([math.atan2(number, 0.3) for number in numbers])]
