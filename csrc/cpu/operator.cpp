// The operators on the CPU: allocate, prepare the parameters, spread the work over threads.
#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "../device.h"
#include "../out.h"
#include "../quantized.h"
#include "../registration.h"
#include "capability.h"
#include "compensated_sum.h"
#include "system.h"

namespace derf::cpu {
namespace {

// A core's own caches hold about 1 MiB: beyond it prefetches pay.
bool out_of_own_caches(int64_t bytes) { return bytes > int64_t(1) << 20; }

// Outputs from half the cache on would push everything else out of it, and be pushed out themselves.
bool out_of_cache(int64_t bytes) { return bytes > cache_bytes() / 2; }

int64_t size_of(Type type) { return type == Type::f64 ? 8 : type == Type::f32 ? 4 : 2; }
Type arithmetic(Type type) { return type == Type::f64 ? Type::f64 : Type::f32; }

double read(const Scalar& scalar) {
  switch (scalar.type) {
    case Type::f64: return *static_cast<const double*>(scalar.data);
    case Type::f32: return *static_cast<const float*>(scalar.data);
    case Type::f16: return *static_cast<const at::Half*>(scalar.data);
    default: return *static_cast<const at::BFloat16*>(scalar.data);
  }
}

void write(const Result& result, double value) {
  switch (result.type) {
    case Type::f64: *static_cast<double*>(result.data) = value; break;
    case Type::f32: *static_cast<float*>(result.data) = static_cast<float>(value); break;
    case Type::f16: *static_cast<at::Half*>(result.data) = static_cast<at::Half>(static_cast<float>(value)); break;
    default: *static_cast<at::BFloat16*>(result.data) = static_cast<at::BFloat16>(static_cast<float>(value));
  }
}

// Scratch memory of a call, freed with it. A small call needs no allocation.
class Workspace {
  alignas(64) std::byte small_[1024];
  int64_t used_ = 0;
  std::vector<at::DataPtr> pieces_;

 public:
  void* take(int64_t bytes) {
    const int64_t begin = used_;
    if (bytes <= int64_t(sizeof(small_)) - begin) {
      used_ += (bytes + 63) / 64 * 64;
      return small_ + begin;
    }
    return pieces_.emplace_back(c10::GetCPUAllocator()->allocate(bytes)).get();
  }

