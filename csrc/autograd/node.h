// A node of the autograd graph that saves five tensors. torch::autograd::Function would do the same, but costs
// microseconds more a call, and torch.func's transforms cannot enter it.
#pragma once
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/dynamo/compiled_autograd.h>

#include <array>
#include <mutex>
#include <typeinfo>

namespace derf {

// What PyTorch holds nodes by: shared_ptr in 2.11, intrusive_ptr later.
using NodePointer = std::decay_t<decltype(std::declval<const at::Tensor&>().grad_fn())>;

template <class Node, class Base>
std::shared_ptr<Node> make_node(const std::shared_ptr<Base>*, int64_t channel_dim) {
  return {new Node(channel_dim), [](Node* node) { deleteNode(node); }};
}
template <class Node, class Base>
c10::intrusive_ptr<Node> make_node(const c10::intrusive_ptr<Base>*, int64_t channel_dim) {
  return c10::make_intrusive<Node>(channel_dim);
}

// Derived has, static, its name as grad_fn shows it, and differentiate(gradients of what the operator returned, saved
// tensors, channel_dim, which of the saved tensors' gradients are needed). Absent tensors are undefined there.
template <class Derived>
struct SavingNode : torch::autograd::Node {
  using List = torch::autograd::variable_list;
  using Mask = std::array<bool, 5>;

  std::array<torch::autograd::SavedVariable, 5> saved;
  const int64_t channel_dim;

  explicit SavingNode(int64_t channel_dim_) : channel_dim(channel_dim_) {}

  // Null where nothing is to be differentiated.
  template <class... Tensors>
  static NodePointer make_if_needed(int64_t channel_dim, const Tensors&... tensors) {
    if (!torch::autograd::compute_requires_grad(tensors...)) {
      return {};
    }
    auto node = make_node<Derived>(static_cast<NodePointer*>(nullptr), channel_dim);
    node->set_next_edges(torch::autograd::collect_next_edges(tensors...));
    node->saved = {torch::autograd::SavedVariable(tensors, /*is_output=*/false)...};
    return node;
  }

  std::string name() const override { return Derived::shown; }

  List apply(List&& grads) override {
    const std::lock_guard<std::mutex> lock(mutex_);  // against a release by another thread's backward
    return Derived::differentiate(grads, unpacked(), channel_dim, needed());
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& tensor : saved) {
      tensor.reset_data();
    }
  }

  // Compiled autograd asks for what a compiled backward depends on, then has the node write itself into a graph: as a
  // call of a function of plain values, since shapes are not known at that time.
  void compiled_args(torch::dynamo::autograd::CompiledNodeArgs& args) const override {
    for (const auto& tensor : saved) {
      args.collect(tensor, /*is_output=*/false);
    }
    args.collect(channel_dim);
    for (const bool each : needed()) {
      args.collect(each);
    }
  }

  List apply_with_saved(const List& grads, torch::dynamo::autograd::SwapSavedVariables& swap) override {
    namespace compiled = torch::dynamo::autograd;
    for (auto& tensor : saved) {
      swap.before(tensor);
    }
    compiled::PackedArgs packed;
    const auto tensors = unpacked();
    const Mask mask = needed();
    packed.pack(List(tensors.begin(), tensors.end()));
    packed.pack(channel_dim);
    packed.pack(std::vector<bool>(mask.begin(), mask.end()));
    std::vector<at::TypePtr> schema;
    for (const auto& value : packed.vec()) {
      schema.push_back(value.type());
    }
    using Metadata = std::vector<std::optional<torch::autograd::InputMetadata>>;
    const auto metadata = compiled::IValuePacker<Metadata>::pack(compiled::get_input_metadata(next_edges()));
    const auto& python = compiled::getPyCompilerInterface();
    const auto name = python->bind_function(swap.get_py_compiler(), typeid(Derived).name(), &apply_packed, schema,
                                            /*is_custom_function=*/true, /*is_traceable=*/true);
    auto result =
        python->call_function(swap.get_py_compiler(), "apply_functional", name, grads, packed.vec(), metadata);
    for (auto& tensor : saved) {
      swap.after(tensor);
    }
    return result;
  }

 private:
  static List apply_packed(const List& grads, const std::vector<c10::IValue>& values) {
    torch::dynamo::autograd::PackedArgs packed(values);
    const auto tensors = packed.unpack<List>();
    const auto channel_dim = packed.unpack<int64_t>();
    const auto needed = packed.unpack<std::vector<bool>>();
    Mask mask;
    std::copy(needed.begin(), needed.end(), mask.begin());
    return Derived::differentiate(grads, tensors, channel_dim, mask);
  }

  std::array<at::Tensor, 5> unpacked() const {
    std::array<at::Tensor, 5> tensors;
    for (size_t i = 0; i < saved.size(); ++i) {
      tensors[i] = saved[i].unpack();
    }
    return tensors;
  }

  Mask needed() const {
    Mask mask;
    for (size_t i = 0; i < mask.size(); ++i) {
      mask[i] = task_should_compute_output(i);
    }
    return mask;
  }
};

}  // namespace derf
