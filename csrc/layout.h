// Tensors as the kernels see them: one description of memory, the same for every device.
#pragma once
#include <c10/util/SmallVector.h>

#include "call.h"
#include "operands.h"

namespace derf {

inline Type type_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble: return Type::f64;
    case at::kFloat: return Type::f32;
    case at::kHalf: return Type::f16;
    default: return Type::bf16;
  }
}

// Where a tensor's numbers are; null where it is undefined.
inline const void* data(const Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }
inline void* mutable_data(const Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr() : nullptr; }

class Layout {
  const Operands& operands_;
  const Tensor& original_;
  int64_t first_, last_;               // dimensions of input that are the channels
  int64_t group_end_ = 0;              // dimensions [0, group_end_) of input are the groups
  std::array<Tensor, OPERANDS> kept_;  // parameters as Call points at them
  bool gate_is_shared_ = false;        // by the channels of a group
  c10::SmallVector<Tensor, 4> matching_;

  ChannelParameter channel_parameter(size_t index);
  bool varies(const Tensor& parameter, int64_t dim) const;
  bool is_plain_rows();
  void find_channels_and_groups();
  void find_shape();

 public:
  Tensor input;  // dense: what the layout is that of, or a copy of it
  Shape shape;
  Call call;  // but for pointers to results

  // The operands must have passed `check`, and outlive this. Copies input only where it is not dense, or where the
  // dimensions of the channels do not lie side by side in memory.
  explicit Layout(const Operands& operands) : Layout(operands, operands.input()) {}
  // The same with the memory order of another tensor of input's shape.
  Layout(const Operands& operands, const Tensor& like);

  // The numbers of a tensor of input's shape, laid out in memory like `input`.
  const void* matching(const Tensor& tensor);

  // One number for each channel of `shape`, side by side, from one for each index of the last of the channels'
  // dimensions.
  Tensor of_channels(const Tensor& parameter) const;

  // Whether a tensor of input's shape is laid out in memory like `input`.
  bool lies_like_input(const Tensor& tensor) const;

  // A result laid out like `input` (or undefined), in the memory order that the meta kernel promises.
  Tensor restore(const Tensor& result) const;

  // The sizes and dtype in which a kernel is to store the gradient of a parameter, and the parameter's own gradient
  // from that.
  std::pair<std::vector<int64_t>, at::ScalarType> gradient_of(size_t index) const;
  Tensor finish_gradient(size_t index, Tensor gradient) const;
};

// The strides that empty_like(tensor) has.
std::vector<int64_t> preserved_strides(const Tensor& tensor);

}  // namespace derf