  // The numbers of a parameter of `count` elements in the type of arithmetic; of groups of so many, `stride` apart.
  void* widened(const void* from, Type type, Type to, int64_t count, double offset = 0, int64_t groups = 1,
                int64_t stride = 0) {
    void* wide = take(groups * count * size_of(to));
    for (int64_t group = 0; group < groups; ++group) {
      chosen_kernels().widen({type, to, static_cast<const std::byte*>(from) + group * stride * size_of(type),
                              static_cast<std::byte*>(wide) + group * count * size_of(to), count, offset});
    }
    return wide;
  }
};

// What is read in the place of an absent weight or bias: -0 leaves every number as it is when added, 0 included.
template <class T>
struct Constants {
  static constexpr int64_t count = 64;  // as many as any loop takes at a time
  alignas(64) T ones[count], minus_zeros[count];
  Constants() {
    std::fill(ones, ones + count, T(1.f));
    std::fill(minus_zeros, minus_zeros + count, T(-0.f));
  }
};

Parameter absent(Type type, bool is_weight) {
  const auto from = [&]<class T>(T) -> Parameter {
    static const Constants<T> constants;
    return {is_weight ? constants.ones : constants.minus_zeros, 0, 0};
  };
  switch (type) {
    case Type::f64: return from(double{});
    case Type::f32: return from(float{});
    case Type::f16: return from(at::Half{});
    default: return from(at::BFloat16{});
  }
}

Task prepare(const Call& call, Workspace& workspace) {
  const Shape& shape = call.shape;
  const int64_t bytes = shape.numel() * size_of(call.type);
  Task task{.type = call.type,
            .param_type = call.weight.data ? call.weight.type
                          : call.bias.data ? call.bias.type
                                           : call.type,
            .shape = shape,
            .input = call.input,
            .alpha = call.alpha_per_channel ? 0 : read(call.alpha),
            .shift = call.shift.data && !call.alpha_per_channel ? read(call.shift) : 0,
            .alphas = nullptr,
            .shifts = nullptr,
            .weight = {call.weight.data, call.weight.group_stride, -1},
            .bias = {call.bias.data, call.bias.group_stride, -1},
            .weight_offset = call.weight_offset,
            .function = call.function,
            .study = call.study,
            .adds = call.adds,
            .sum_type = call.sum_type,
            .gate = {{call.gate.data, call.gate.group_stride, -1}, call.gate.type, call.gate.shared},
            .prefetch = out_of_own_caches(bytes),
            .out_of_cache = out_of_cache(bytes)};
  const Type wide = arithmetic(call.type);
  if (call.alpha_per_channel) {
    task.alphas = workspace.widened(call.alpha.data, call.alpha.type, wide, shape.channels);
    if (call.shift.data) {
      task.shifts = workspace.widened(call.shift.data, call.shift.type, wide, shape.channels);
    } else {
      void* zeros = workspace.take(shape.channels * size_of(wide));
      std::fill_n(static_cast<std::byte*>(zeros), shape.channels * size_of(wide), std::byte{0});
      task.shifts = zeros;
    }
  }
  // No conversion where many rows will read a parameter. (bfloat16 converts as fast as it loads.) And a weight that all
  // groups share, or many rows of each, is offset here.
  const bool shared = call.weight.group_stride == 0 && call.bias.group_stride == 0;
  const bool widen_groups = call.weight_offset != 0 && shape.rows * shape.inner >= 8;
  const bool widen_shared =
      call.weight_offset != 0 || (task.param_type == Type::f16 && shape.in_rows() && shape.rows >= 16);
  if (shared ? widen_shared : widen_groups) {
    for (auto [parameter, offset] : {std::pair(&task.weight, call.weight_offset), std::pair(&task.bias, 0.)}) {
      if (parameter->data) {
        const int64_t groups = parameter->group_stride == 0 ? 1 : shape.groups;
        parameter->data = workspace.widened(parameter->data, task.param_type, wide, shape.channels, offset, groups,
                                            parameter->group_stride);
        parameter->group_stride = groups == 1 ? 0 : shape.channels;
      }
    }
    task.param_type = wide;
    task.weight_offset = 0;
  }
  if (!task.weight.data) {
    task.weight = absent(task.param_type, true);
  }
  if (!task.bias.data) {
    task.bias = absent(task.param_type, false);
  }
  if (call.adds && !task.gate.data) {
    task.gate = {absent(wide, true), wide, true};
  }
  return task;
}

// 1 / scale. (Where one serves all it is read over and over, as absent parameters are.)
Parameter inverse_scale(const Forward& call, Workspace& workspace) {
  const auto& [data, format, scale, per_channel] = call.quantized;
  if (!data) {
    return {};
  }
  const int64_t count = per_channel ? call.shape.channels : Constants<float>::count;
  const Type type = arithmetic(call.type);
  void* inverse = workspace.take(count * size_of(type));
  for (int64_t i = 0; i < count; ++i) {
    const double x = 1 / double(scale[per_channel ? i : 0]);
    if (type == Type::f64) {
      static_cast<double*>(inverse)[i] = x;
    } else {
      static_cast<float*>(inverse)[i] = static_cast<float>(x);
    }
  }
  return {inverse, 0, per_channel ? -1 : 0};
}

Tiles tiles_of(const Shape& shape) {
  const auto blocks = [](int64_t all, int64_t size) { return (all + size - 1) / size; };
  Shape size;
  if (shape.in_rows()) {  // rows: few enough for float sums, channels: their sums stay in the nearest cache
    size.rows = std::min(shape.rows, std::clamp<int64_t>(shape.rows / 128 * 4, 32, 128));
    size.channels = std::min<int64_t>(shape.channels, 2048);
    const int64_t row_blocks = shape.groups * blocks(shape.rows, size.rows);
    while (row_blocks * blocks(shape.channels, size.channels) < 96 && size.rows * size.channels >= 16384) {
      size.channels = blocks(blocks(size.channels, 2), 64) * 64;  // so that more threads have work
    }
  } else {
    size.inner = std::min<int64_t>(shape.inner, 4096);
    size.rows = std::clamp<int64_t>(1024 / size.inner, 1, std::min<int64_t>(shape.rows, 128));
    size.channels = std::clamp<int64_t>(65536 / (size.rows * size.inner), 1, std::min<int64_t>(shape.channels, 2048));
  }
  return {size,
          {shape.groups, blocks(shape.rows, size.rows), blocks(shape.channels, size.channels),
           blocks(shape.inner, size.inner)}};
}

struct Device {
  struct Guard {
    explicit Guard(at::Device) {}
  };

