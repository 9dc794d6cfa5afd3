"""The tables of the pages, from the committed results and the library itself, so that no figure is copied by hand.

`python -m docs.tables` copies the table of the trainings into README.
"""

import json
import math
from pathlib import Path

from derf import curves, functions
from derf.recipes import DYT_RECIPES, RECIPES

from benchmarks import report

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
RUNS = {"avx2": RESULTS / "results.json", "avx512": RESULTS / "avx512" / "results.json"}
# The shapes of the short table of speed: name in results.json, what the page calls it.
SHAPES = {
    "ViT-B": "ViT-B",
    "LLaMA-7B, 8 sequences": "LLaMA-7B",
    "ConvNeXt, NCHW": "ConvNeXt, NCHW",
    "GPT-2, one sequence": "GPT-2, in cache",
    "one token": "one token",
}
PEERS = {"F.layer_norm": "F.layer_norm", "compiled Derf": "compiled formula", "eager Derf": "eager formula"}
ERRORS = {
    "value, ulp": "value, ulp",
    "value, relative": "value before rounding, relative",
    "value in sums, absolute": "value in sums of gradients, absolute",
    "slope, relative": "slope where it is ≥ $2^{-20}$, relative",
    "slope below 2^-20, absolute": "slope elsewhere, absolute",
}


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown; a bar in a cell would end it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def machine(facts: dict) -> str:
    derf_facts = "; ".join(facts["derf"])
    return (
        f"{facts['cpu']}, {facts['threads']} threads, {facts['instruction set']}, torch {facts['torch']}. "
        f"{facts.get('processors that others kept busy', 'unknown')} processors were kept busy by other work. "
        f"({derf_facts})\n"
    )


def speed(results: dict) -> str:
    """Derf and its peers at a few shapes, as multiples of a copy's time, and how many times as fast as each it is."""
    heads = ["dtype", "tensor", "", *PEERS.values(), "derf", *(f"{name} / derf" for name in PEERS.values())]
    rows = []
    for record in report.select(results):
        if record["name"] not in SHAPES or record["what"] not in ("forward", "forward+backward"):
            continue
        median = {name: cuts[1] for name, cuts in record["microseconds"].items()}
        name = f"{SHAPES[record['name']]} {'×'.join(map(str, record['shape']))}"
        times = [f"{median[name] / median['copy']:.3g}" for name in (*PEERS, "derf")]
        ratios = [f"{median[name] / median['derf']:.2f}" for name in PEERS]
        rows.append([record["dtype"], name, record["what"].replace("+", " + "), *times, *ratios])
    return markdown(heads, rows)


def accuracy(found: dict) -> str:
    """The largest errors of erf and its slope, by dtype and instruction set."""
    names = list(dict.fromkeys(name for kinds in found["errors"].values() for name in kinds))
    heads = ["dtype", "largest error found", *(name if name == "PyTorch" else f"derf, {name}" for name in names)]
    rows = []
    for dtype, kinds in found["errors"].items():
        for key, words in ERRORS.items():
            if (key == "value, relative") != ("16" in dtype) and key in ("value, ulp", "value, relative"):
                continue  # a float32 value is rounded already, a 16-bit one is looked at before that
            if any(key in errors for errors in kinds.values()):
                rows.append([dtype, words, *(_error(kinds.get(name, {}).get(key), key) for name in names)])
    return markdown(heads, rows)


def _error(error: float | None, key: str) -> str:
    if error is None:
        return ""
    return f"{error:.2f}" if "ulp" in key else f"$2^{{{math.log2(error):.1f}}}$"


def family() -> str:
    """The functions, with the largest error that this build shows on this machine."""
    rows = []
    for function in functions().values():
        bound = "none" if math.isinf(function.bound) else f"{function.bound:g}"
        monotone = "" if function.monotone else ", not monotone"
        ulp = [f"{curves.worst_ulp(function):.2f}", f"{function.float32_ulp:g}"]
        rows.append([f"`{function.name}`{monotone}", f"`{function.formula}`", bound, *ulp, function.source])
    return markdown(["function", "f(u)", "bound", "float32 error found, ulp", "allowed", "source"], rows)


def recipes() -> str:
    rows = []
    for kind, table in (("erf", RECIPES), ("tanh", DYT_RECIPES)):
        for name, recipe in table.items():
            alpha = f"{recipe.alpha:g}" if isinstance(recipe.alpha, float) else "0.8 before attention, 0.2 elsewhere"
            scale = "a learnable scale of the embeddings, from √width" if recipe.scale else ""
            changes = [scale, "a bias in every layer" if recipe.bias else ""]
            changes.append(f"replaces only {', '.join(f'`{p}`' for p in recipe.include)}" if recipe.include else "")
            changes = "; ".join(filter(None, changes))
            rows.append([f'`"{name}"`', kind, alpha, changes, recipe.training, recipe.source])
    heads = ["recipe", "function", "alpha", "beside alpha", "training settings of the authors", "source"]
    return markdown(heads, rows)


def training() -> str:
    """The table of all systems, as the report of the trainings has it."""
    page = (RESULTS.parent / "training" / "results" / "README.md").read_text()
    return page.partition("## All systems\n\n")[2].partition("\n\n")[0]


def update_readme() -> None:
    """README's copy of that table."""
    file = RESULTS.parent.parent / "README.md"
    before, start, rest = file.read_text().partition("(docs/training_results.md)):\n\n")
    assert start, "README has no table of trainings"
    file.write_text(before + start + training() + rest[rest.index("\n\n") :])


def write(folder: Path) -> None:
    """Every table as a file that a page includes."""
    folder.mkdir(exist_ok=True)
    pages = {"family": family(), "recipes": recipes()}
    found = json.loads((RESULTS / "accuracy.json").read_text())
    pages["accuracy"] = accuracy(found) + "\nMeasured with: " + "; ".join(found["config"]) + ".\n"
    for name, file in RUNS.items():
        results = json.loads(file.read_text())
        pages[f"speed_{name}"] = f"Machine: {machine(results['facts'])}\n{speed(results)}"
        pages[f"models_{name}"] = markdown(*report.models_table(results))
        pages[f"memory_{name}"] = markdown(*report.memory_table(results))
        pages[f"targets_{name}"] = markdown(*report.targets_table(results))
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.exists() or file.read_text() != text:
            file.write_text(text)


if __name__ == "__main__":
    update_readme()
