#include "layout.h"

#include <ATen/ExpandUtils.h>
#include <ATen/ops/empty_strided.h>
#include <c10/util/SmallVector.h>

#include <algorithm>

namespace derf {
namespace {

int64_t product(at::IntArrayRef sizes) { return c10::multiply_integers(sizes); }

// Strides of dimensions of size 1 say nothing.
bool same_memory_order(const Tensor& a, at::IntArrayRef strides) {
  for (int64_t i = 0; i < a.dim(); ++i) {
    if (a.size(i) != 1 && a.stride(i) != strides[i]) {
      return false;
    }
  }
  return true;
}

}  // namespace

std::vector<int64_t> preserved_strides(const Tensor& tensor) {
  return tensor.is_non_overlapping_and_dense() ? tensor.strides().vec()
                                               : at::infer_dense_strides(tensor.sizes(), tensor.strides());
}

Layout::Layout(const Operands& operands, const Tensor& like) : operands_(operands), original_(like), input(like) {
  last_ = wrapped_channel_dim(operands.options.channel_dim, input.dim());
  kept_[GATE] = aligned_gate(operands);
  if (is_plain_rows()) {
    shape.channels = product(input.sizes().slice(first_));
    shape.rows = shape.channels == 0 ? 0 : input.numel() / shape.channels;
    if (shape.channels == 1) {
      std::swap(shape.rows, shape.inner);
    }
  } else {
    find_channels_and_groups();
    find_shape();
  }
  const auto scalar = [&](size_t index) -> Scalar {
    kept_[index] = operands_[index].defined() ? operands_[index].contiguous() : Tensor();
    return {data(kept_[index]), kept_[index].defined() ? type_of(kept_[index].scalar_type()) : Type::f32};
  };
  const Options& options = operands.options;
  call = {.type = type_of(operands.input().scalar_type()),
          .shape = shape,
          .input = input.const_data_ptr(),
          .alpha = scalar(ALPHA),
          .shift = scalar(SHIFT),
          .alpha_per_channel = shape.channels > 1 && operands[ALPHA].numel() > 1,
          .weight = channel_parameter(WEIGHT),
          .bias = channel_parameter(BIAS),
          .weight_offset = options.weight_offset,
          .function = options.function,
          .study = options.study};
  if (options.name == Name::add_pointwise_norm) {
    call.adds = true;
    call.gate = {channel_parameter(GATE), gate_is_shared_};
  }
}

// The usual case, found without a look at strides: parameters of trailing dimensions alone, of a contiguous input.
bool Layout::is_plain_rows() {
  first_ = last_ + 1;
  if (last_ + 1 != input.dim() || !input.is_contiguous()) {
    return false;
  }
  bool any = false;
  for (size_t i = ALPHA; i < OPERANDS; ++i) {
    const Tensor& tensor = i == GATE ? kept_[GATE] : operands_[i];
    if (!tensor.defined() || (operand_table[i].role != Role::channel && tensor.numel() == 1)) {
      continue;
    }
    const int64_t begin = last_ + 1 - tensor.dim();
    if ((any && begin != first_) || tensor.sizes() != input.sizes().slice(begin)) {
      return false;
    }
    first_ = begin;
    any = true;
  }
  gate_is_shared_ = kept_[GATE].defined() && kept_[GATE].numel() == 1;
  return true;
}

// Whether a parameter differs along a dimension of input.
bool Layout::varies(const Tensor& parameter, int64_t dim) const {
  const int64_t i = dim - (last_ + 1 - parameter.dim());
  return i >= 0 && parameter.size(i) != 1;
}

void Layout::find_channels_and_groups() {
  c10::SmallVector<const Tensor*, OPERANDS> parameters;
  for (size_t i = ALPHA; i < GATE; ++i) {
    if (operands_[i].defined() && (operand_table[i].role == Role::channel || operands_[i].numel() > 1)) {
      parameters.push_back(&operands_[i]);
    }
  }
  const Tensor& gate = kept_[GATE];
  const bool gate_alone = parameters.empty();
  if (gate_alone && gate.defined()) {
    parameters.push_back(&gate);
  }
  first_ = last_ + 1;
  const auto all_vary = [&](int64_t dim) {
    return std::all_of(parameters.begin(), parameters.end(), [&](const Tensor* parameter) {
      return varies(*parameter, dim) || (input.size(dim) == 1 && dim >= last_ + 1 - parameter->dim());
    });
  };
  // alpha and shift know no groups: their dimensions are channels, along which others may be shared.
  int64_t least = 0;
  for (const size_t i : {ALPHA, SHIFT}) {
    least = std::max(least, operands_[i].defined() && operands_[i].numel() > 1 ? operands_[i].dim() : 0);
  }
  while (!parameters.empty() && first_ > 0 && (last_ + 1 - first_ < least || all_vary(first_ - 1))) {
    --first_;
  }
  if (gate.defined()) {
    // It has one element for each channel, or one that all channels of a group share.
    int64_t varied = 0, all = 0;
    for (int64_t dim = first_; dim <= last_; ++dim) {
      varied += varies(gate, dim);
      all += input.size(dim) != 1;
    }
    gate_is_shared_ = varied == 0 && all != 0;
    if (!gate_alone) {
      parameters.push_back(&gate);
    }
  }
  for (int64_t dim = 0; dim < first_; ++dim) {
    for (const Tensor* parameter : parameters) {
      group_end_ = varies(*parameter, dim) ? dim + 1 : group_end_;
    }
  }
}

void Layout::find_shape() {
  shape.groups = product(input.sizes().slice(0, group_end_));
  shape.channels = product(input.sizes().slice(first_, last_ + 1 - first_));
  if (!input.is_non_overlapping_and_dense()) {
    input = input.clone();  // keeps the order of the dimensions
  }
  if (input.numel() == 0) {
    return;
  }
  if (shape.groups == 1 && shape.channels == 1) {  // the shape does not matter
    shape.inner = input.numel();
    return;
  }
  // The order of the dimensions in memory, outermost first; those of size 1 have no place there.
  c10::SmallVector<int64_t, 6> order;
  for (int64_t i = 0; i < input.dim(); ++i) {
    if (input.size(i) != 1) {
      order.push_back(i);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return input.stride(a) > input.stride(b); });
  const auto is_channel = [&](int64_t i) { return first_ <= i && i <= last_; };
  const auto is_group = [&](int64_t i) { return i < group_end_; };
  const auto groups = std::find_if_not(order.begin(), order.end(), is_group);
  const auto begin = std::find_if(order.begin(), order.end(), is_channel);
  const auto end = std::find_if_not(begin, order.end(), is_channel);
  const bool fits = std::is_sorted(order.begin(), groups) && std::none_of(groups, order.end(), is_group) &&
                    std::is_sorted(begin, end) && std::none_of(end, order.end(), is_channel);
  if (!fits) {
    input = input.contiguous();
  }
  for (int64_t i = group_end_; i < input.dim(); ++i) {
    const bool before = fits ? std::find(groups, begin, i) != begin && shape.channels > 1 : i < first_;
    if (!is_channel(i)) {
      (before ? shape.rows : shape.inner) *= input.size(i);
    }
  }
}

// Views, where that is possible, the parameter as [groups, channels], channels side by side.
ChannelParameter Layout::channel_parameter(size_t index) {
  Tensor& kept = kept_[index];
  const bool shared = index == GATE && gate_is_shared_;
  if (index != GATE) {
    kept = operands_[index];
  }
  if (!kept.defined()) {
    return {};
  }
  const auto describe = [&](int64_t group_stride) -> ChannelParameter {
    return {kept.const_data_ptr(), type_of(kept.scalar_type()), group_stride};
  };
  const int64_t leads = last_ + 1 - kept.dim();  // dimensions of input before the parameter's first
  // As a dense tensor's, the strides of the dimensions [begin, end) of input follow from that of the last one.
  const auto are_joined = [&](int64_t begin, int64_t end, int64_t stride) {
    for (int64_t i = end - 1; i >= begin; --i) {
      if (input.size(i) != 1) {
        if ((varies(kept, i) ? kept.stride(i - leads) : 0) != stride) {
          return false;
        }
        stride *= input.size(i);
      }
    }
    return true;
  };
  int64_t group_stride = 0;
  for (int64_t i = 0; i < group_end_; ++i) {  // of the innermost
    if (input.size(i) != 1) {
      group_stride = varies(kept, i) ? kept.stride(i - leads) : 0;
    }
  }
  if ((shared || are_joined(first_, last_ + 1, 1)) && are_joined(0, group_end_, group_stride)) {
    return describe(group_stride);
  }
  const int64_t begin = std::min(leads, first_);
  std::vector<int64_t> sizes(input.sizes().begin() + begin, input.sizes().begin() + last_ + 1);
  for (int64_t i = std::max(group_end_, begin); i < (shared ? last_ + 1 : first_); ++i) {
    sizes[i - begin] = 1;
  }
  const bool is_grouped = leads < group_end_;
  sizes.insert(sizes.begin(), input.sizes().begin(), input.sizes().begin() + (is_grouped ? begin : 0));
  kept = kept.expand(sizes).contiguous();
  return describe(!is_grouped ? 0 : shared ? 1 : shape.channels);
}

Tensor Layout::of_channels(const Tensor& parameter) const {
  return parameter.expand(input.sizes().slice(first_, last_ + 1 - first_)).contiguous();
}

bool Layout::lies_like_input(const Tensor& tensor) const { return same_memory_order(tensor, input.strides()); }

const void* Layout::matching(const Tensor& tensor) {
  if (!tensor.defined()) {
    return nullptr;
  }
  if (lies_like_input(tensor)) {
    return tensor.const_data_ptr();
  }
  matching_.push_back(at::empty_strided(input.sizes(), input.strides(), tensor.options()).copy_(tensor));
  return matching_.back().const_data_ptr();
}

Tensor Layout::restore(const Tensor& result) const {
  if (!result.defined() || input.is_same(original_)) {
    return result;
  }
  const auto strides = preserved_strides(original_);
  if (same_memory_order(result, strides)) {
    return result.strides() == at::IntArrayRef(strides) ? result : result.as_strided(result.sizes(), strides);
  }
  return at::empty_strided(result.sizes(), strides, result.options()).copy_(result);
}

// [groups, channels], summed afterwards over groups that share a parameter, hence in the computing type then.
std::pair<std::vector<int64_t>, at::ScalarType> Layout::gradient_of(size_t index) const {
  const Tensor& parameter = operands_[index];
  const bool is_scalar = operand_table[index].role == Role::scalar;
  if (is_scalar || parameter.numel() == shape.groups * shape.channels) {
    return {parameter.sizes().vec(), parameter.scalar_type()};
  }
  auto sizes = input.sizes().slice(0, last_ + 1).vec();
  std::fill(sizes.begin() + group_end_, sizes.begin() + first_, 1);
  return {sizes, input.scalar_type() == at::kDouble ? at::kDouble : at::kFloat};
}

Tensor Layout::finish_gradient(size_t index, Tensor gradient) const {
  const Tensor& parameter = operands_[index];
  if (!gradient.defined() || gradient.sizes() == parameter.sizes()) {
    return gradient;
  }
  const Tensor aligned = index == GATE ? aligned_gate(operands_) : parameter;
  return at::sum_to(std::move(gradient), aligned.sizes()).reshape(parameter.sizes()).to(parameter.scalar_type());
}

}  // namespace derf