  // Results, made without the dispatcher: for small tensors its way is as long as the kernel.
  static Tensor empty(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType dtype, const Tensor&) {
    Tensor result = at::detail::empty_strided_cpu(sizes, strides, dtype);
    if (result.nbytes() >= size_t(4) << 20) {
      ask_for_huge_pages(result.mutable_data_ptr(), result.nbytes());
    }
    return result;
  }
  static Tensor empty(at::IntArrayRef sizes, const Tensor&, at::ScalarType dtype) {
    return at::detail::empty_cpu(sizes, dtype);
  }

  static void forward(const Forward& call, const Tensor&) {
    Workspace workspace;
    const ForwardTask task{
        prepare(call, workspace),      call.output, call.residual, call.sum, call.quantized.data, call.quantized.format,
        inverse_scale(call, workspace)};
    at::parallel_for(0, call.shape.numel(), 32768,
                     [&](int64_t begin, int64_t end) { chosen_kernels().forward(task, begin, end); });
  }

  static void backward(const Backward& call, const Tensor&) {
    Workspace workspace;
    const Shape& shape = call.shape;
    const Tiles tiles = tiles_of(shape);
    const bool writes_itself = tiles.rows_of_group() == 1;
    const auto sums = [&](const Result& result, bool per_channel, bool group_by_group) -> Sums {
      if (!result.data || (per_channel && writes_itself && (group_by_group || shape.groups == 1))) {
        return {result, nullptr};
      }
      const int64_t bytes = per_channel ? tiles.rows() * shape.channels * size_of(arithmetic(call.type))
                                        : tiles.total() * int64_t(sizeof(double));
      return {result, workspace.take(bytes)};
    };
    const BackwardTask task{prepare(call, workspace),
                            tiles,
                            call.grad_output,
                            call.grad_input,
                            sums(call.grad_alpha, call.alpha_per_channel, false),
                            sums(call.grad_shift, call.alpha_per_channel, false),
                            sums(call.grad_weight, true, true),
                            sums(call.grad_bias, true, true),
                            call.sum,
                            call.grad_sum,
                            call.grad_residual,
                            sums(call.grad_gate, true, true)};
    const int64_t elements = tiles.size.numel();
    at::parallel_for(0, tiles.total(), std::max<int64_t>(1, 16384 / elements),
                     [&](int64_t begin, int64_t end) { chosen_kernels().backward(task, begin, end); });
    const auto finish = [&](const Sums& sums, bool per_channel, int64_t groups) {
      if (!sums.result.data || !sums.partial) {
        return;
      }
      if (per_channel) {
        const Reduce reduce{call.type, groups, tiles.rows() / groups, shape.channels, sums.partial, sums.result};
        at::parallel_for(0, groups * shape.channels, std::max<int64_t>(256, 32768 / reduce.rows),
                         [&](int64_t begin, int64_t end) { chosen_kernels().reduce(reduce, begin, end); });
      } else {
        const auto* partial = static_cast<const double*>(sums.partial);
        CompensatedSums<1> sum;
        std::for_each(partial, partial + tiles.total(), [&](const double& each) { sum.add(&each); });
        write(sums.result, sum.total());
      }
    };
    finish(task.alpha_sums, call.alpha_per_channel, 1);
    finish(task.shift_sums, call.alpha_per_channel, 1);
    finish(task.weight_sums, true, shape.groups);
    finish(task.bias_sums, true, shape.groups);
    finish(task.gate_sums, true, shape.groups);
  }
};

}  // namespace
}  // namespace derf::cpu

TORCH_LIBRARY_IMPL(derf, CPU, m) {
  using derf::cpu::Device;
  derf::implement<derf::forward_on<Device>, derf::backward_on<Device>>(m);
  derf::implement_add<derf::add_forward_on<Device>, derf::add_backward_on<Device>>(m);
  derf::implement_out<derf::forward_into<Device>>(m);
  derf::implement_quantized<derf::quantized_on<Device>>(m);
}
