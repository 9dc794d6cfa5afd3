"""The demo as a command: a short run, and what it says to wrong arguments."""

import json
import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("transformers")

STEPS = 24
ROWS = (
    "test accuracy",
    "training loss, last twentieth",
    "training step",
    "its 9 norm layers",
    "saved for backward by norm layers",
    "saved for backward by the model",
)
CONVERTED = ("trained with LayerNorm", "its norms replaced", "its norms calibrated", "Derf, start from data")
# Runs the demo for several seeds in one process and prints what it recorded step by step. Torchvision, were it there,
# could not be imported: its newest version would make pip replace the torch that derf was compiled for.
SEVERAL_SEEDS = """
import json, sys
sys.modules["torchvision"] = None
from derf import demo
demo.NORM_REPEATS = 1
recorded = []
save_plot = demo.save_plot
def record(trainings, out):
    recorded.append([[training.losses, training.accuracies] for training in trainings])
    save_plot(trainings, out)
demo.save_plot = record
for seed in sys.argv[3:]:
    assert demo.main(["--steps", sys.argv[1], "--out", sys.argv[2], "--seed", seed]) == 0
print("recorded:", json.dumps(recorded))
"""


def run(*arguments, **environment):
    """The finished process of `python arguments`, in 100 columns and without a way to download anything."""
    fixed = {"COLUMNS": "100", "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"}
    environment = {**os.environ, **fixed, **environment}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=300)


def table_of(output):
    """{label: [numbers of the row]} of the table that the demo prints."""
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in output.splitlines() if line[:1] == "│"]
    return {label: [float(number) for number in re.findall(r"[\d.]+", " ".join(cells))] for label, *cells in lines}


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The demo run as a command: its process, and the PNG in a folder that was not there."""
    out = tmp_path_factory.mktemp("demo") / "new" / "folder" / "curves.png"
    return run("-m", "derf.demo", "--steps", STEPS, "--seed", 0, "--out", out), out


@pytest.fixture(scope="module")
def several_seeds(tmp_path_factory):
    """Losses and accuracies of LayerNorm and Derf with the seeds 0, 0, 1, from one process."""
    out = tmp_path_factory.mktemp("seeds") / "curves.png"
    finished = run("-c", SEVERAL_SEEDS, STEPS, out, 0, 0, 1)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.partition("recorded:")[2])


def test_command_succeeds_and_prints_the_table(command):
    finished, out = command
    assert finished.returncode == 0, finished.stderr
    rows = table_of(finished.stdout)
    assert tuple(rows) == ROWS + CONVERTED
    assert rows["trained with LayerNorm"] == rows["test accuracy"][:1]
    for label in ROWS[2:]:
        layer_norm, derf, ratio = rows[label]
        assert ratio == pytest.approx(derf / layer_norm, rel=0.01, abs=0.02)
    # Both keep the norm layer's input; LayerNorm adds a mean and a reciprocal deviation for each row.
    assert rows["saved for backward by norm layers"][2] < 1
    assert str(out) in finished.stdout.replace("\n", "")
    assert "Traceback" not in finished.stderr and "Warning" not in finished.stderr


def test_plot_is_a_png_with_the_curves(command):
    from matplotlib.image import imread

    _, out = command
    picture = imread(out)
    assert picture.shape == (630, 1500, 4)
    for color in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)):
        colored = (abs(picture[..., :3] * 255 - color) < 2).all(-1)
        left, right = colored[:, :750].sum(), colored[:, 750:].sum()
        assert left > 100 and right > 100


def test_same_seed_gives_same_numbers_in_another_process(command, several_seeds):
    finished, _ = command
    rows = table_of(finished.stdout)
    losses = [training[0] for training in several_seeds[0][:2]]
    accuracies = [training[1][str(STEPS)] for training in several_seeds[0]]
    assert rows["Derf, start from data"] == [round(accuracies.pop(), 2)]
    assert rows["training loss, last twentieth"] == [round(each[-1], 5) for each in losses]
    assert rows["test accuracy"] == [round(each, 2) for each in accuracies]


def test_numbers_depend_on_the_seed_alone(several_seeds):
    first, again, other = several_seeds
    assert first == again
    for (losses, _), (other_losses, _) in zip(first, other, strict=True):
        assert len(losses) == STEPS
        assert losses != other_losses


def test_all_models_learn(several_seeds):
    for trainings in several_seeds:
        for losses, _ in trainings:
            assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "--steps must be"),
        (["--steps", "-5"], "--steps must be"),
        (["--steps", "many"], "--steps"),
        (["--seed", "-1"], "--seed must be"),
        (["--seed", str(2**64)], "--seed must be"),
        (["--out", "."], "--out . cannot be written"),
        (["--out", f"{__file__}/curves.png"], "cannot be written"),
        (["--out", "/proc/curves.png"], "--out /proc/curves.png cannot be written"),
    ],
    ids=lambda value: " ".join(value)[-20:] if isinstance(value, list) else "",
)
def test_wrong_argument_ends_it_before_any_work(arguments, message, capsys):
    from derf import demo

    with pytest.raises(SystemExit) as ended:
        demo.main(arguments)
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert message in captured.err and not captured.out


def test_missing_package_ends_it_with_the_command_that_installs_it():
    hide = "import runpy, sys; sys.modules['transformers'] = None; runpy.run_module('derf.demo', run_name='__main__')"
    finished = run("-c", hide)
    assert finished.returncode == 2
    assert finished.stderr == 'derf.demo needs transformers: pip install "derf[demo]"\n'
    assert not finished.stdout


def test_an_existing_file_stays_where_the_arguments_are_wrong(tmp_path, capsys):
    from derf import demo

    out = tmp_path / "curves.png"
    out.write_bytes(b"before")
    with pytest.raises(SystemExit):
        demo.main(["--steps", "0", "--out", str(out)])
    assert out.read_bytes() == b"before"
