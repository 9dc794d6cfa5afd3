"""`python -m benchmarks.training`: a smoke run of all of it; and seeds, kills, full disks, as long runs meet them."""

import copy
import importlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import derf
import pytest
import torch
import zoo
from torch import nn

for name in ("diffusers", "timm", "transformers"):
    zoo.library(name)
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").exists(), reason="benchmarks are not beside the tests")
COMMAND = [sys.executable, "-m", "benchmarks.training"]


@pytest.fixture(scope="module", autouse=True)
def path():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        yield


def module(name):
    return importlib.import_module(f"benchmarks.training.{name}")


def call(*arguments, command=COMMAND, **options):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [*command, *map(str, arguments)]
    return subprocess.run(
        words,
        cwd=ROOT,
        env=environment | options.pop("env", {}),
        capture_output=True,
        text=True,
        timeout=900,
        **options,
    )


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def results(file):
    """What must be the same whenever a run is the same."""
    found = {json.dumps(row["run"], sort_keys=True): (row["curve"], row["fit"], row["measures"]) for row in rows(file)}
    assert len(found) == len(rows(file)), "a run was made twice"
    return found


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """All systems with all entrants, and all studies."""
    out = tmp_path_factory.mktemp("smoke")
    studies = [name for name in module("studies").STUDIES if name != "fit"]  # which is what the comparison has
    everything = (["--all", "caduceus", "--seeds", "2", "--norms", *module("norms").NORMS], ["--study", *studies])
    for arguments in everything:
        finished = call(*arguments, "--smoke", "--out", out)
        assert finished.returncode == 0, finished.stderr
    return out, finished.stdout


def test_smoke_of_all_systems_and_studies(smoke):
    out, printed = smoke
    norms, studies, system = module("norms").NORMS, module("studies"), module("system")
    page = (out / "README.md").read_text()
    for name in (*system.NAMES, *system.MORE):
        found = rows(out / f"{name}.jsonl")
        task = system.system(name, "smoke")
        for norm in norms:
            mine = [row for row in found if row["run"]["norm"] == norm]
            assert {row["run"]["lr"] for row in mine if row["run"]["part"] == "grid"} == set(task.scale.lrs)
            assert [row["run"]["seed"] for row in mine if row["run"]["part"] == "comparison"] == [1, 2]
        for row in found:
            assert len(row["curve"]) == task.scale.steps and math.isfinite(row["measures"][task.measure])
            assert row["settings"] == task.settings() and row["versions"]["torch"] == torch.__version__
        assert f"## {task.title}" in page and task.title in printed
    parts = {row["run"]["part"] for file in out.glob("*.jsonl") for row in rows(file)}
    assert parts == {"grid", "comparison", *studies.STUDIES} - {"fit"}
    assert all(f"## Study {name}:" in page for name in studies.STUDIES)
    pictures = re.findall(r"!\[\]\((.*)\)", page)
    assert len(pictures) == 6 + len(studies.STUDIES) - 1
    assert all((out / picture).stat().st_size > 5000 for picture in pictures)
    assert not list((out / "checkpoints").iterdir())  # of runs that are over
    for private in (str(ROOT), str(Path.home()), sys.prefix):
        assert private not in page + "".join(file.read_text() for file in out.glob("*.jsonl"))


def test_the_page_is_made_of_the_lines_alone(smoke, tmp_path):
    out, _ = smoke
    for file in out.glob("*.jsonl"):
        (tmp_path / file.name).write_text(file.read_text())
    assert call("--report", "--out", tmp_path).returncode == 0
    assert (tmp_path / "README.md").read_text() == (out / "README.md").read_text()


ONE = ["gpt2", "--smoke", "--seeds", "1", "--norms", "derf", "derf-start"]


