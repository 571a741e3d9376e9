"""See which faults the tests find: put one at a time into a copy of the code, and run them.

    python benchmarks/mutations.py [--only TEXT] [--tests OTHER_CHECKOUT]

A fault is one line changed: a sign, a factor, an index, a bound that is left out. The tests named
beside its file must fail. Prints a row for each, with the first test that failed; exits with 1
where a fault survived. With `--tests`, the tests and the kit are those of another checkout: so what
two sets of tests find is compared.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ["tests", "plugins/*/tests", "plugins/testing"]
POSTERIORS = "plugins/bimu/tests plugins/bayesbinn/tests"

FAULTS: dict[tuple[str, str], dict[str, str]] = {  # (file, tests): what stands there, the fault
    ("metaplasticity/optimizer.py", ""): {
        "sub_(0.5)": "sub_(0.4)",
        "clamp_min_(0)": "clamp_max_(0)",
        'group["t"] += 1': 'group["t"] += 2',
        "math.sqrt(context.steps)": "context.steps",
    },
    ("bayesbinn/optimizer.py", ""): {
        "value.mul_(1 - lr)": "value.mul_(1 + lr)",
        "lr * prior_precision > 1": "lr * prior_precision > 9",
        "self.test_draws = 0": "self.test_draws = 1",
        "size.sub_(noisy)": "size.sub(noisy).neg_()",
    },
    ("bimu/optimizer.py", ""): {
        "factor /= -group": "factor /= group",
        "value=1 / memory": "value=2 / memory",
        "self.write(parameter)": "pass",
    },
    ("mesu/mesu.py", ""): {
        "1 / (memory * prior_variance)": "prior_variance / memory",
        ".clamp_(min=SHRINK)": "",
    },
    ("mesu/bgd.py", ""): {"torch.where(x > 0,": "torch.where(x < 0,"},
    ("mesu/gaussian.py", ""): {
        "sigma.clamp_(smallest, largest)": "pass",
        "nan_to_num_(nan=nan, posinf=nan, neginf=nan)": "nan_to_num_()",
    },
    ("bop/optimizer.py", ""): {
        "gt_(threshold)": "ge_(threshold)",
        "count.zero_()": "pass",
        "-kept, kept))": "kept, kept))",
    },
    ("consolidation/ewc.py", ""): {
        "squares.div_(count)": "squares",
        "torch.where(fisher > 0, new / fisher, 0)": "new / fisher",
    },
    ("consolidation/si.py", ""): {"omega.zero_()": "pass"},
    ("consolidation/consolidation.py", ""): {
        "alpha=strength)": "alpha=-strength)",
        "self.base.task_started(context)": "pass",
        "self.base.adopt(parameter)": "pass",
        '**state_dict["base"]': '"class": state_dict["base"]["class"]',
    },
    ("backprop/optimizers.py", ""): {
        'eps=group["eps"]': "eps=1e-3",
        "dampening=0.0": "dampening=0.5",
    },
    ("dfa/feedback.py", ""): {
        "math.sqrt(fan)": "fan",
        "handle.remove()": "pass",
    },
    ("dfa/drtp.py", ""): {"torch.div(y, -len(y))": "torch.div(y, len(y))"},
    ("dfa/rule.py", ""): {
        "frozen_statistics(model)": "frozen_statistics(model.segments[0])",
        "rows * math.prod": "1 * math.prod",
    },
    ("feedback/passage.py", ""): {
        "d = d * (layer.fixed_scale": "d = 1 * (layer.fixed_scale",
        "(args[0].detach(), *args[1:])": "args",
        "_reversed_padding_repeated_twice[::-2]": "_reversed_padding_repeated_twice[::2]",
    },
    ("feedback/kolen_pollack.py", ""): {
        "B.mul_(1 - self.decay)": "B.mul_(1)",
        "return sign(B) if": "return B if",
    },
    ("feedback/sign_symmetric.py", ""): {"math.sqrt(3) * rms": "3 * rms"},
    ("pepita/rule.py", ""): {
        "self.decay**self.steps": "self.decay ** (self.steps - 1)",
        'torch.zeros((), dtype=torch.int64))': "torch.zeros((), dtype=torch.int64), False)",
    },
    ("pepita/passes.py", ""): {
        "correction=0": "correction=1",
        "positions**self.power": "positions",
    },
    ("hsic/dependence.py", ""): {
        "K - K.mean(0)": "K",
        "return C.masked_fill_(rounding, 0)": "return C",
    },
    ("hsic/rule.py", ""): {"(A + A.T) @ f": "2.1 * A @ f"},
    ("eqprop/relaxation.py", ""): {"numbers[1::2]]": "numbers[2::2]]"},
    ("eqprop/rule.py", ""): {"self.relaxed[1] += steps": "self.relaxed[1] += 1"},
    ("vit/distillation.py", ""): {"self.temperature**2": "self.temperature"},
    ("core/families/latent.py", "plugins/backprop/tests"): {
        "latent.clamp_(-self.latent_clip": "latent.clamp(-self.latent_clip",
        "generator=generator) * latent_init": "generator=None) * latent_init",
        "out=parameter)": "out=parameter.clone())",
    },
    ("core/families/posterior.py", POSTERIORS): {
        "torch.sigmoid(2 * self": "torch.sigmoid(-2 * self",
        "u.clamp_(1e-7, 1 - 1e-7)": "pass",
        "parameter.detach() * size": "size",
    },
    ("core/families/draws.py", "tests/test_draws.py"): {"grad * count if": "grad if"},
    ("core/families/local.py", "plugins/dfa/tests plugins/hsic/tests"): {
        "x = output.detach()": "x = output",
        "loss = batch.loss(logits": "loss = 2 * batch.loss(logits",
    },
    ("core/interfaces/optimizer.py", POSTERIORS): {
        "generator.set_state(state)": "pass",
        "lr if real_lr is None else real_lr": "lr",
        "if parameters and not group": "if parameters and group",
    },
    ("core/interfaces/optimizer_state.py", "tests/test_devices.py"): {
        'alike = value.is_floating_point() and': "alike =",
    },
    ("core/interfaces/rule.py", "plugins/backprop/tests plugins/dfa/tests"): {
        "in self._names:\n            parameter.grad = None": "in ():\n            pass",
    },
    ("core/interfaces/rule.py", POSTERIORS): {
        "grads[parameter].mean(0)": "grads[parameter].sum(0)",
    },
    ("core/interfaces/examples.py", "tests/test_stream.py"): {
        "rest == 1 and full > 0": "rest == 2 and full > 0",
    },
    ("core/interfaces/consistency.py", "tests/test_watched.py tests/test_written.py"): {
        "watch.forget()  # it may": "pass  #",
    },
    ("core/nn/binary_layer.py", "tests/test_layers.py"): {
        "1 / math.sqrt(fan_in or 1)": "1 / (fan_in or 1)",
    },
    ("core/nn/activations.py", "tests/test_layers.py"): {
        "return x.abs() <= clip": "return x.abs() <= 2 * clip",
    },
    ("core/nn/dropout.py", "tests/test_dropout.py"): {
        "self.drawn.add_(1)": "pass",
        "/ (1 - self.rate)": "",
        "self.seed ^ ": "",
    },
    ("core/nn/initialisation.py", "tests/test_initialisation.py"): {
        "math.sqrt(2 / (inputs + outputs))": "math.sqrt(1 / (inputs + outputs))",
        "model.initial_latents[names[weight]] = drawn": "pass",
    },
    ("core/nn/normalization.py", "tests/test_normalization.py"): {
        "momentum = 1 / self.measured": "pass",
    },
    ("core/seeds.py", "tests/test_seeds.py"): {">> 1": ">> 2"},
    ("core/engine/continual.py", "tests/test_continual.py"): {
        "max(history) - final": "history[0] - final",
    },
    ("core/engine/evaluation.py", "tests/test_evaluation.py"): {
        "probabilities + p / max(1, draws)": "probabilities + p / max(2, draws)",
    },
    ("core/engine/held_out.py", "tests/test_held_out.py"): {
        "replace(task, test=task.validation)": "task",
    },
    ("core/engine/preparing.py", "tests/test_held_out.py"): {
        'if config.evaluate_on == "test":': "if True:",
    },
    ("core/engine/protocol.py", "tests/test_held_out.py"): {
        "whole {config.evaluate_on} part": "whole test part",
    },
    ("core/engine/copies.py", "tests/test_checking.py"): {
        "task.scored_on: task.test": '"test": task.test',
    },
    ("testing/lives.py", "plugins/testing/tests"): {"raise _Interruption": "pass"},
    ("testing/asserting.py", "plugins/testing/tests"): {
        "if not torch.allclose": "if not torch.is_tensor",
    },
}  # fmt: skip


def path_of(file: str) -> str:
    """Return a file's path in a checkout."""
    room, _, rest = file.partition("/")
    return f"core/bnnlab/{rest}" if room == "core" else f"plugins/{room}/src/bnnlab_{room}/{rest}"


