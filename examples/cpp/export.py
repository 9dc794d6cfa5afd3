"""Write what the C++ programs beside this file load: python export.py FOLDER

FOLDER/model.pt is a TorchScript program that holds an input and its output too; FOLDER/model.pt2 is the same model as a
package of AOTInductor.
"""

import sys
from pathlib import Path

import derf
import torch
from torch import Tensor, nn


class Model(nn.Module):
    """A feed-forward layer of a Transformer, and what it computes for an input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(derf.Derf(16), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16), derf.Derf(16))
        self.register_buffer("input", torch.randn(9, 16))
        self.register_buffer("output", self.layers(self.input).detach())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model = Model().eval()
    torch.jit.script(model).save(str(folder / "model.pt"))
    rows = torch.export.Dim("rows", min=1, max=1024)
    with torch.no_grad():
        program = torch.export.export(model, (torch.randn(4, 16),), dynamic_shapes=({0: rows},))
        torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "model.pt2"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
