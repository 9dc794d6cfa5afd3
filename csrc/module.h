// derf::Derf, the layer for programs that build their models with torch::nn. Header only: torch::nn::Module is no part
// of the library's binary interface.
#pragma once
#include <torch/nn/cloneable.h>
#include <torch/nn/init.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "operators.h"

namespace derf {

// Options of a Derf, named as in Python: DerfOptions(64).alpha_init(0.3).bias(false), or DerfOptions({3, 64}).
struct DerfOptions {
  DerfOptions(int64_t channels) : normalized_shape_{channels} {}  // NOLINT(google-explicit-constructor)
  DerfOptions(std::vector<int64_t> normalized_shape)              // NOLINT(google-explicit-constructor)
      : normalized_shape_(std::move(normalized_shape)) {}

  // The sizes of the last dimensions of the input, or of its dimension channel_dim.
  TORCH_ARG(std::vector<int64_t>, normalized_shape);
  // Where the learnable scalars start.
  TORCH_ARG(double, alpha_init) = 0.5;
  TORCH_ARG(double, shift_init) = 0;
  // Whether there are a weight and a bias; bias has no effect without elementwise_affine.
  TORCH_ARG(bool, elementwise_affine) = true;
  TORCH_ARG(bool, bias) = true;
  // -1 for the last dimensions, 1 for [N, C, H, W].
  TORCH_ARG(int64_t, channel_dim) = -1;
};

// y = weight * erf(alpha * x + shift) + bias. The parameters' names and shapes are those of the Python module.
// Use the holder, derf::Derf, as with every module of torch::nn.
class DerfImpl : public torch::nn::Cloneable<DerfImpl> {
 public:
  explicit DerfImpl(int64_t channels) : DerfImpl(DerfOptions(channels)) {}
  explicit DerfImpl(DerfOptions options_) : options(std::move(options_)) {
    const auto& shape = options.normalized_shape();
    TORCH_CHECK_VALUE(!shape.empty(), "derf: normalized_shape must have at least one dimension, but has none");
    for (const int64_t size : shape) {
      TORCH_CHECK_VALUE(size >= 0, "derf: normalized_shape must have no negative size, but is ", shape);
    }
    TORCH_CHECK_VALUE(options.channel_dim() == -1 || shape.size() == 1,
                      "derf: normalized_shape must have one dimension where channel_dim is not -1, but channel_dim is ",
                      options.channel_dim(), " and normalized_shape is ", shape);
    TORCH_CHECK_VALUE(std::isfinite(options.alpha_init()), "derf: alpha_init must be finite, but is ",
                      options.alpha_init());
    TORCH_CHECK_VALUE(std::isfinite(options.shift_init()), "derf: shift_init must be finite, but is ",
                      options.shift_init());
    reset();
  }

  void reset() override {
    alpha = register_parameter("alpha", torch::empty({1}));
    shift = register_parameter("shift", torch::empty({1}));
    const auto channels = [&](const char* name, bool wanted) {
      return register_parameter(name, wanted ? torch::empty(options.normalized_shape()) : torch::Tensor(), wanted);
    };
    weight = channels("weight", options.elementwise_affine());
    bias = channels("bias", options.elementwise_affine() && options.bias());
    reset_parameters();
  }

  // alpha and shift to their starts, weight to 1 and bias to 0.
  void reset_parameters() {
    torch::nn::init::constant_(alpha, options.alpha_init());
    torch::nn::init::constant_(shift, options.shift_init());
    if (weight.defined()) {
      torch::nn::init::ones_(weight);
    }
    if (bias.defined()) {
      torch::nn::init::zeros_(bias);
    }
  }

  torch::Tensor forward(const torch::Tensor& input) {
    const auto given = [](const torch::Tensor& t) { return t.defined() ? std::optional(t) : std::nullopt; };
    return derf(input, alpha, shift, given(weight), given(bias), options.channel_dim());
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "derf::Derf(" << torch::IntArrayRef(options.normalized_shape()) << ", alpha_init=" << options.alpha_init()
           << ", shift_init=" << options.shift_init() << ")";
  }

  DerfOptions options;
  torch::Tensor alpha, shift, weight, bias;
};

TORCH_MODULE(Derf);

}  // namespace derf
