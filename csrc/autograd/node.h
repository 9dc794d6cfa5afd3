// A node of the autograd graph that saves five tensors. torch::autograd::Function would do the same, but costs
// microseconds more a call, and torch.func's transforms cannot enter it.
#pragma once
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/dynamo/compiled_autograd.h>

#include <array>
#include <mutex>

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

// Derived has gradients(saved tensors, gradients of what the operator returned), with as many results as were saved;
// absent tensors are saved as undefined ones.
template <class Derived>
struct SavingNode : torch::autograd::Node {
  using Saved = std::array<at::Tensor, 5>;
  using List = torch::autograd::variable_list;

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

  List apply(List&& grads) override {
    const std::lock_guard<std::mutex> lock(mutex_);  // against a release by another thread's backward
    Saved tensors;
    for (size_t i = 0; i < saved.size(); ++i) {
      tensors[i] = saved[i].unpack();
    }
    return static_cast<const Derived*>(this)->gradients(tensors, std::move(grads));
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& tensor : saved) {
      tensor.reset_data();
    }
  }

  // For compiled autograd: what a compiled backward depends on, and a run of it on tensors that trace.
  void compiled_args(torch::dynamo::autograd::CompiledNodeArgs& args) const override {
    for (const auto& tensor : saved) {
      args.collect(tensor, /*is_output=*/false);
    }
    args.collect(channel_dim);
  }

  List apply_with_saved(const List& grads, torch::dynamo::autograd::SwapSavedVariables& swap) override {
    for (auto& tensor : saved) {
      swap.before(tensor);
    }
    List result = apply(List(grads));
    for (auto& tensor : saved) {
      swap.after(tensor);
    }
    return result;
  }
};

}  // namespace derf