def test_workers_and_seeds_give_the_same_bits(smoke, tmp_path):
    finished = call(*ONE, "--workers", "2", "--out", tmp_path)
    assert finished.returncode == 0, finished.stderr
    mine, before = results(tmp_path / "gpt2.jsonl"), results(smoke[0] / "gpt2.jsonl")
    assert len(mine) == 6 and all(before[key] == value for key, value in mine.items())
    curves = {key: str(value) for key, value in before.items()}
    assert len(set(curves.values())) > len(curves) / 2  # other seeds give other curves


def test_torchrun_trains_one_model_on_two_processes(smoke, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29611"]
    finished = call(*ONE, "--out", tmp_path, command=[*torchrun, "-m", "benchmarks.training"])
    assert finished.returncode == 0, finished.stderr
    found = rows(tmp_path / "gpt2.jsonl")
    assert len(found) == 6 and {row["processes"] for row in found} == {2}
    before = results(smoke[0] / "gpt2.jsonl")
    for key, (curve, fit, _) in results(tmp_path / "gpt2.jsonl").items():
        # The sums of a batch are rounded in another order, some 1e-7; Adam makes 100 times as much of it in 6 steps.
        torch.testing.assert_close(torch.tensor(curve), torch.tensor(before[key][0]), rtol=2e-4, atol=0)
        assert fit == pytest.approx(before[key][1], rel=2e-4)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from benchmarks.training.runs import Run
from benchmarks.training import trainer
made = 0
def tick(steps):
    global made
    made += steps
    if made == {step}: os.kill(os.getpid(), signal.SIGKILL)
if {saving}:
    torch.save = lambda state, file: (file.write(b"half of it"), os.kill(os.getpid(), signal.SIGKILL))
trainer.train(Run("{system}", "derf-start", 4e-3, 1, "comparison"), "smoke", Path(sys.argv[1]), tick=tick)
"""


@pytest.mark.parametrize("system", ["gpt2", "vit", "wav2vec2"])  # plain, with an average of weights, with noise
def test_a_killed_run_goes_on_and_ends_as_if_nothing_was(system, tmp_path):
    torch.set_num_threads(1)
    trainer, runs = module("trainer"), module("runs")
    run = runs.Run(system, "derf-start", 4e-3, 1, "comparison")
    whole = trainer.train(run, "smoke", tmp_path / "whole")
    for step, saving in ((3, False), (5, True)):
        killed = call(
            "-c", KILLED.format(step=step, saving=saving, system=system), tmp_path / "cut", command=[sys.executable]
        )
        assert killed.returncode == -9, killed.stderr
    made = []
    again = trainer.train(run, "smoke", tmp_path / "cut", tick=made.append)
    # Killed in step 3, before it was saved, and then while step 3 was being saved.
    assert made[0] == 2 and sum(made) == len(whole["curve"])
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}


def test_a_checkpoint_of_another_run_is_not_gone_on_from(tmp_path):
    torch.set_num_threads(1)
    trainer, runs, system = module("trainer"), module("runs"), module("system")
    run = runs.Run("gpt2", "layernorm", 4e-3, 1, "grid")
    trainer.train(run, "smoke", tmp_path)
    path, _ = trainer.checkpoint(run, system.system("gpt2", "smoke"), tmp_path)
    other = runs.Run("gpt2", "layernorm", 4e-3, 2, "grid")
    path.rename(trainer.checkpoint(other, system.system("gpt2", "smoke"), tmp_path)[0])
    made = []
    trainer.train(other, "smoke", tmp_path, tick=made.append)
    assert made[0] == 0


def test_a_command_that_was_killed_goes_on(smoke, tmp_path):
    before = rows(smoke[0] / "gpt2.jsonl")
    keep = [row for row in before if row["run"]["part"] == "grid" and row["run"]["norm"] == "derf"]
    file = tmp_path / "gpt2.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in keep) + json.dumps(before[-1])[:100])  # cut off
    finished = call(*ONE, "--out", tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert rows(file)[: len(keep)] == keep and len(rows(file)) == 6
    assert all(results(smoke[0] / "gpt2.jsonl")[key] == value for key, value in results(file).items())


def test_a_full_disk_loses_nothing_that_was_there(tmp_path):
    assert call("gpt2", "--smoke", "--seeds", "1", "--norms", "none", "--out", tmp_path).returncode == 0
    before = (tmp_path / "gpt2.jsonl").read_bytes()
    limit = len(before) + 300  # bytes of a file: no checkpoint and no line fits
    script = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from benchmarks.training.__main__ import main; raise SystemExit(main())"
    )
    finished = call("-c", script, *ONE, "--out", tmp_path, command=[sys.executable])
    assert finished.returncode == 1 and "could not be written" in finished.stderr, finished.stderr
    assert "Traceback" not in finished.stderr
    assert (tmp_path / "gpt2.jsonl").read_bytes() == before and not list((tmp_path / "checkpoints").iterdir())
    results_of = module("runs").Results
    kept = results_of(tmp_path / "gpt2.jsonl", module("system").system("gpt2", "smoke").settings())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(module("runs").Refused, match="No space left"):
            kept.add(kept.rows[0])
    assert (tmp_path / "gpt2.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("bert", "unknown system 'bert': it must be one of vit, dit, wav2vec2, dna, gpt2, caduceus"),
        ("vit --norms batchnorm", "unknown norm 'batchnorm': it must be one of layernorm, rmsnorm, dyt"),
        ("--study nothing", "unknown study 'nothing': it must be one of fit, alpha-adamw"),
        ("vit --seeds 0", "--seeds must be at least 1, but is 0"),
        ("vit --workers 0", "--workers must be at least 1"),
        ("vit --smoke --gpu", "exclude each other"),
        ("", "name systems (vit, dit"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        module("__main__").main(arguments.split())
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_results_of_other_settings_are_refused(smoke, tmp_path):
    row = rows(smoke[0] / "vit.jsonl")[0]
    row["settings"]["steps"] = 7
    (tmp_path / "vit.jsonl").write_text(json.dumps(row) + "\n")
    finished = call("vit", "--smoke", "--out", tmp_path)
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert "results of other settings: steps is 7 there and 6 now" in finished.stderr
    (tmp_path / "vit.jsonl").write_text("no JSON\n")
    assert "is no file of results" in call("vit", "--smoke", "--out", tmp_path).stderr


@pytest.mark.parametrize("name", ["vit", "dit", "wav2vec2", "dna", "gpt2", "caduceus"])
def test_entrants_stand_in_the_same_places_with_the_same_weights(name):
    norms, task = module("norms"), module("system").system(name, "smoke")
    models, batch = {}, task.batch("train", 0, 0)
    for norm, (_, prepare) in norms.NORMS.items():
        models[norm], _ = prepare(task.make(3), task, {})
    places = norms.sites(task.make(3), task)
    kinds = {"layernorm": nn.LayerNorm, "rmsnorm": nn.RMSNorm, "none": nn.Identity, "derf": derf.Derf}
    kinds |= {"derf-start": derf.Derf, "dyt": derf.DyT, "dyt-start": derf.DyT}
    for norm, model in models.items():
        assert len(places) >= 3 or name == "caduceus"
        # (A DiT's Derfs are modulated ones, a kind of them.)
        assert all(isinstance(model.get_submodule(place), kinds[norm]) for place in places)
        theirs = dict(task.make(3).named_parameters())
        for key, value in model.named_parameters():
            if not any(key.startswith(place + ".") for place in places) and not key.endswith(".scale"):
                assert torch.equal(value, theirs[key]), key
    if name not in ("dna", "caduceus"):  # whose own norms are LayerNorms with another eps, and RMSNorms
        torch.manual_seed(0)
        mine = task.loss(models["layernorm"].eval(), batch)
        torch.manual_seed(0)
        torch.testing.assert_close(mine, task.loss(task.make(3).eval(), batch), rtol=1e-3, atol=0)
    for place in places:  # as steep at 0 as one another
        steep, steep_too = (models[norm].get_submodule(place) for norm in ("derf-start", "dyt-start"))
        weights = [1.0 if layer.weight is None else layer.weight.mean().item() for layer in (steep, steep_too)]
        slope = 2 / math.sqrt(math.pi) * steep.alpha.item() * weights[0]
        assert steep_too.alpha.item() * weights[1] == pytest.approx(slope, rel=1e-5)


def test_a_shift_for_each_channel_with_one_alpha():
    norms, task = module("norms"), module("system").system("vit", "smoke")
    model, _ = norms.pointwise(task.make(0), task, {"shift": "channel"})
    layers = [layer for layer in model.modules() if isinstance(layer, derf.PointwiseNorm)]
    torch.nn.init.normal_(model.head.weight)  # zero at first, and then no gradient goes further
    task.loss(model, task.batch("train", 0, 0)).backward()
    for layer in layers:
        assert layer.alpha.shape == layer.shift.shape == (32,) and layer.parametrizations.alpha.original.numel() == 1
        assert layer.parametrizations.alpha.original.grad.abs() > 0 and layer.shift.grad.unique().numel() > 16


def row(norm, lr, value, part="grid", seed=0, failed=False):
    run = {"system": "vit", "norm": norm, "lr": lr, "seed": seed, "part": part, "options": {}}
    return {"run": run, "measures": {"accuracy, %": value}, "failed": failed, "last": 1.0, "fit": 0.1, "curve": [1.0]}


def test_the_grid_grows_where_its_best_is_at_an_end():
    studies, task = module("studies"), module("system").system("vit")
    low, middle, high = task.scale.lrs
    found = [row("derf", low, 80.0), row("derf", middle, 90.0), row("derf", high, 95.0)]
    plan = list(studies.comparison(task, found, ("derf",), 3))
    assert {run.lr for run in plan} == {low, middle, high, 2 * high} and {run.part for run in plan} == {"grid"}
    assert all(run.split == "validation" for run in plan)
    plan = list(studies.comparison(task, [*found, row("derf", 2 * high, 99.0, failed=True)], ("derf",), 3))
    assert [(run.lr, run.seed, run.part, run.split) for run in plan] == [
        (high, seed, "comparison", "test") for seed in (1, 2, 3)
    ]


def test_intervals_and_verdicts():
    statistics, report, task = module("statistics"), module("report"), module("system").system("vit")
    found = statistics.mean([1.0, 2.0, 4.0])
    # By hand: the standard deviation is sqrt(7/3), Student's t with two degrees of freedom 4.302653.
    assert found.value == pytest.approx(7 / 3) and found.half == pytest.approx(4.302653 * math.sqrt(7) / 3, rel=1e-6)
    assert math.isinf(statistics.mean([1.0]).half)
    found = [row("layernorm", 1e-3, 90.0 + seed, "comparison", seed) for seed in (1, 2, 3)]
    found += [row("derf", 1e-3, 91.0 + seed + 0.01 * seed, "comparison", seed) for seed in (1, 2, 3)]
    found += [row("dyt", 1e-3, 92.0 - seed, "comparison", seed, failed=seed == 3) for seed in (1, 2, 3)]
    change = statistics.difference(task, found, "derf", "layernorm")
    assert change.value == pytest.approx(1.02) and change.n == 3  # paired: what seeds add to both is gone
    assert statistics.verdict(task, change) == "better"
    assert statistics.verdict(task, statistics.difference(task, found, "layernorm", "derf")) == "worse"
    assert "cannot be told apart" in report.sentence(task, found, "dyt", "layernorm")
    assert "Derf is better than LayerNorm: +1.02" in report.sentence(task, found, "derf", "layernorm")
    assert report.cell(task, found, "dyt").endswith("(1 of 3 failed)")


def test_frechet_distance_against_scipy():
    from scipy.linalg import sqrtm

    first, second = torch.randn(300, 6).double(), torch.randn(300, 6).double() @ torch.randn(6, 6).double() + 1
    a, b = first.T.cov().numpy(), second.T.cov().numpy()
    expected = (first.mean(0) - second.mean(0)).square().sum().item() + (a + b - 2 * sqrtm(a @ b).real).trace()
    found = module("dit").frechet_distance(first, second)
    assert found == pytest.approx(expected, rel=1e-6)
    assert module("dit").frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_what_is_hidden_from_wav2vec2():
    sounds, hidden, negatives = module("system").system("wav2vec2", "smoke").batch("train", 0, 0)
    assert torch.equal(hidden.sum(1), torch.full((len(sounds),), 50))  # as many in each: equal shares on processes
    for frames, others in zip(hidden, negatives, strict=True):
        for frame in frames.nonzero()[:, 0]:
            assert frames[others[frame]].all() and not (others[frame] == frame).any()


def test_speech_by_espeak_where_it_is_installed(tmp_path, monkeypatch):
    import numpy
    from scipy.io import wavfile

    speech = module("speech")
    wavfile.write(tmp_path / "said.wav", 22050, (9000 * numpy.sin(numpy.arange(22050) * 0.1)).astype("int16"))
    (tmp_path / "espeak-ng").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncp {tmp_path}/said.wav "$2"\n')
    (tmp_path / "espeak-ng").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert module("system").system("wav2vec2", "smoke").settings()["speech"] == "espeak-ng"
    sound = speech.read_by_espeak("a word", torch.Generator().manual_seed(0))
    assert sound.shape == (8000,) and sound[4000:].abs().max() < 0.01 and "a word" in (tmp_path / "calls").read_text()
    # 0.1 radians at 22050 Hz are 351 Hz.
    assert torch.fft.rfft(sound[:4000]).abs().argmax().item() == pytest.approx(351, abs=2)


def test_genomes_have_their_motifs_on_either_strand():
    genomes = module("genomes")
    assert genomes.reverse_complement(torch.tensor([0, 0, 1, 2, 2])).tolist() == [1, 1, 2, 3, 3]  # AACGG, CCGTT
    _, motifs = genomes.rule()
    bases, family = genomes.data("validation")
    windows = bases.unfold(1, genomes.MOTIF, 1)[..., None, :]

    def nearest(wanted):
        return (windows != wanted).sum(-1).amin(1)  # mutations of the window that is nearest, for each motif

    forward, backward = nearest(motifs), nearest(genomes.reverse_complement(motifs))
    best = torch.minimum(forward, backward)
    right = (best.argmin(1) == family).double().mean().item()
    own = family[:, None]
    assert right > 0.9 and 0.4 < (forward.gather(1, own) < backward.gather(1, own)).double().mean() < 0.6


def test_held_out_images_are_of_other_fonts_and_writers():
    images = module("images")
    splits = {split: images.data(split)[0].flatten(1) for split in ("train", "validation", "test")}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert torch.cdist(splits[one], splits[other]).amin() > 0
    assert all(images.data(split)[1].unique().numel() == images.CLASSES == 36 for split in splits)


def test_a_system_is_a_short_file():
    for name in module("system").NAMES:
        assert len((ROOT / "benchmarks" / "training" / f"{name}.py").read_text().splitlines()) < 150


def test_muon_takes_the_matrices_and_adamw_the_rest():
    trainer, task = module("trainer"), module("system").system("gpt2", "smoke")
    model = derf.replace_norm(task.make(0))
    muon, adamw = trainer.optimizers_of(model, task, 1e-3, None, "muon")
    inside = {id(p) for group in muon.param_groups for p in group["params"]}
    rest = [id(p) for group in adamw.param_groups for p in group["params"]]
    assert inside == {id(p) for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name}
    assert not inside & set(rest) and len(inside) + len(rest) == len(list(model.parameters()))
    with pytest.raises(ValueError, match="optimizer must be 'adamw' or 'muon'"):
        trainer.optimizers_of(copy.deepcopy(model), task, 1e-3, None, "sgd")