def copied(target: Path, tests: Path) -> Path:
    """Copy this checkout, with the tests of another."""
    aside = shutil.ignore_patterns(".*", "__pycache__", "runs")
    shutil.copytree(ROOT, target, ignore=aside)
    if tests != ROOT:
        for pattern in TESTS:
            for old in target.glob(pattern):
                shutil.rmtree(old)
            for new in tests.glob(pattern):
                shutil.copytree(new, target / new.relative_to(tests), ignore=aside)
    return target


def failing(checkout: Path, tests: str) -> str:
    """Run tests, contracts last; return the first one that fails, or the empty string."""
    sources = [checkout / "core", *sorted(checkout.glob("plugins/*/src"))]
    folders = [checkout / each for each in tests.split()]
    files = [
        file for each in folders for file in (each.glob("test_*.py") if each.is_dir() else [each])
    ]
    files.sort(key=lambda file: (file.stem == "test_contract", file))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-xqm", "not slow", "-p", "no:cacheprovider", *files],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return found[1] if found else f"exit code {done.returncode}: {done.stdout[-300:]}"


def main() -> int:
    """Try every fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="faults with this text in file or line")
    parser.add_argument("--tests", type=Path, default=ROOT, help="whose tests are run")
    given = parser.parse_args()
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        checkout = copied(Path(folder) / "checkout", given.tests.resolve())
        for (file, tests), lines in FAULTS.items():
            place = checkout / path_of(file)
            right = place.read_text(encoding="utf-8") if place.exists() else ""
            for old, new in lines.items():
                if given.only not in f"{file} {old}":
                    continue
                begun, found = time.perf_counter(), "no such line, or several"
                verdict = "GONE"
                if right.count(old) == 1:
                    place.write_text(right.replace(old, new), encoding="utf-8")
                    found = failing(checkout, tests or f"plugins/{file.partition('/')[0]}/tests")
                    place.write_text(right, encoding="utf-8")
                    verdict = "found" if found else "SURVIVED"
                survived += verdict != "found"
                seconds = time.perf_counter() - begun
                print(f"{verdict:8} {seconds:4.0f} s  {file}: {old!r} {found}", flush=True)
    return min(1, survived)


if __name__ == "__main__":
    sys.exit(main())
