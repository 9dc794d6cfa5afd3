"""Draws images/activations.png: what the LayerNorms of a trained Vision Transformer do to their inputs, beside the best
erf and tanh. `python docs/figures/activations.py` trains the model of `python -m derf.demo` first, half a minute."""

from pathlib import Path

import torch
from derf import demo
from matplotlib.figure import Figure
from torch import Tensor, nn

OUT = Path(__file__).resolve().parent.parent / "images" / "activations.png"
LAYERS = {
    "vit.layers.0.layernorm_before": "first norm",
    "vit.layers.2.layernorm_after": "sixth norm",
    "vit.layernorm": "last norm",
}
FUNCTIONS = {"erf": (torch.erf, "#d55e00"), "tanh": (torch.tanh, "#0072b2")}
STEPS = 600


def trained_model(images: Tensor, labels: Tensor) -> nn.Module:
    training = demo.Training("LayerNorm", demo.make_model(seed=0), STEPS)
    for batch in demo.make_batches(images, labels, STEPS, seed=0):
        training.step(*batch)
    return training.model.eval()


@torch.no_grad()
def inputs_of(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda _, args, name=name: found.update({name: args[0]}))
        for name in LAYERS
    ]
    model(pixel_values=images)
    for handle in handles:
        handle.remove()
    return {name: found[name].flatten(0, -2) for name in LAYERS}  # [tokens, channels]


def fit(x: Tensor, target: Tensor, function) -> tuple[Tensor, float, float, float]:
    """alpha by search, weight and bias of w * f(alpha * x) + b by least squares; and the share that they explain."""
    best = None
    for alpha in torch.logspace(-3, 1, 161, dtype=torch.float64):
        f = function(alpha * x)
        weight = ((f - f.mean()) * (target - target.mean())).mean() / f.var(correction=0)
        bias = target.mean() - weight * f.mean()
        explained = 1 - (target - weight * f - bias).square().mean() / target.var(correction=0)
        if best is None or explained > best[3]:
            best = alpha, weight.item(), bias.item(), explained.item()
    return best


def draw(inputs: dict[str, Tensor]) -> Figure:
    figure = Figure(figsize=(11, 3.9), dpi=130, layout="constrained")
    figure.suptitle("LayerNorms of a trained ViT: every dot is one element of its input and output", fontsize=11)
    for axes, (name, x) in zip(figure.subplots(1, len(LAYERS)), inputs.items(), strict=True):
        x = x.double()
        y = nn.functional.layer_norm(x, x.shape[-1:])
        x, y = x.flatten(), y.flatten()
        shown = torch.randperm(x.numel(), generator=torch.Generator().manual_seed(0))[:6000]
        axes.scatter(x[shown], y[shown], s=1.5, color="0.65", linewidths=0, label="LayerNorm", rasterized=True)
        grid = torch.linspace(x.min(), x.max(), 400, dtype=torch.float64)
        for label, (function, color) in FUNCTIONS.items():
            alpha, weight, bias, explained = fit(x, y, function)
            style = {"color": color, "linewidth": 1.8, "linestyle": "-" if label == "erf" else "--"}
            axes.plot(
                grid, weight * function(alpha * grid) + bias, label=f"{label}, {explained:.1%} explained", **style
            )
        axes.set(title=LAYERS[name], xlabel="input", ylabel="output before weight and bias")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, markerscale=4, loc="upper left")
    return figure


def main() -> None:
    torch.set_num_threads(1)
    images, test_images, labels, _ = demo.load_data()
    draw(inputs_of(trained_model(images, labels), test_images)).savefig(OUT)


if __name__ == "__main__":
    main()
