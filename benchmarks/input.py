"""Batches per second of the input path with cifar augmentation, against a DataLoader over PIL.

    BNNLAB_DATA=... python benchmarks/input.py [--folder cifar10-images] [--rounds 10] [--threads 1]

A round is an epoch over every fourth training image, the same for all, 128 to a batch: shuffled,
padded by 4, cropped, mirrored, normalised.
bnnlab has them in memory and works on batches; torchvision's CIFAR10 gives one PIL image at a time
to RandomCrop, RandomHorizontalFlip, ToTensor and Normalize, in this process or in two others that
stay. All in turn within every round. Printed: medians (smallest to largest), and the ratios within
a round to either loader. With `--folder`, CIFAR-10 comes from a folder of images.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10

import bnnlab
from bnnlab.interfaces.examples import Examples

BATCH = 128


class Resident(CIFAR10):
    """torchvision's data set over images that are here already."""

    def __init__(self, part: Examples) -> None:
        pixels, labels = part.raw(torch.arange(len(part)))
        self.data = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets = labels.tolist()
        self.target_transform = None
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((part.mean / 255).flatten(), (part.std / 255).flatten()),
            ]
        )


class Ours:
    """An epoch of bnnlab's batches whenever it is iterated over."""

    def __init__(self, part: Examples) -> None:
        self.part, self.draws = part, torch.Generator()

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(self.part), generator=self.draws)
        return self.part.batches(BATCH, order, self.draws)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = {"folder": arguments.folder, "image_size": 32} if arguments.folder else {}
    name = "image-folder" if arguments.folder else "cifar10"
    part = bnnlab.create("stream", name, augment="cifar", **options)[0].train
    part = replace(part, rows=part.rows[::4])
    images = Resident(part)
    contestants = {
        "bnnlab": Ours(part),
        "DataLoader, 0 workers": DataLoader(images, BATCH, shuffle=True),
        "DataLoader, 2 workers": DataLoader(
            images, BATCH, shuffle=True, num_workers=2, persistent_workers=True
        ),
    }
    rates: dict[str, list[float]] = {each: [] for each in contestants}
    for round_ in range(arguments.rounds + 1):
        for each, batches in contestants.items():
            started = time.perf_counter()
            count = sum(1 for _ in batches)
            if round_:  # the first is for warming up
                rates[each].append(count / (time.perf_counter() - started))
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.rounds} rounds")
    print(f"{len(part)} images, {BATCH} to a batch; batches/s, and the ratio to each loader's\n")
    others = [each for each in contestants if each != "bnnlab"]
    for each, found in rates.items():
        ratios = [[a / b for a, b in zip(found, rates[other], strict=True)] for other in others]
        print(f"{each:24}" + "".join(f"{_range(numbers):>26}" for numbers in (found, *ratios)))


def _range(numbers: list[float]) -> str:
    return f"{statistics.median(numbers):.1f} ({min(numbers):.1f} to {max(numbers):.1f})"


if __name__ == "__main__":
    main()
