// What a loop applies the function to: input as it is (Plain), or sum = residual + gate * input, rounded to its type
// (ResidualInput). Both give
//   X                  the type in memory of what the function is applied to
//   rows_per_step       in a forward
//   Source             of a forward's run: prepare, and load of a chunk of row r
//   Gradient           of a backward's run: where x is, and what becomes of the gradient of x
#pragma once
#include "memory.h"
#include "parameter_row.h"

namespace derf::CPU_CAPABILITY {

template <class T>
struct Plain {
  using X = T;
  static constexpr bool adds = false;
  static constexpr int rows_per_step = CPU_CAPABILITY::rows_per_step;

  struct Source {
    const T* x;
    const int64_t stride;
    const bool prefetches;

    Source(const cpu::ForwardTask& task, int64_t at, int64_t stride_, int64_t, int64_t)
        : x(static_cast<const T*>(task.input) + at), stride(stride_), prefetches(task.prefetch) {}

    template <int rows>
    void prepare(int64_t, int64_t, int64_t) const {}
    template <bool prepared>
    inline __attribute__((always_inline)) Chunk<T> load_row(int r, int64_t i, int64_t, int64_t count,
                                                            int64_t ahead) const {
      if (prefetches) {
        prefetch(x + r * stride + i + ahead);
      }
      return load<T>(x + r * stride + i, count);
    }
  };

  struct Gradient {
    struct Gate {};
    struct GateSum {};
    static GateSum no_gate_sum() { return {}; }
    const T* x;
    T* grad_input;

    Gradient(const cpu::BackwardTask& task, int64_t at, int64_t, int64_t)
        : x(static_cast<const T*>(task.input) + at),
          grad_input(task.grad_input ? static_cast<T*>(task.grad_input) + at : nullptr) {}

    Gate gate(int64_t, int64_t) const { return {}; }
    inline __attribute__((always_inline)) void prefetch_row(int64_t at) const { prefetch(x + at); }
    template <bool any_nan, class OfX>
    inline __attribute__((always_inline)) void finish(const OfX& of_x, int64_t at, int64_t count, bool bypass_cache,
                                                      const Gate&, GateSum&) const {
      if (grad_input) {
        store<any_nan>(grad_input + at, of_x(), count, bypass_cache);
      }
    }
  };
};

// Of a group: for a loop over channels, or over the elements of one.
template <class T>
class GateRow {
  ParameterRow<EitherIf16<T>> row_;
  bool shared_;
  Chunk<T> all_;

 public:
  GateRow(const cpu::Task& task, int64_t group, int64_t channel)
      : row_(task.gate, task.gate.type, group),
        shared_(task.gate.shared || channel >= 0),
        all_(broadcast<T>(shared_ ? row_.template one<T>(task.gate.shared ? 0 : channel) : 0)) {}

  bool brings_any_nan() const { return row_.brings_any_nan(); }
  inline __attribute__((always_inline)) Chunk<T> at(int64_t c, int64_t count) const {
    return shared_ ? all_ : row_.template load<T>(c, count);
  }
};

template <class T, class Sum>
struct ResidualInput {
  using X = Sum;
  using V = Vec<opmath_t<T>>;
  static constexpr bool adds = true;
  // Two rows are eight streams, for which memory is slower; 16-bit types wait for arithmetic more.
  static constexpr int rows_per_step = sizeof(T) == 2 ? 2 : 1;

  class Source {
    const T* input_;
    const Sum* residual_;
    const GateRow<T> gate_;
    const bool prefetches_, bypass_cache_;

    inline __attribute__((always_inline)) Chunk<T> add(int r, int64_t i, int64_t c, int64_t count,
                                                       int64_t ahead) const {
      const int64_t at = r * stride + i;
      if (prefetches_) {
        prefetch<nearest_cache>(input_ + at + ahead);
        prefetch<nearest_cache>(residual_ + at + ahead);
      }
      const Chunk<T> sum = each([](V a, V b, V g) { return b + g * a; }, load<T>(input_ + at, count),
                                load<T>(residual_ + at, count), gate_.at(c, count));
      if (gate_.brings_any_nan()) {
        return store_rounded<true, T>(x + at, sum, count, bypass_cache_);
      }
      return store_rounded<false, T>(x + at, sum, count, bypass_cache_);
    }

