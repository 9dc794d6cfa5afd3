// A node of the autograd graph that saves tensors and settings. torch::autograd::Function would do the same, but costs
// microseconds more a call, and torch.func's transforms cannot enter it.
#pragma once
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/dynamo/compiled_autograd.h>

#include <array>
#include <mutex>
#include <typeinfo>

namespace derf::autograd {

// What PyTorch holds nodes by: shared_ptr until 2.11, intrusive_ptr later.
using NodePointer = std::decay_t<decltype(std::declval<const at::Tensor&>().grad_fn())>;

template <class Node, class Base, class Settings>
std::shared_ptr<Node> make_node(const std::shared_ptr<Base>*, const Settings& settings) {
  return {new Node(settings), [](Node* node) { deleteNode(node); }};
}
template <class Node, class Base, class Settings>
c10::intrusive_ptr<Node> make_node(const c10::intrusive_ptr<Base>*, const Settings& settings) {
  return c10::make_intrusive<Node>(settings);
}

// The node of an operator of n tensors, which saves those of them that its gradients need. Derived has, static,
//   shown(settings)                                  its name as grad_fn shows it
//   saves(which require a gradient)                  which tensors these gradients need
//   differentiate(gradients of the results, saved tensors, settings, which gradients are needed)
// Absent and unsaved tensors are undefined there. Settings can be packed() as numbers, and unpacked().
template <class Derived, size_t n, class Settings>
struct SavingNode : torch::autograd::Node {
  using List = torch::autograd::variable_list;
  using Mask = std::array<bool, n>;

  std::array<torch::autograd::SavedVariable, n> saved;
  std::array<bool, n> is_output{};  // of the operator, so that it must not hold its own node
  const Settings settings;

  explicit SavingNode(const Settings& settings_) : settings(settings_) {}

  // Null where nothing is to be differentiated.
  static NodePointer make_if_needed(const Settings& settings, const std::array<const at::Tensor*, n>& tensors) {
    Mask requires_grad;
    bool any = false;
    for (size_t i = 0; i < n; ++i) {
      any |= requires_grad[i] = tensors[i]->defined() && tensors[i]->requires_grad();
    }
    if (!any || !at::GradMode::is_enabled()) {
      return {};
    }
    auto node = make_node<Derived>(static_cast<NodePointer*>(nullptr), settings);
    torch::autograd::edge_list edges;
    edges.reserve(n);
    const Mask saves = Derived::saves(requires_grad);
    for (size_t i = 0; i < n; ++i) {
      edges.push_back(requires_grad[i] ? torch::autograd::impl::gradient_edge(*tensors[i]) : torch::autograd::Edge());
      if (saves[i] && tensors[i]->defined()) {
        node->saved[i] = torch::autograd::SavedVariable(*tensors[i], /*is_output=*/false);
      }
    }
    node->set_next_edges(std::move(edges));
    return node;
  }

  // Saves a result, which has its history by now.
  void save_output(size_t i, const at::Tensor& result) {
    saved[i] = torch::autograd::SavedVariable(result, /*is_output=*/true);
    is_output[i] = true;
  }

  std::string name() const override { return Derived::shown(settings); }

  List apply(List&& grads) override {
    const std::lock_guard<std::mutex> lock(mutex_);  // against a release by another thread's backward
    return Derived::differentiate(grads, unpacked(), settings, needed());
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
    for (size_t i = 0; i < n; ++i) {
      args.collect(saved[i], is_output[i]);
    }
    for (const double number : settings.packed()) {
      args.collect(number);
    }
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
    packed.pack(settings.packed());
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
    const auto list = packed.unpack<List>();
    const auto settings = Settings::unpacked(packed.unpack<std::vector<double>>());
    const auto needed = packed.unpack<std::vector<bool>>();
    std::array<at::Tensor, n> tensors;
    std::copy(list.begin(), list.end(), tensors.begin());
    Mask mask;
    std::copy(needed.begin(), needed.end(), mask.begin());
    return Derived::differentiate(grads, tensors, settings, mask);
  }

  std::array<at::Tensor, n> unpacked() {
    std::array<at::Tensor, n> tensors;
    for (size_t i = 0; i < saved.size(); ++i) {
      tensors[i] = is_output[i] ? saved[i].unpack(getptr()) : saved[i].unpack();
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

}  // namespace derf::autograd
