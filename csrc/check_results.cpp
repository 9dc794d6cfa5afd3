// Where results go: memory of the caller's, and 8-bit types.
#include <ATen/MemoryOverlap.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "operands.h"

namespace derf {
namespace {

// The first and the last byte of a tensor.
std::pair<const std::byte*, const std::byte*> extent(const Tensor& tensor) {
  int64_t last = 0;
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    last += (tensor.size(i) - 1) * tensor.stride(i);
  }
  const auto* begin = static_cast<const std::byte*>(tensor.const_data_ptr());
  return {begin, begin + (last + 1) * int64_t(tensor.element_size()) - 1};
}

// Tensors between whose elements others lie count as overlapping where their extents do.
bool may_overlap(const Tensor& a, const Tensor& b) {
  const auto status = at::get_overlap_status(a, b);
  if (status != at::MemOverlapStatus::TooHard) {
    return status != at::MemOverlapStatus::No;
  }
  const auto [a_first, a_last] = extent(a);
  const auto [b_first, b_last] = extent(b);
  return a_first <= b_last && b_first <= a_last;
}

// Whether two elements may share memory: a dimension's step lies within what smaller steps reach. PyTorch's own check
// sees a step of 0 alone.
bool may_overlap_itself(const Tensor& tensor) {
  std::vector<std::pair<int64_t, int64_t>> steps;  // and sizes
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    if (tensor.size(i) > 1) {
      steps.emplace_back(tensor.stride(i), tensor.size(i));
    }
  }
  std::sort(steps.begin(), steps.end());
  int64_t reach = 0;
  for (const auto& [step, size] : steps) {
    if (step <= reach) {
      return true;
    }
    reach += (size - 1) * step;
  }
  return false;
}

// Whether each element of one is the same element of the other.
bool is_same_memory(const Tensor& a, const Tensor& b) {
  bool same = a.const_data_ptr() == b.const_data_ptr() && a.sizes() == b.sizes();
  for (int64_t i = 0; same && i < a.dim(); ++i) {
    same = a.size(i) <= 1 || a.stride(i) == b.stride(i);
  }
  return same;
}

}  // namespace

void check_out_memory(const Operands& operands, const Tensor& out) {
  const Tensor& input = operands.input();
  const char* name = out.is_same(input) ? "input" : "out";
  if (out.numel() == 0) {
    return;
  }
  TORCH_CHECK(
      !may_overlap_itself(out), "derf: ", name,
      " must have memory of its own for each element to be written to, but elements overlap in a tensor of shape ",
      out.sizes(), " and strides ", out.strides());
  TORCH_CHECK(is_same_memory(out, input) || !may_overlap(out, input),
              "derf: out must be input itself or lie apart from it in memory, but overlaps it in part");
  for (size_t i = ALPHA; i < OPERANDS; ++i) {
    TORCH_CHECK(!operands[i].defined() || operands[i].numel() == 0 || !may_overlap(out, operands[i]), "derf: ", name,
                " must lie apart from ", operand_table[i].name, " in memory to be written to, but overlaps it");
  }
}

void check_quantization(const Operands& operands, const Quantization& q) {
  const Tensor &input = operands.input(), &scale = q.scale;
  TORCH_CHECK(q.dtype == at::kChar || q.dtype == at::kFloat8_e4m3fn || q.dtype == at::kFloat8_e5m2,
              "derf: dtype must be int8, float8_e4m3fn or float8_e5m2, but is ", q.dtype);
  TORCH_CHECK(scale.defined(), "derf: scale must be a tensor, but is absent");
  TORCH_CHECK(scale.device() == input.device(), "derf: scale must be on the device of input, ", input.device(),
              ", but is on ", scale.device());
  TORCH_CHECK(scale.layout() == at::kStrided, "derf: scale must be a strided tensor, but has layout ", scale.layout());
  TORCH_CHECK(scale.scalar_type() == at::kFloat, "derf: scale must have dtype Float, but has ", scale.scalar_type());
  if (is_per_channel(scale)) {
    const int64_t dim = wrapped_channel_dim(operands.options.channel_dim, input.dim());
    TORCH_CHECK(scale.dim() == 1 && input.dim() > 0 &&
                    scale.sym_size(0).sym_eq(input.sym_size(dim)).expect_true(__FILE__, __LINE__),
                "derf: scale must have one element, or one dimension, of the size of input's dimension channel_dim, and"
                " input's shape is ",
                input.sym_sizes(), ", but has shape ", scale.sym_sizes());
  }
}

void check_scale_values(const Tensor& scale) {
  const Tensor flat = scale.contiguous();
  const auto* values = flat.const_data_ptr<float>();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    TORCH_CHECK_VALUE(std::isfinite(values[i]) && values[i] > 0, "derf: scale must be positive and finite, but is ",
                      values[i]);
  }
}

}  // namespace derf
