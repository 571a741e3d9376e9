"""What code of others sets for the whole process is put back, and said with its name."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import numpy.random
import pytest
import torch

import bnnlab
from bnnlab import PluginHost
from bnnlab.guards import ambient
from bnnlab_testing.pytest_plugin import MakePlugin

PLUGIN = """
from bnnlab import Component, Kind, hookimpl

{top}

@hookimpl
def bnnlab_components():
    given = frozenset({{"gradients", "reevaluable"}})
    component = Component(
        Kind.RULE, "acme-rule", "acme_rule:Rule", "A thing.", "Nobody, 2020", provides=given
    )
    return [component]
"""
RULE = """
import torch
from bnnlab_backprop.rule import Backpropagation

{top}

class Rule(Backpropagation):
    def __init__(self):
        super().__init__()
        {made}

    def attach(self, model, generator):
        {attached}
"""
DOUBLE = "torch.set_default_dtype(torch.float64)"
CHANGES = {
    "torch's default dtype": DOUBLE,
    "torch's default device": "torch.set_default_device('meta')",
    "torch's number of threads": "torch.set_num_threads(torch.get_num_threads() + 1)",
    "torch's gradient mode": "torch.set_grad_enabled(False)",
    "torch's deterministic mode": "torch.use_deterministic_algorithms(True, warn_only=True)",
    "torch's matmul precision": "torch.set_float32_matmul_precision('medium')",
    "torch's autocast on cpu": "torch.set_autocast_enabled('cpu', True)",
    "torch's random generator": "torch.manual_seed(7)",
    "torch.backends.mkldnn.enabled": "torch.backends.mkldnn.enabled = False",
    "torch's fast path of attention": "torch.backends.mha.set_fastpath_enabled(False)",
    "torch's math_sdp attention": "torch.backends.cuda.enable_math_sdp(False)",
    "torch.backends.cudnn.benchmark": "torch.backends.cudnn.benchmark = True",
    "torch.backends.cuda.matmul.allow_tf32": "torch.backends.cuda.matmul.allow_tf32 = True",
    "torch's global forward hooks": (
        "torch.nn.modules.module.register_module_forward_hook(lambda m, a, y: y * 1.01)"
    ),
    "torch's global forward pre hooks": (
        "torch.nn.modules.module.register_module_forward_pre_hook(lambda m, a: a)"
    ),
    "torch's global backward hooks": (
        "torch.nn.modules.module.register_module_full_backward_hook(lambda m, a, b: a)"
    ),
    "torch's global parameter registration hooks": (
        "torch.nn.modules.module.register_module_parameter_registration_hook(lambda m, n, p: p)"
    ),
    "torch's global optimizer pre hooks": (
        "from torch.optim.optimizer import register_optimizer_step_pre_hook as register\n"
        "register(lambda o, a, k: None)"
    ),
    "torch's hooks for saved tensors": (
        "torch.autograd.graph.saved_tensors_hooks(torch.neg, torch.neg).__enter__()"
    ),
    "torch's modes for functions": "torch.overrides.BaseTorchFunctionMode().__enter__()",
    "torch's modes for operations": (
        "from torch.utils._python_dispatch import TorchDispatchMode as Mode\n"
        "class Zero(Mode):\n"
        "    def __torch_dispatch__(self, f, types, args=(), kwargs=None):\n"
        "        return f(*args, **(kwargs or {}))\n"
        "Zero().__enter__()"
    ),
    "NumPy's random generator": "np.random.seed(7)",
    "the working directory": "os.chdir('..')",
    "what logging leaves out": (
        "import logging; logging.disable(logging.ERROR)\n"
        "logging.getLogger('bnnlab.engine.training').disabled = True"  # as logging.config does
    ),
    "the environment variable OMP_NUM_THREADS": "os.environ['OMP_NUM_THREADS'] = '77'",
    "the environment variable BNNLAB_DATA": "os.environ['BNNLAB_DATA'] = '/nowhere'",
}


SLOW = "torch's deterministic mode", "torch's modes for operations"  # import torch's compiler
if not hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"):  # torch 2.6 lists none
    del CHANGES["torch's hooks for saved tensors"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CHANGES]
)
def test_what_changes_is_put_back_and_named(caplog: pytest.LogCaptureFixture, name: str) -> None:
    before = ambient.look()
    with ambient.kept("acme"):
        exec(CHANGES[name], {"torch": torch, "np": np, "os": os})
        assert name in ambient.differing(before)
    assert not ambient.differing(before)
    (record,) = caplog.records
    assert record.getMessage().startswith("acme changed ")
    assert name in record.getMessage()


def test_a_hook_of_before_stays_and_can_be_removed(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[object] = []
    hook = torch.nn.modules.module.register_module_forward_hook(lambda m, _, y: seen.append(m))
    try:
        with ambient.kept("acme"):
            hook.remove()
        torch.nn.Identity()(torch.ones(1))
        assert len(seen) == 1
        assert "acme changed torch's global forward hooks" in caplog.text
    finally:
        hook.remove()
    torch.nn.Identity()(torch.ones(1))
    assert len(seen) == 1


def test_modes_and_the_default_device_are_put_back_together() -> None:
    before = ambient.look()
    with ambient.kept("acme"):
        torch.overrides.BaseTorchFunctionMode().__enter__()
        torch.set_default_device("meta")
    assert not ambient.differing(before)
    with torch.device("meta"), ambient.kept("acme"):
        torch.overrides.BaseTorchFunctionMode().__enter__()
    assert not ambient.differing(before)
    assert torch.ones(1).device.type == "cpu"


def test_of_two_threads_at_once_neither_puts_back_what_the_other_has_changed() -> None:
    """The second begins while the first has changed the state, and ends after it."""
    before, changed, begun, ended = ambient.look(), Event(), Event(), Event()

    def first() -> None:
        with ambient.kept("acme"):
            torch.set_default_dtype(torch.float64)
            changed.set()
            begun.wait(10)
        ended.set()

    def second() -> None:
        changed.wait(10)
        with ambient.kept("other"):
            begun.set()
            ended.wait(10)

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(first), pool.submit(second)]:
            each.result()
    assert not ambient.differing(before)


def test_where_nothing_changes_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with ambient.kept("acme"), torch.no_grad():
        torch.rand(3, generator=torch.Generator())
    assert not caplog.records


def test_libraries_may_draw_from_pythons_generator_and_it_is_put_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = random.getstate()
    with ambient.kept("acme"):
        random.random()
    assert random.getstate() == before
    assert not caplog.records


def test_what_an_error_leaves_is_put_back_too() -> None:
    def leave() -> None:
        torch.set_grad_enabled(False)
        raise LookupError

    with pytest.raises(LookupError), ambient.kept("acme"):
        leave()
    assert torch.is_grad_enabled()


def test_what_cannot_be_put_back_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = tmp_path / "lost"
    lost.mkdir()
    monkeypatch.chdir(lost)

    def leave() -> None:
        os.chdir("..")
        lost.rmdir()

    message = "changed the working directory, which cannot be put back"
    with pytest.raises(RuntimeError, match=message), ambient.kept("acme"):
        leave()


def test_an_inference_mode_that_is_not_left_is_an_error() -> None:
    mode = torch.inference_mode()
    message = "torch's inference mode, which cannot be put back"
    try:
        with pytest.raises(RuntimeError, match=message), ambient.kept("acme"):
            mode.__enter__()
    finally:
        mode.__exit__(None, None, None)
    assert torch.is_grad_enabled()


def test_a_keeper_of_several_blocks_says_of_each_what_it_changed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, keeper, mode = ambient.look(), ambient.Keeper(), torch.inference_mode()
    with ambient.kept("acme", keeper=keeper):
        torch.set_default_dtype(torch.float64)
    with ambient.kept("fine", keeper=keeper):
        pass
    try:
        with pytest.raises(RuntimeError, match="inference mode"), ambient.kept("bad", None, keeper):
            mode.__enter__()
        with ambient.kept("fine, too", keeper=keeper):
            pass
    finally:
        mode.__exit__(None, None, None)
    assert not ambient.differing(before)
    assert [each.getMessage() for each in caplog.records] == [
        "acme changed torch's default dtype: put back."
    ]


def test_a_keeper_of_several_blocks_remembers_what_the_first_has_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "numpy.random")
        keeper = ambient.Keeper()
    before = ambient.look()
    with ambient.kept("acme", keeper=keeper):
        pass
    with ambient.kept("other", keeper=keeper):
        np.random.seed(7)
    assert not ambient.differing(before)


RUN = {
    "stream": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [4]},
    "optimizer": "adam",
    "device": "cpu",
    "epochs": 1,
}


@pytest.mark.parametrize("at", ["plugin", "top", "made", "attached"])
def test_a_plugin_that_sets_a_default_dtype_changes_no_figure(
    make_plugin: MakePlugin, caplog: pytest.LogCaptureFixture, at: str
) -> None:
    plain = bnnlab.run({**RUN, "rule": "bp"})
    places = {"top": "", "made": "pass", "attached": "pass", at: DOUBLE}
    top = f"import torch; {DOUBLE}" if at == "plugin" else ""
    make_plugin("acme-odd", PLUGIN.format(top=top), modules={"acme_rule": RULE.format_map(places)})
    host = PluginHost()
    own = bnnlab.run({**RUN, "rule": "acme-rule"}, host=host)
    assert own.accuracy == bnnlab.run({**RUN, "rule": "bp"}, host=host).accuracy == plain.accuracy
    assert torch.get_default_dtype() is torch.float32
    said = [each.getMessage() for each in caplog.records]
    assert len(said) == 1
    assert "acme-odd" in said[0]
    assert "changed torch's default dtype: put back" in said[0]


FRESH = """
import sys
from bnnlab import PluginHost

PluginHost()
assert "torch" in sys.modules, "the plugin imports it"
import os
import torch
print(torch.get_default_dtype(), torch.get_num_threads(), os.environ["OMP_NUM_THREADS"])
"""


@pytest.mark.slow  # a process that imports torch
def test_a_plugin_that_imports_torch_itself_cannot_set_its_defaults_either(
    make_plugin: MakePlugin,
) -> None:
    top = f"import os; os.environ['OMP_NUM_THREADS'] = '3'\nimport torch; {DOUBLE}"
    make_plugin("acme-odd", PLUGIN.format(top=top))
    done = subprocess.run(
        [sys.executable, "-c", FRESH],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["torch.float32", "1", "1"]
    assert "acme-odd/acme_odd" in done.stderr
    assert "the environment variable OMP_NUM_THREADS, torch's default dtype" in done.stderr
