// The operators on the CPU: check, allocate, describe the call, spread it over threads.
#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones_like.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <torch/library.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <string_view>
#include <utility>

#include "../operators.h"
#include "../problem.h"
#include "capability.h"
#include "exact_sum.h"

namespace derf::cpu {
namespace {

// The last-level cache that a core reaches, as Linux tells it; sysconf of older glibc adds up all of a processor's.
int64_t cache_bytes() {
  static const int64_t bytes = [] {
    int64_t kibibytes = 0;
    char unit = 0;
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
    if (file >> kibibytes >> unit && unit == 'K' && kibibytes > 0) {
      return kibibytes << 10;
    }
    long found = -1;
#ifdef _SC_LEVEL3_CACHE_SIZE
    found = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    return found > 0 ? int64_t(found) : int64_t(32) << 20;
  }();
  return bytes;
}

// A core's own caches hold about 1 MiB: beyond it prefetches pay.
bool out_of_own_caches(const at::Tensor& output) { return int64_t(output.nbytes()) > int64_t(1) << 20; }

// Outputs from half the cache on would push everything else out of it, and be pushed out themselves.
bool out_of_cache(const at::Tensor& output) { return int64_t(output.nbytes()) > cache_bytes() / 2; }

// alpha or shift, which `check` has seen to have one element.
double scalar(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble: return *tensor.const_data_ptr<double>();
    case at::kFloat: return *tensor.const_data_ptr<float>();
    case at::kHalf: return *tensor.const_data_ptr<at::Half>();
    default: return *tensor.const_data_ptr<at::BFloat16>();
  }
}

void set_scalar(const at::Tensor& tensor, double value) {
  switch (tensor.scalar_type()) {
    case at::kDouble: *tensor.mutable_data_ptr<double>() = value; break;
    case at::kFloat: *tensor.mutable_data_ptr<float>() = static_cast<float>(value); break;
    case at::kHalf: *tensor.mutable_data_ptr<at::Half>() = static_cast<at::Half>(static_cast<float>(value)); break;
    default: *tensor.mutable_data_ptr<at::BFloat16>() = static_cast<at::BFloat16>(static_cast<float>(value));
  }
}

// Fresh memory comes page by page, each cleared and mapped at its first touch, which takes longer than the kernel;
// pages of 2 MiB, where the system lets a program ask for them, make that a fraction. DERF_HUGE_PAGES=0 asks for none.
void ask_for_huge_pages(const at::Tensor& tensor) {
#ifdef MADV_HUGEPAGE
  static const bool wanted = [] {
    const char* setting = std::getenv("DERF_HUGE_PAGES");
    return !setting || std::string_view(setting) != "0";
  }();
  constexpr uintptr_t page = uintptr_t(2) << 20;
  const auto begin = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  const uintptr_t first = (begin + page - 1) / page * page, last = (begin + tensor.nbytes()) / page * page;
  if (wanted && first < last) {
    madvise(reinterpret_cast<void*>(first), last - first,
            MADV_HUGEPAGE);  // advice: nothing is lost where it is refused
  }
#endif
}

// Results, made without the dispatcher: for small tensors its way is as long as the kernel.
at::Tensor dense_like(const at::Tensor& tensor) {
  at::Tensor result = at::detail::empty_strided_cpu(tensor.sizes(), tensor.strides(), tensor.scalar_type());
  if (result.nbytes() >= size_t(4) << 20) {
    ask_for_huge_pages(result);
  }
  return result;
}
at::Tensor contiguous_like(const at::Tensor& tensor) {
  return at::detail::empty_cpu(tensor.sizes(), tensor.scalar_type());
}

Shape shape_of(const Problem& p) { return {p.outer, p.channels, p.inner}; }

// What the loops over rows ask of weight and bias: both or none, and no conversion where many rows will read them.
void prepare_parameters(Problem& p) {
  if (!shape_of(p).in_rows()) {
    return;
  }
  if (!p.weight.defined()) {
    p.weight = at::ones_like(p.bias);
  }
  if (!p.bias.defined()) {
    p.bias = at::full_like(p.weight, -0.0);  // leaves every number as it is when added, 0 included
  }
  for (at::Tensor* parameter : {&p.weight, &p.bias}) {
    if (p.outer >= 16 && parameter->scalar_type() == at::kHalf) {  // bfloat16 converts as fast as it loads
      const at::Tensor wide = at::empty(parameter->sizes(), parameter->options().dtype(at::kFloat));
      chosen_kernels().widen(
          {parameter->scalar_type(), parameter->const_data_ptr(), wide.mutable_data_ptr(), parameter->numel()});
      *parameter = wide;
    }
  }
}

at::Tensor forward(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& shift,
                   const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                   int64_t channel_dim) {
  check(input, alpha, shift, weight, bias, channel_dim);
  Problem p(input, weight, bias, channel_dim);
  const at::Tensor output = dense_like(p.input);
  const int64_t count = output.numel();
  if (count == 0) {
    return p.in_order_of(input, output);
  }
  prepare_parameters(p);
  const Forward call{
      .dtype = input.scalar_type(),
      .param_dtype = p.param_dtype(),
      .shape = shape_of(p),
      .input = p.input.const_data_ptr(),
      .output = output.mutable_data_ptr(),
      .weight = data(p.weight),
      .bias = data(p.bias),
      .alpha = scalar(alpha),
      .shift = scalar(shift),
      .prefetch = out_of_own_caches(output),
      .out_of_cache = out_of_cache(output),
  };
  at::parallel_for(0, count, 32768, [&](int64_t begin, int64_t end) { chosen_kernels().forward(call, begin, end); });
  return p.in_order_of(input, output);
}

Tiles tiles_of(const Shape& shape) {
  const auto blocks = [](int64_t all, int64_t size) { return (all + size - 1) / size; };
  Shape size;
  if (shape.in_rows()) {  // rows: few enough for float sums, channels: their sums stay in the nearest cache
    size = {std::clamp<int64_t>(shape.outer / 128 * 4, 32, 128), std::min<int64_t>(shape.channels, 2048), 1};
  } else {
    const int64_t inner = std::min<int64_t>(shape.inner, 4096), outer = std::clamp<int64_t>(1024 / inner, 1, 128);
    size = {outer, std::clamp<int64_t>(65536 / (outer * inner), 1, shape.channels), inner};
  }
  return {size,
          {blocks(shape.outer, size.outer), blocks(shape.channels, size.channels), blocks(shape.inner, size.inner)}};
}

Gradients backward(const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
                   const at::Tensor& shift, const std::optional<at::Tensor>& weight,
                   const std::optional<at::Tensor>& bias, int64_t channel_dim, std::array<bool, 5> output_mask) {
  check(input, alpha, shift, weight, bias, channel_dim);
  check_grad_output(grad_output, input);
  Problem p(input, weight, bias, channel_dim);
  const auto wanted = [](bool mask, const at::Tensor& like) {
    return mask && like.defined() ? contiguous_like(like) : at::Tensor();
  };
  const at::Tensor grad_input = output_mask[0] ? dense_like(p.input) : at::Tensor();
  const at::Tensor grad_alpha = wanted(output_mask[1], alpha), grad_shift = wanted(output_mask[2], shift);
  const at::Tensor grad_weight = wanted(output_mask[3], p.weight), grad_bias = wanted(output_mask[4], p.bias);
  if (input.numel() == 0) {
    for (const at::Tensor& grad : {grad_alpha, grad_shift, grad_weight, grad_bias}) {
      if (grad.defined()) {
        grad.zero_();
      }
    }
    return {p.in_order_of(input, grad_input), grad_alpha, grad_shift, grad_weight, grad_bias};
  }
  const auto reduced_dtype = p.param_dtype();
  prepare_parameters(p);
  const at::Tensor g = p.matching(grad_output);
  const Shape shape = shape_of(p);
  const Tiles tiles = tiles_of(shape);
  // All partial sums in one allocation, two arrays of each kind.
  const size_t scalar_partials = sizeof(double) * tiles.total();
  const size_t channel_partials =
      (input.scalar_type() == at::kDouble ? sizeof(double) : sizeof(float)) * tiles.rows() * p.channels;
  const at::DataPtr workspace = c10::GetCPUAllocator()->allocate(2 * (scalar_partials + channel_partials));
  auto* next = static_cast<std::byte*>(workspace.get());
  const auto partial = [&](bool wanted, size_t bytes) { return wanted ? std::exchange(next, next + bytes) : nullptr; };
  const bool of_channels = grad_weight.defined() || grad_bias.defined();  // one sum costs little beside the other
  const Backward call{
      .dtype = input.scalar_type(),
      .param_dtype = p.param_dtype(),
      .shape = shape,
      .tiles = tiles,
      .grad_output = g.const_data_ptr(),
      .input = p.input.const_data_ptr(),
      .weight = data(p.weight),
      .alpha = scalar(alpha),
      .shift = scalar(shift),
      .grad_input = mutable_data(grad_input),
      .alpha_partial = reinterpret_cast<double*>(partial(grad_alpha.defined(), scalar_partials)),
      .shift_partial = reinterpret_cast<double*>(partial(grad_shift.defined(), scalar_partials)),
      .weight_partial = partial(of_channels, channel_partials),
      .bias_partial = partial(of_channels, channel_partials),
      .prefetch = out_of_own_caches(p.input),
      .out_of_cache = out_of_cache(p.input),
  };
  const int64_t elements = tiles.size.outer * tiles.size.channels * tiles.size.inner;
  at::parallel_for(0, tiles.total(), std::max<int64_t>(1, 16384 / elements),
                   [&](int64_t begin, int64_t end) { chosen_kernels().backward(call, begin, end); });
  const auto finish = [&](const void* partial, const at::Tensor& grad) {
    if (grad.defined()) {
      const Reduce reduce{call.dtype, reduced_dtype, tiles.rows(), p.channels, partial, grad.mutable_data_ptr()};
      at::parallel_for(0, p.channels, std::max<int64_t>(256, 32768 / tiles.rows()),
                       [&](int64_t begin, int64_t end) { chosen_kernels().reduce(reduce, begin, end); });
    }
  };
  finish(call.weight_partial, grad_weight);
  finish(call.bias_partial, grad_bias);
  const auto total = [&](const double* partial, const at::Tensor& grad) {
    if (grad.defined()) {
      ExactSums<1> sum;
      std::for_each(partial, partial + tiles.total(), [&](const double& each) { sum.add(&each); });
      set_scalar(grad, sum.total());
    }
  };
  total(call.alpha_partial, grad_alpha);
  total(call.shift_partial, grad_shift);
  return {p.in_order_of(input, grad_input), grad_alpha, grad_shift, grad_weight, grad_bias};
}

}  // namespace
}  // namespace derf::cpu

TORCH_LIBRARY_IMPL(derf, CPU, m) {
  m.impl("derf", &derf::cpu::forward);
  m.impl("derf_backward", &derf::cpu::backward);
}
