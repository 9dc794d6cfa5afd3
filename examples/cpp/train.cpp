// A model with derf::Derf in C++: trains, is saved and loaded, and is cloned, as every module of torch::nn.
#include <derf/derf.h>
#include <torch/torch.h>

#include <iostream>
#include <sstream>

namespace {

torch::nn::Sequential make_model() {
  return torch::nn::Sequential(torch::nn::Linear(8, 32), derf::Derf(derf::DerfOptions(32).alpha_init(0.8)),
                               torch::nn::Linear(32, 32), derf::Derf(32), torch::nn::Linear(32, 1));
}

double max_error(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

// The error that a wrong option gets, or nothing.
std::string complaint(const derf::DerfOptions& options) {
  try {
    derf::Derf layer(options);
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "";
}

}  // namespace

int main() {
  torch::manual_seed(0);
  auto model = make_model();
  const auto input = torch::randn({256, 8}), target = input.square().mean(1, /*keepdim=*/true);
  torch::optim::AdamW optimizer(model->parameters(), torch::optim::AdamWOptions(1e-2));
  double first = 0, last = 0;
  for (int step = 0; step < 200; ++step) {
    optimizer.zero_grad();
    const auto loss = torch::mse_loss(model->forward(input), target);
    loss.backward();
    optimizer.step();
    (step == 0 ? first : last) = loss.item<double>();
  }

  std::stringstream file;
  torch::save(model, file);
  auto loaded = make_model();
  torch::load(loaded, file);
  const double loaded_error = max_error(loaded->forward(input), model->forward(input));
  const auto clone = std::dynamic_pointer_cast<derf::DerfImpl>(model->ptr<derf::DerfImpl>(1)->clone());
  const bool cloned = clone && torch::equal(clone->weight, model->ptr<derf::DerfImpl>(1)->weight);

  auto images = derf::Derf(derf::DerfOptions(3).channel_dim(1).bias(false));
  const bool shaped = images->parameters().size() == 3 && images(torch::randn({2, 3, 4, 4})).size(3) == 4;
  const std::string said = complaint(derf::DerfOptions({2, 3}).channel_dim(1));

  std::cout << model << "\nloss " << first << " -> " << last << "; after loading, error " << loaded_error << "\n"
            << said << "\n";
  return last < first / 20 && loaded_error == 0 && cloned && shaped && said.starts_with("derf: normalized_shape") ? 0
                                                                                                                  : 1;
}
