"""The recipe for conda-forge, as rattler-build reads it. No channel is asked, nothing is built."""

import re
from pathlib import Path

import pytest
import zoo

Stage0Recipe = zoo.library("rattler_build.stage0").Stage0Recipe
VariantConfig = zoo.library("rattler_build.variant_config").VariantConfig

ROOT = Path(__file__).resolve().parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text()

VARIANT = """
cuda_compiler_version: ["{cuda}"]
python: ["3.12.* *_cpython"]
c_stdlib: [sysroot]
c_stdlib_version: ["2.28"]
cxx_compiler: [gxx]
cxx_compiler_version: ["14"]
cuda_compiler: [cuda-nvcc]
"""


@pytest.mark.parametrize("cuda", ["None", "12.9"])
def test_recipe(cuda):
    recipe = Stage0Recipe.from_file(ROOT / "tools" / "conda" / "recipe.yaml")
    (rendered,) = recipe.render(VariantConfig.from_yaml(VARIANT.format(cuda=cuda)))
    found = rendered.recipe.to_dict()
    (version,) = re.findall(r'^version = "(.*)"', PROJECT, re.M)
    assert found["package"] == {"name": "derf", "version": version}
    (torch,) = re.findall(r'^dependencies = \["torch(.*)"\]', PROJECT, re.M)
    assert f"pytorch {torch}" in found["requirements"]["host"]
    kind = "cpu" if cuda == "None" else "cuda"
    assert f"pytorch * {kind}*" in found["requirements"]["host"]
    assert any(entry.startswith("cuda-nvcc") for entry in found["requirements"]["build"]) == (kind == "cuda")
    assert found["build"]["script"]["env"]["DERF_CUDA"] == ("0" if cuda == "None" else "1")
    assert found["build"]["string"].startswith(f"{kind}{cuda.replace('.', '') if kind == 'cuda' else ''}_py312h")
    for file in found["tests"][1]["files"]["source"]:
        assert (ROOT / file).exists()
