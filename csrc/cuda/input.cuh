// What a kernel applies the function to: input as it is (Plain), or sum = residual + gate * input, rounded to its type
// (ResidualInput). Both give, for a thread's column,
//   Source     of a forward: load a row's packet, take its numbers
//   Gradient   of a backward: load the packet that x is in, take x from it, and finish with the gradient of x
#pragma once
#include "memory.cuh"

namespace derf::cuda {

template <class T>
struct Plain {
  static constexpr bool adds = false, is_mixed = false;

  template <int width>
  struct Source {
    using Packet = Loaded<T, width>;
    const T* input;

    DERF_THREAD Source(const Forward& call, const ThreadTile& tile, const Channels&)
        : input(static_cast<const T*>(call.input) + tile.offset) {}
    DERF_THREAD Packet load(int64_t at) const { return cuda::load<T, width>(input + at); }
    DERF_THREAD void take(const Packet& packet, int64_t, Numbers<T, width>& x) const { widen<T, width>(packet, x); }
    DERF_THREAD void advance(int64_t by) { input += by; }
  };

  template <int width>
  struct Gradient {
    using Packet = Loaded<T, width>;
    static constexpr int gate_sums = 0;
    const T* x;
    T* grad_input;

    DERF_THREAD Gradient(const Backward& call, const ThreadTile&, const Channels&)
        : x(static_cast<const T*>(call.input)), grad_input(static_cast<T*>(call.grad_input)) {}
    DERF_THREAD Packet load(int64_t at) const { return cuda::load<T, width>(x + at); }
    DERF_THREAD void take(const Packet& packet, Numbers<T, width>& numbers) const { widen<T, width>(packet, numbers); }
    DERF_THREAD void finish(Numbers<T, width>& of_x, const Packet&, int64_t at, opmath_t<T>*) const {
      if (grad_input) {
        store<T, width>(grad_input + at, of_x);
      }
    }
  };
};

// `width` neighbours of type T, loaded and stored by 128 bits at most.
template <class T, int width>
struct Row {
  static constexpr int piece = width < vector_width<T> ? width : vector_width<T>, pieces = width / piece;
  Loaded<T, piece> each[pieces];

  DERF_THREAD static Row load(const T* from) {
    Row row;
#pragma unroll
    for (int k = 0; k < pieces; ++k) {
      row.each[k] = cuda::load<T, piece>(from + k * piece);
    }
    return row;
  }
  DERF_THREAD void take(Numbers<T, width>& to) const {
#pragma unroll
    for (int k = 0; k < pieces; ++k) {
      Numbers<T, piece> some;
      widen<T, piece>(each[k], some);
#pragma unroll
      for (int i = 0; i < piece; ++i) {
        to[k * piece + i] = some[i];
      }
    }
  }
  // Stores the numbers, which become what they are in memory.
  DERF_THREAD static void put(T* to, Numbers<T, width>& from) {
#pragma unroll
    for (int k = 0; k < pieces; ++k) {
      Numbers<T, piece> some;
#pragma unroll
      for (int i = 0; i < piece; ++i) {
        some[i] = from[k * piece + i];
      }
      const Loaded<T, piece> packet = narrowed<T, piece>(some);
      store_packet<T, piece>(to + k * piece, packet);
      widen<T, piece>(packet, some);
#pragma unroll
      for (int i = 0; i < piece; ++i) {
        from[k * piece + i] = some[i];
      }
    }
  }
};

template <class T, class Sum>
struct ResidualInput {
  static constexpr bool adds = true, is_mixed = sizeof(Sum) != sizeof(T);  // so many bytes a row that one is enough
  using Number = opmath_t<T>;

  template <int width>
  struct GateOf {
    Fetched<T, width> each;

    DERF_THREAD GateOf(const Gate& gate, uint32_t group, const Channels& of) {
      if (!gate.shared) {
        each = of.template fetch<T, width>(gate, group, Number(1));
        each.unpack();
        return;
      }
      auto all = fetch_one<T>(gate.data, gate.type, group * gate.group_stride);
      all.unpack();
      each.fill(all.values[0]);
    }
    DERF_THREAD Number operator[](int i) const { return each.values[i]; }
  };

  template <int width>
  struct Source {
    struct Packet {
      Loaded<T, width> input;
      Row<Sum, width> residual;
    };
    const T* input;
    const Sum* residual;
    Sum* sum;
    const GateOf<width> gate;

    DERF_THREAD Source(const Forward& call, const ThreadTile& tile, const Channels& of)
        : input(static_cast<const T*>(call.input) + tile.offset),
          residual(static_cast<const Sum*>(call.residual) + tile.offset),
          sum(static_cast<Sum*>(call.sum) + tile.offset),
          gate(call.gate, tile.group, of) {}
    DERF_THREAD Packet load(int64_t at) const {
      return {cuda::load<T, width>(input + at), Row<Sum, width>::load(residual + at)};
    }
    DERF_THREAD void take(const Packet& packet, int64_t at, Numbers<T, width>& x) const {
      Numbers<T, width> beside;
      widen<T, width>(packet.input, x);
      packet.residual.take(beside);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        x[i] = beside[i] + rounded_product(gate[i], x[i]);
      }
      Row<Sum, width>::put(sum + at, x);
    }
    DERF_THREAD void advance(int64_t by) {
      input += by;
      residual += by;
      sum += by;
    }
  };

  template <int width>
  struct Gradient {
    struct Packet {
      Row<Sum, width> sum, grad_sum;
    };
    static constexpr int gate_sums = width;
    const T* input;
    T* grad_input;
    const Sum *sum, *grad_sum;
    Sum* grad_residual;
    const GateOf<width> gate;

    DERF_THREAD Gradient(const Backward& call, const ThreadTile& tile, const Channels& of)
        : input(static_cast<const T*>(call.input)),
          grad_input(static_cast<T*>(call.grad_input)),
          sum(static_cast<const Sum*>(call.sum)),
          grad_sum(static_cast<const Sum*>(call.grad_sum)),
          grad_residual(static_cast<Sum*>(call.grad_residual)),
          gate(call.gate, tile.group, of) {}
    DERF_THREAD Packet load(int64_t at) const {
      Packet packet{Row<Sum, width>::load(sum + at), {}};
      if (grad_sum) {
        packet.grad_sum = Row<Sum, width>::load(grad_sum + at);
      }
      return packet;
    }
    DERF_THREAD void take(const Packet& packet, Numbers<T, width>& numbers) const { packet.sum.take(numbers); }
    DERF_THREAD void finish(Numbers<T, width>& of_x, const Packet& packet, int64_t at, Number* gate_sum) const {
      Numbers<T, width> beside;
      packet.grad_sum.take(beside);  // zeros where there is none
#pragma unroll
      for (int i = 0; i < width; ++i) {
        of_x[i] = grad_sum ? of_x[i] + beside[i] : of_x[i];
      }
      if (input) {
        widen<T, width>(cuda::load<T, width>(input + at), beside);
#pragma unroll
        for (int i = 0; i < width; ++i) {
          gate_sum[i] = std::fma(of_x[i], beside[i], gate_sum[i]);
        }
      }
      if (grad_input) {
#pragma unroll
        for (int i = 0; i < width; ++i) {
          beside[i] = of_x[i] * gate[i];
        }
        store<T, width>(grad_input + at, beside);
      }
      if (grad_residual) {
        Row<Sum, width>::put(grad_residual + at, of_x);
      }
    }
  };
};

}  // namespace derf::cuda
