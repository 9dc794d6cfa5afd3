// A TorchScript program with Derf in C++: forward and backward, from one thread and from several.
#include <torch/csrc/autograd/autograd.h>
#include <torch/script.h>

#include <iostream>
#include <thread>
#include <vector>

namespace {

double max_error(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

std::vector<at::Tensor> parameters_of(const torch::jit::Module& model) {
  std::vector<at::Tensor> parameters;
  for (const at::Tensor& parameter : model.parameters()) {
    parameters.push_back(parameter);
  }
  return parameters;
}

// The gradients of the parameters for the loss "mean of the output's square".
std::vector<at::Tensor> gradients(torch::jit::Module model, const at::Tensor& input) {
  return torch::autograd::grad({model.forward({input}).toTensor().square().mean()}, parameters_of(model));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " model.pt (from export.py)\n";
    return 2;
  }
  torch::jit::Module model = torch::jit::load(argv[1]);
  const at::Tensor input = model.attr("input").toTensor(), expected = model.attr("output").toTensor();
  const double error = max_error(model.forward({input}).toTensor(), expected);

  const auto alone = gradients(model, input);
  std::vector<std::vector<at::Tensor>> each(4);
  std::vector<std::thread> threads;
  for (auto& result : each) {
    threads.emplace_back([&] { result = gradients(model, input); });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  bool same = true;
  for (const auto& result : each) {
    for (size_t i = 0; i < alone.size(); ++i) {
      same = same && max_error(result[i], alone[i]) < 1e-6;
    }
  }

  // One step down the gradient, and the loss is smaller.
  const auto loss = [&] { return model.forward({input}).toTensor().square().mean().item<double>(); };
  const double before = loss();
  {
    const at::NoGradGuard no_grad;
    const auto parameters = parameters_of(model);
    for (size_t i = 0; i < parameters.size(); ++i) {
      parameters[i].sub_(0.1 * alone[i]);
    }
  }
  const double after = loss();
  std::cout << "max error " << error << "; loss " << before << " -> " << after << "; threads "
            << (same ? "agree" : "DIFFER") << "\n";
  return error < 1e-6 && after < before && same ? 0 : 1;
}
