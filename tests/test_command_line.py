"""`python -m derf`, `python -m derf replace` and `python -m derf functions`."""

import importlib.util
import math
import re
import subprocess
import sys

import derf
import pytest
import torch
import transformers
from derf import cli, curves


def run(capsys, *arguments):
    """What the command prints, as {first cell: the other cells of its row}."""
    cli.main([str(argument) for argument in arguments])
    output = capsys.readouterr().out
    return output, {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", line) for line in output.splitlines())}


def number(cell):
    return int(cell.replace(",", ""))


def test_without_a_command_it_prints_the_configuration():
    finished = subprocess.run([sys.executable, "-m", "derf"], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == derf.show_config().strip()


def test_a_model_of_transformers(tmp_path, capsys):
    config = transformers.LlamaConfig(num_hidden_layers=2, hidden_size=64, num_attention_heads=4, intermediate_size=128)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(tmp_path)
    output, rows = run(capsys, "replace", "--transformers-config", tmp_path, "--length", 100, "--recipe", "llama")
    assert rows["model.layers.1.input_layernorm"] == ["LlamaRMSNorm", "Derf", "[64]", "0.8", "0", "weight"]
    assert rows["model.norm"][3] == "0.2"
    assert "model.embed_tokens: a learnable scale" in output and "arXiv" not in output
    # Five norms of 64 channels see 100 tokens each.
    calls, elements = 5, 5 * 100 * 64
    assert [number(cell) for cell in rows["parameters"]] == [calls * 64, calls * (64 + 2), calls * 2]
    assert [number(cell) for cell in rows["FLOPs, forward"]] == [elements * 4, elements * 21, elements * 17]
    assert [number(cell) for cell in rows["bytes, forward"]] == [elements * 8 + calls * 400, elements * 8, -calls * 400]
    assert [number(cell) for cell in rows["bytes, backward"]][1] == elements * 12


MODELS = {
    "images": transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64),
    "sound": transformers.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, conv_dim=[8] * 7
    ),
    "two sides": transformers.T5Config(d_model=32, num_layers=1, num_heads=2, d_ff=64, d_kv=16),
    "spectrum": transformers.WhisperConfig(
        d_model=48, encoder_layers=1, decoder_layers=1, num_mel_bins=8, encoder_ffn_dim=64, decoder_ffn_dim=64
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_inputs_of_every_kind(kind, tmp_path, capsys):
    MODELS[kind].save_pretrained(tmp_path)
    output, rows = run(capsys, "replace", "--transformers-config", tmp_path, "--length", 448)
    assert number(rows["FLOPs, backward"][0]) > 0, output


def test_selection(tmp_path, capsys):
    MODELS["images"].save_pretrained(tmp_path)
    command = ("replace", "--transformers-config", tmp_path)
    output, rows = run(capsys, *command, "--include", "*.layernorm_before", "layernorm", "--exclude", "layernorm")
    (name,) = [name for name in rows if name.endswith("layernorm_before")]
    assert rows[name][:2] == ["LayerNorm", "Derf"]
    assert rows["layernorm"] == ["LayerNorm", "exclude names it"]


def test_a_model_that_takes_other_inputs_is_reported_all_the_same(tmp_path, capsys, monkeypatch):
    MODELS["images"].save_pretrained(tmp_path)
    monkeypatch.setattr(transformers.ViTModel, "forward", lambda self, pixel_values: self.no_such_thing)
    output, rows = run(capsys, "replace", "--transformers-config", tmp_path)
    assert rows["layernorm"][:2] == ["LayerNorm", "Derf"]
    assert "what it costs is not known" in output and "no_such_thing" in output


def test_another_function(tmp_path, capsys):
    MODELS["images"].save_pretrained(tmp_path)
    command = ("replace", "--transformers-config", tmp_path, "--function", "tanh", "--recipe", "vit")
    output, rows = run(capsys, *command)
    assert rows["layernorm"][:2] == ["LayerNorm", "DyT"] and rows["layernorm"][4] == "none"
    assert "jiachenzhu/DyT" in output and number(rows["FLOPs, forward"][1]) > 0
    output, rows = run(capsys, *command[:3], "--function", "isru", "--per-channel")
    assert rows["layernorm"][:2] == ["LayerNorm", "PointwiseNorm isru"]
    assert number(rows["parameters"][1]) == 2 * number(rows["parameters"][0])


def test_the_table_of_functions(capsys, monkeypatch):
    monkeypatch.setattr(curves, "SAMPLES", 2000)
    output, rows = run(capsys, "functions")
    assert set(derf.functions()) <= rows.keys()
    formula, *numbers, bound, rises, found, allowed, source = rows["erf"]
    assert (formula, bound, rises, allowed, source) == ("erf(u)", "1", "always", "2", "arXiv 2512.10938")
    assert [float(n) for n in numbers[:4]] == [round(math.erf(u), 4) for u in (0, 0.5, 1, 2)]
    assert float(numbers[4]) == round(2 / math.sqrt(math.pi), 4)
    assert rows["arcsinh"][-5] == "none" and rows["sin"][-4] == "not always"
    for name in derf.functions():
        assert float(rows[name][-3]) <= float(rows[name][-2]) + 0.01, name  # 0.01 for the truth's own rounding


def test_a_terminal_gets_a_table_by_rich(capsys, monkeypatch):
    monkeypatch.setattr(curves, "SAMPLES", 100)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "250")
    cli.main(["functions"])
    drawn = capsys.readouterr().out
    assert "smoothsign" in drawn and "┃" in drawn
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cli.main(["functions"])
    assert "┃" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_figure_of_the_functions(suffix, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(curves, "SAMPLES", 100)
    run(capsys, "functions", "--plot", tmp_path / f"functions.{suffix}")
    assert (tmp_path / f"functions.{suffix}").stat().st_size > 10_000


def test_a_figure_needs_matplotlib(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["functions", "--plot", str(tmp_path / "functions.png")])
    assert ended.value.code == 2 and "--plot needs matplotlib: pip install matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["replace"], "one of the arguments --timm --transformers-config is required"),
        (["replace", "--timm", "a", "--transformers-config", "b"], "not allowed with"),
        (["replace", "--transformers-config", "/nowhere/at/all"], "nowhere"),
        (["replace", "--transformers-config", ".", "--recipe", "vgg"], "invalid choice: 'vgg'"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    captured = capsys.readouterr()
    assert ended.value.code == 2 and message in captured.err and not captured.out


def test_a_missing_library_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["replace", "--timm", "vit_base_patch16_224"])
    assert ended.value.code == 2 and "timm" in capsys.readouterr().err


def test_calibrate_a_folder_of_transformers_by_batches(tmp_path, capsys):
    config = transformers.LlamaConfig(
        num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=64, vocab_size=50
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "llama")
    tokens = [torch.randint(50, (8, 20)) for _ in range(4)]
    torch.save([{"input_ids": batch} for batch in tokens], tmp_path / "batches.pt")
    command = ("calibrate", "--transformers", tmp_path / "llama", "--data", tmp_path / "batches.pt")
    output, rows = run(capsys, *command, "--out", tmp_path / "out.pt", "--batches", 3)
    assert float(rows["model.norm"][1]) > 0.5 and rows["model.norm"][-1] == "480" and "3 batches" in output
    assert "derf.replace_norm(model, bias=True).load_state_dict" in output
    converted = derf.replace_norm(transformers.LlamaForCausalLM(config), bias=True).eval()
    converted.load_state_dict(torch.load(tmp_path / "out.pt"))
    with torch.no_grad():
        wanted, found = model(tokens[3]).logits, converted(tokens[3]).logits
    assert (found - wanted).square().mean() < 0.3 * wanted.var()


def test_calibrate_a_model_of_timm_by_images(tmp_path, capsys):
    timm, images = pytest.importorskip("timm"), pytest.importorskip("PIL.Image")
    torch.manual_seed(0)
    model = timm.create_model("test_vit")
    torch.save(model.state_dict(), tmp_path / "vit.pt")
    (tmp_path / "images").mkdir()
    for index in range(6):
        pixels = torch.randint(256, (40, 30, 3), dtype=torch.uint8).numpy()
        images.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
    command = ("calibrate", "--timm", "test_vit", "--checkpoint", tmp_path / "vit.pt", "--data", tmp_path / "images")
    output, rows = run(capsys, *command, "--out", tmp_path / "out.pt", "--batch-size", 2)
    assert "3 batches" in output and rows["norm"][0].startswith("LayerNorm") and "saved:" in output
    derf.replace_norm(timm.create_model("test_vit")).load_state_dict(torch.load(tmp_path / "out.pt"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--timm", "test_vit"], "--timm needs --checkpoint"),
        (["--transformers", ".", "--data", "/nowhere"], "--data /nowhere does not exist"),
        (["--transformers", ".", "--out", "/nowhere/at/all.pt"], "its folder does not exist"),
        (["--transformers", ".", "--batches", "0"], "--batches must be positive"),
    ],
)
def test_wrong_arguments_of_calibrate(arguments, message, capsys, tmp_path):
    given = ["calibrate", "--data", str(tmp_path), "--out", str(tmp_path / "out.pt"), *arguments]
    with pytest.raises(SystemExit) as ended:
        cli.main(given)
    captured = capsys.readouterr()
    assert ended.value.code == 2 and message in captured.err and captured.err.startswith("python -m derf calibrate:")
