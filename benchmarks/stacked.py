"""Would members that share an architecture learn faster with their parameters stacked, in one process?

    python benchmarks/stacked.py [--width 256] [--members 6]

One update of 128 samples of a network with two hidden layers, forward and backward in closed form with Adam, on one
thread, by CPU time: for each member in turn (addmm and mm), and for all at once (baddbmm and bmm), alternating.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

BATCH, INPUTS, OUTPUTS, REPEATS = 128, 8, 5, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--members", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [INPUTS, arguments.width, arguments.width, OUTPUTS]
    each = [Update(sizes, 1) for _ in range(arguments.members)]
    together = Update(sizes, arguments.members)
    turns, stacked = [], []
    for _ in range(REPEATS):
        turns.append(seconds(lambda: [member.step() for member in each]))
        stacked.append(seconds(together.step))
    turn, at_once = (statistics.median(times) / arguments.members * 1e6 for times in (turns, stacked))
    print(
        f"width {arguments.width}: {turn:,.0f} µs per member in turn, {at_once:,.0f} µs stacked: {turn / at_once:.2f}×"
    )


class Update:
    """The update of one or several stacked members; weights [members, in, out], samples [members, N, in]."""

    def __init__(self, sizes: list[int], members: int) -> None:
        shapes = [shape for pair in pairwise(sizes) for shape in (pair, (1, pair[1]))]
        counts = [members * rows * columns for rows, columns in shapes]
        self.flat = torch.randn(sum(counts)) / sizes[1] ** 0.5
        self.gradient, self.first, self.second = (torch.zeros_like(self.flat) for _ in range(3))
        self.count = torch.tensor(0.0)
        lead = (members,) if members > 1 else ()
        views = [
            [part.view(*lead, *shape) for part, shape in zip(flat.split(counts), shapes, strict=True)]
            for flat in (self.flat, self.gradient)
        ]
        self.layers = list(zip(views[0][::2], views[0][1::2], views[1][::2], views[1][1::2], strict=True))
        self.affine, self.product = (torch.baddbmm, torch.bmm) if lead else (torch.addmm, torch.mm)
        self.samples = torch.randn(*lead, BATCH, sizes[0])

    def step(self) -> None:
        """Run forward and backward with a gradient of the outputs by themselves, and descend."""
        h, inputs = self.samples, []
        for index, (weight, bias, *_) in enumerate(self.layers):
            inputs.append(h)
            h = self.affine(bias, h, weight)
            h = h.relu_() if index + 1 < len(self.layers) else h
        grad: Tensor = h
        for index in reversed(range(len(self.layers))):
            weight, _, by_weight, by_bias = self.layers[index]
            self.product(inputs[index].transpose(-2, -1), grad, out=by_weight)
            torch.sum(grad, -2, keepdim=True, out=by_bias)
            if index:
                grad = self.product(grad, weight.transpose(-2, -1)).mul_(inputs[index] > 0)
        self.count.add_(1)
        torch._fused_adam_(
            [self.flat], [self.gradient], [self.first], [self.second], [], [self.count],
            lr=1e-3, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-5, amsgrad=False, maximize=False,
        )  # fmt: skip


def seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


if __name__ == "__main__":
    with torch.no_grad():
        main()
