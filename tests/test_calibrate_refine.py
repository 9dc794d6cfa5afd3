"""derf.calibrate with refine, and on several processes."""

import subprocess
import sys
from pathlib import Path

import derf
import pytest
import torch
from calibration import batches, network
from torch import nn


class WithLogits(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network(norm=nn.RMSNorm, depth=4)

    def forward(self, x):
        return {"logits": self.body(x)}


@pytest.mark.parametrize("logits", [False, True])
def test_refine_brings_the_output_nearer_and_moves_derfs_alone(logits):
    def made():
        return WithLogits() if logits else network(norm=nn.RMSNorm, depth=4)

    def distance(model, x):
        found, wanted = model.eval()(x), original(x)
        if not logits:
            return ((found - wanted).square().mean() / wanted.var()).item()
        found, wanted = found["logits"].softmax(-1), wanted["logits"].softmax(-1)
        return (wanted * (wanted / found).log()).sum(-1).mean().item()

    original, data, fresh = made().eval(), batches(4, 200), batches(5, 200)[-1]
    plain = derf.calibrate(made(), data, progress=False)
    refined, report = derf.calibrate(made(), data, refine=30, progress=False, return_report=True)
    # A small random network leaves little to win, all of it at held-out data.
    assert distance(refined, fresh) < 0.9 * distance(plain, fresh)
    assert report.notes[0].startswith("refined in 30 steps: distance")
    said = [float(word) for word in report.notes[0].replace(",", "").split() if word[0].isdigit()][1:]
    for model, value in zip((plain, refined), said, strict=True):
        # The report's digits; float32 sums.
        assert value == pytest.approx(sum(distance(model, x) for x in data) / 4, rel=0.01)
    for name, parameter in original.named_parameters():
        if "norm" not in name and ".5" not in name and name[0] != "5":
            assert torch.equal(parameter, dict(refined.named_parameters())[name])
    assert all(parameter.grad is None for parameter in refined.parameters())


def test_the_report_says_where_refine_is_worth_its_time():
    """Rows whose sizes differ by a factor of 100: no pointwise function follows their norm."""
    data = [torch.randn(400, 6) * torch.logspace(-1, 1, 400)[:, None]]
    said = "0 follows its norm badly (R² 0."
    for steps in (0, 2):
        model = nn.Sequential(nn.RMSNorm(6), nn.Linear(6, 2))
        _, report = derf.calibrate(model, data, refine=steps, progress=False, return_report=True)
        assert report.layers[0].r2 < 0.8 and report.refined == bool(steps) and (said in str(report)) != bool(steps)
    alike = [torch.randn(400, 64)]
    _, report = derf.calibrate(nn.Sequential(nn.LayerNorm(64)), alike, progress=False, return_report=True)
    assert min(layer.r2 for layer in report.layers) > 0.8 and "badly" not in str(report)


def test_every_process_gets_the_same(tmp_path):
    """Two processes with half of the batches each, and one with all of them; then with refine."""
    program = f"""
import sys, torch, derf
sys.path.insert(0, {str(Path(__file__).parent)!r})
from calibration import batches, network
rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method="file://{tmp_path}/store", rank=rank, world_size=2)
model = derf.calibrate(network(), batches(4, 2048)[rank::2], mode="parallel", progress=False)
torch.save(model.state_dict(), f"{tmp_path}/parallel{{rank}}.pt")
for name, data in {{"own": batches(4, 2048)[rank::2], "alike": batches()}}.items():
    model = derf.calibrate(network(), data, refine=6, progress=False)
    torch.save(model.state_dict(), f"{tmp_path}/{{name}}{{rank}}.pt")
# No Derf follows the first norm on the rows of process 0; on those of process 1 one does.
sizes = torch.logspace(-1, 1, 400)[:, None] if rank == 0 else 1
data = [sizes * torch.randn(400, 16)]
model = torch.nn.Sequential(torch.nn.LayerNorm(16), torch.nn.Linear(16, 64), torch.nn.LayerNorm(64))
model = derf.calibrate(model, data, min_r2=0.9, progress=False)
assert [type(module).__name__ for module in model[::2]] == ["LayerNorm", "Derf"], model
try:
    derf.calibrate(network(), batches() if rank else [], progress=False)
except (RuntimeError, ValueError) as error:
    assert "must not be empty" in str(error), error
    import os
    os._exit(0)  # after all results are written: gloo's threads abort at exit now and then
raise AssertionError("an empty share of the batches was taken")
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(rank)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    first, second = (torch.load(tmp_path / f"parallel{rank}.pt") for rank in range(2))
    # One process takes batch 0 first as well, so it finds the same alpha.
    alone = derf.calibrate(network(), batches(4, 2048), mode="parallel", progress=False).state_dict()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
    own, other = (torch.load(tmp_path / f"own{rank}.pt") for rank in range(2))
    assert all(torch.equal(value, other[name]) for name, value in own.items())
    assert not torch.equal(
        own["1.norm.alpha"], derf.calibrate(network(), batches(4, 2048), progress=False)[1].norm.alpha
    )
    # Where all have the same batches the mean of their gradients is one's own: doubled and halved.
    alone = derf.calibrate(network(), batches(), refine=6, progress=False).state_dict()
    for rank in range(2):
        for name, value in torch.load(tmp_path / f"alike{rank}.pt").items():
            torch.testing.assert_close(value, alone[name], rtol=1e-5, atol=1e-6)