   public:
    Sum* x;
    const int64_t stride;

    // channel: of all elements, or -1
    Source(const cpu::ForwardTask& task, int64_t at, int64_t stride_, int64_t group, int64_t channel)
        : input_(static_cast<const T*>(task.input) + at),
          residual_(static_cast<const Sum*>(task.residual) + at),
          gate_(task, group, channel),
          prefetches_(task.prefetch),
          bypass_cache_(bypasses_cache<T>(task.out_of_cache, task.shape)),
          x(static_cast<Sum*>(task.sum) + at),
          stride(stride_) {}

    // The sums of a stretch, for a function that is called ahead.
    template <int rows>
    void prepare(int64_t i, int64_t c, int64_t end) const {
      for (int r = 0; r < rows; ++r) {
        for (int64_t k = i; k < end; k += chunk_size<T>) {
          add(r, k, c + k - i, part(end, k, chunk_size<T>), 4096 / int64_t(sizeof(T)));
        }
      }
    }
    template <bool prepared>
    inline __attribute__((always_inline)) Chunk<T> load_row(int r, int64_t i, int64_t c, int64_t count,
                                                            int64_t ahead) const {
      return prepared ? load<T>(x + r * stride + i, count) : add(r, i, c, count, ahead);
    }
  };

  class Gradient {
    const T* input_;
    T* grad_input_;
    const Sum* grad_sum_;
    Sum* grad_residual_;
    const GateRow<T> gate_;

    template <class Element, class Void>
    static Element* from(Void* first, int64_t at) {
      return first ? static_cast<Element*>(first) + at : nullptr;
    }

   public:
    using Gate = Chunk<T>;
    using GateSum = Chunk<T>;
    static GateSum no_gate_sum() { return broadcast<T>(0); }  // a vector of PyTorch's holds anything at first until 2.8
    const Sum* x;

    Gradient(const cpu::BackwardTask& task, int64_t at, int64_t group, int64_t channel)
        : input_(from<const T>(task.input, at)),
          grad_input_(from<T>(task.grad_input, at)),
          grad_sum_(from<const Sum>(task.grad_sum, at)),
          grad_residual_(from<Sum>(task.grad_residual, at)),
          gate_(task, group, channel),
          x(from<const Sum>(task.sum, at)) {}

    inline __attribute__((always_inline)) Gate gate(int64_t c, int64_t count) const { return gate_.at(c, count); }
    inline __attribute__((always_inline)) void prefetch_row(int64_t at) const {
      prefetch(x + at);
      if (grad_sum_) {
        prefetch(grad_sum_ + at);
      }
    }
    template <bool, class OfX>
    inline __attribute__((always_inline)) void finish(const OfX& of_x, int64_t at, int64_t count, bool bypass_cache,
                                                      const Gate& gate, GateSum& gate_sum) const {
      Chunk<T> grad = of_x();
      if (grad_sum_) {
        grad = each([](V a, V b) { return a + b; }, grad, load<T>(grad_sum_ + at, count));
      }
      if (grad_residual_) {
        store_rounded<true, T>(grad_residual_ + at, grad, count, bypass_cache);
      }
      if (grad_input_) {
        store<true>(grad_input_ + at, each([](V a, V b) { return a * b; }, grad, gate), count, bypass_cache);
      }
      if (input_) {
        const Chunk<T> input = load<T>(input_ + at, count);
        gate_sum = each([](V sum, V a, V b) { return fmadd(a, b, sum); }, gate_sum, grad, input);
      }
    }
  };
};

}  // namespace derf::CPU_CAPABILITY
