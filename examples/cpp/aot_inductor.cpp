// A package of AOTInductor with Derf in C++. The operators must be there before the package is opened: they are, since
// this program links to derf::derf; one that does not link to it calls dlopen first.
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " model.pt2 model.pt (from export.py)\n";
    return 2;
  }
  const c10::InferenceMode inference;
  const torch::jit::Module values = torch::jit::load(argv[2]);
  torch::inductor::AOTIModelPackageLoader model(argv[1]);
  const at::Tensor output = model.run({values.attr("input").toTensor()})[0];
  const double error = (output - values.attr("output").toTensor()).abs().max().item<double>();
  std::cout << "max error " << error << "\n";
  return error < 1e-6 ? 0 : 1;
}
