"""See that a change to the code changed no figure: run six kinds of runs on two checkouts.

    python benchmarks/unchanged.py OTHER_CHECKOUT

Compares every line of metrics.jsonl, and result.json, in all that the other checkout wrote, but for
times. Exits with 1 where they differ.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RUNS = {
    "dfa + meta": "--rule dfa --optimizer meta --set diagnose=true --set fresh=true",
    "bp + bimu": "--rule bp --optimizer bimu --set uncertainty=true --set optimizer.test_draws=4",
    "eqprop + bop": "--rule eqprop --optimizer bop",
    "drtp + adam, convolutions": "--rule drtp --optimizer adam --model vgg-binaryconnect "
    "--set model.width=0.0625",
    "ewc(meta)": "--rule bp --optimizer ewc --set optimizer.base=meta",
    "distill": "--rule distill --optimizer adam --set rule.teacher={teacher}",
}
COMMON = "--stream permuted-digits --set stream.tasks=2 --epochs 2 --batch-size 200 --quiet"
TIMES = {"seconds", "wall_seconds", "time", "run", "run_id", "id"}


def bnn(checkout: Path, words: list[str]) -> None:
    """Run `bnn` with the code of a checkout."""
    sources = [checkout / "core", *sorted(checkout.glob("plugins/*/src"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources))}
    command = [sys.executable, "-m", "bnnlab.cli", *words]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """Return where two JSON values differ, in what the earlier one holds."""
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = [(key, before[key], after.get(key, "missing")) for key in before.keys() - TIMES]
        return [each for key, a, b in pairs for each in differences(a, b, f"{where}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [each for i, (a, b) in pairs for each in differences(a, b, f"{where}[{i}]")]
    return [] if before == after else [f"{where}: {before!r} was, {after!r} is"]


def read(run: Path) -> dict[str, Any]:
    """Return what a run's folder holds of figures."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    result = json.loads((run / "result.json").read_text())
    return {"metrics": [json.loads(line) for line in lines], "result": result}


def main() -> int:
    """Compare this checkout with another one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("other", type=Path)
    other, here = parser.parse_args().other.resolve(), Path(__file__).resolve().parents[1]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(folder) / "teacher"
        words = f"{COMMON} --rule bp --optimizer adam".replace("tasks=2", "tasks=1").split()
        bnn(other, ["run", *words, "--out", folder, "--name", "teacher"])
        for number, (name, chosen) in enumerate(RUNS.items()):
            words = [*COMMON.split(), *chosen.format(teacher=teacher).split()]
            found = []
            for side, checkout in (("other", other), ("here", here)):
                run = f"{number}-{side}"
                bnn(checkout, ["run", *words, "--out", folder, "--name", run])
                found.append(read(Path(folder) / run))
            wrong = differences(*found)
            print(f"{name}: {'DIFFERS' if wrong else 'equal'} in {len(found[0]['metrics'])} lines")
            for each in wrong[:5]:
                print(f"  {each}")
            failed += bool(wrong)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
