// Derf in a C++ program: forward and backward, beside the same formula in PyTorch's own operators.
#include <ATen/ATen.h>
#include <derf/operators.h>

#include <iostream>
#include <vector>

namespace {

at::Tensor parameter(const at::Tensor& values) { return values.clone().requires_grad_(); }

double max_error(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

}  // namespace

int main() {
  at::manual_seed(0);
  const int64_t rows = 64, channels = 100;
  const at::Tensor grad_output = at::randn({rows, channels});
  const std::vector<at::Tensor> values{at::randn({rows, channels}), at::full({1}, 0.5), at::full({1}, 0.1),
                                       at::randn({channels}), at::randn({channels})};
  std::vector<at::Tensor> fused, eager;
  for (const at::Tensor& value : values) {
    fused.push_back(parameter(value));
    eager.push_back(parameter(value));
  }

  const at::Tensor output = derf::derf(fused[0], fused[1], fused[2], fused[3], fused[4]);
  output.backward(grad_output);
  const at::Tensor expected = eager[3] * at::erf(eager[1] * eager[0] + eager[2]) + eager[4];
  expected.backward(grad_output);

  const double limit = 1e-3;  // sums of 6,400 float32 terms
  double error = max_error(output, expected);
  bool good = error < limit;
  std::cout << derf::build_info() << "\nmax error: output " << error;
  const char* const names[] = {"input", "alpha", "shift", "weight", "bias"};
  for (size_t i = 0; i < fused.size(); ++i) {
    error = max_error(fused[i].grad(), eager[i].grad());
    good = good && error < limit;
    std::cout << ", gradient of " << names[i] << " " << error;
  }
  std::cout << "\n";
  return good ? 0 : 1;
}
