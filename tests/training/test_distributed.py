"""Two processes that talk over loopback are one process with the same global batch."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = '''
import json, sys
import torch
from torch import nn
from torch.utils.data import TensorDataset
from accelerate import Accelerator
from stitchwork.training import Recipe, evaluate, fit

def main(folder, resume):
    """A network without BatchNorm, whose statistics would be those of each process's share of the batch."""
    torch.manual_seed(Accelerator(mixed_precision="no").process_index)  # the weights of process 0 count
    model = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3))
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(61) % 3
    x = torch.eye(3).repeat(1, 2)[y] * 2 + torch.randn(61, 6, generator=generator)
    train, valid = TensorDataset(x[:50], y[:50]), TensorDataset(x[50:], y[50:])
    recipe = Recipe(epochs=3, batch_size=8, lr=0.01, ema=0.9, clip_norm=0.5)
    history = fit(model, train, valid, recipe, checkpoint_dir=folder, resume=resume, progress=False)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
    return {"history": history.drop(columns="seconds").to_dict("list"), "weights": weights,
            "processes": Accelerator(mixed_precision="no").num_processes, "score": evaluate(model, valid)}
'''
TAIL = """
if __name__ == "__main__":
    result = main(sys.argv[1], False)
    result["again"] = main(sys.argv[1], True)["history"] == result["history"]
    rank = Accelerator(mixed_precision="no").process_index
    with open(f"{sys.argv[1]}-{rank}.json", "w") as file:
        json.dump(result, file)
    torch.distributed.destroy_process_group()
"""


def launch(script, *arguments, processes=2):
    """Run a script in several processes, on the CPU and the loopback interface."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo"}
    if sys.platform != "linux":
        del environment["GLOO_SOCKET_IFNAME"]  # the loopback interface has another name there
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*command, str(script), *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.skipif(sys.platform == "win32", reason="torch's Windows wheels start no rendezvous server (no libuv)")
def test_two_processes_are_one(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + TAIL)
    done = launch(script, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads((tmp_path / f"two-{rank}.json").read_text()) for rank in range(2)]

    scope = {}
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    exec(SCRIPT, scope)
    one = scope["main"](tmp_path / "one", False)
    assert one["processes"] == 1
    for result in results:
        assert result["processes"] == 2
        assert result["again"]
        for column, values in one["history"].items():
            assert result["history"][column] == pytest.approx(values, abs=1e-5), column
        assert result["weights"] == pytest.approx(one["weights"], abs=1e-5)
        assert result["score"] == pytest.approx(one["score"], abs=1e-5)
    assert results[0]["weights"] == results[1]["weights"]
