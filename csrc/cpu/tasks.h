// What the CPU's kernels are told beside the call. The same structs for every instruction set.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "../call.h"

namespace derf::cpu {

// weight or bias, never absent: a parameter that is, is read from a few ones or zeros over and over.
struct Parameter {
  const void* data;
  int64_t group_stride;
  int64_t channel_mask;  // -1, or 0 where the same few ones or zeros are read for all channels
};

// gate, never absent either.
struct GateParameter : Parameter {
  Type type;
  bool shared;  // one element for all channels of a group
};

// A call, its parameters prepared.
struct Task {
  Type type;        // of input and output
  Type param_type;  // of weight and bias, as prepared
  Shape shape;
  const void* input;
  double alpha, shift;          // where they have one element
  const void *alphas, *shifts;  // one for each channel, in the type of arithmetic; else null
  Parameter weight, bias;
  double weight_offset;
  Function function;
  Study study;
  bool adds;  // the function is applied to residual + gate * input
  Type sum_type;
  GateParameter gate;
  bool prefetch;      // the tensors are larger than the nearer caches
  bool out_of_cache;  // the output is large: nothing is won by keeping it in the cache

  // Whether loops of the function's own do not serve. They know no more than one alpha and one shift, in a unit of
  // their own, where what is near the largest number would overflow.
  bool is_general() const {
    return alphas || weight_offset != 0 || study.is_active() || is_huge(alpha) || is_huge(shift);
  }
  bool is_huge(double x) const {
    const double largest =
        type == Type::f64 ? std::numeric_limits<double>::max() : double(std::numeric_limits<float>::max());
    return x - x == 0 && std::fabs(x) > largest / 16;
  }
};

struct ForwardTask : Task {
  void* output;  // may be null where `quantized` is not
  const void* residual;
  void* sum;
  void* quantized;  // null: not wanted
  Format format;
  Parameter inverse_scale;  // in the type of arithmetic
};

// The work of the backward is cut into tiles whose size depends on the shape alone, so that no result depends on the
// number of threads. A tile is rows x channels x inner elements of one group (fewer at the ends); its sums go to row
// (group, row block, inner block) of the partial sums, or to its own entry of the scalar ones.
struct Tiles {
  Shape size;   // of one tile; groups is 1
  Shape count;  // how many there are along each dimension

  int64_t rows_of_group() const { return count.rows * count.inner; }  // of partial sums
  int64_t rows() const { return count.groups * rows_of_group(); }
  int64_t total() const { return rows() * count.channels; }
};

// Partial sums of the gradient of an operand: [tiles.rows(), channels] in the type of arithmetic, or one double a tile;
// null where they are not wanted. Where one tile has all rows of a group, it writes the gradient itself.
struct Sums {
  Result result;  // null: not wanted
  void* partial;
};

struct BackwardTask : Task {
  Tiles tiles;
  const void* grad_output;
  void* grad_input;  // null: not wanted
  Sums alpha_sums, shift_sums, weight_sums, bias_sums;
  const void *sum, *grad_sum;  // the latter null: none
  void* grad_residual;         // null: not wanted
  Sums gate_sums;

  bool wants_channels() const { return weight_sums.result.data || bias_sums.result.data; }
};

// The sums of the partial sums of each channel of each group, rounded once to the type of the gradient.
struct Reduce {
  Type type;                       // of input
  int64_t groups, rows, channels;  // rows of each group
  const void* partial;
  Result result;
};

// A parameter in the type of arithmetic (double for f64, else float), with `offset` added.
struct Widen {
  Type type, arithmetic;
  const void* from;
  void* to;
  int64_t count;
  double offset;
};

// One function of the family on an array, for tests and tools: scalar type double for f64, else float.
struct Evaluate {
  Function function;
  Type type;
  const void* u;
  void *value, *value_in_sums, *slope;  // as the forward computes it, as the backward does for sums, and its slope
  int64_t count;
};

struct Kernels {
  const char* name;
  void (*forward)(const ForwardTask&, int64_t begin, int64_t end);    // elements in the order of memory
  void (*backward)(const BackwardTask&, int64_t begin, int64_t end);  // tiles
  void (*reduce)(const Reduce&, int64_t begin, int64_t end);          // channels of all groups
  void (*widen)(const Widen&);
  void (*evaluate)(const Evaluate&);
};

// One per instruction set that was built; defined in kernels_*.cpp.
namespace DEFAULT {
DERF_API extern const Kernels kernels;
}
namespace NEON {
DERF_API extern const Kernels kernels;
}
namespace AVX2 {
DERF_API extern const Kernels kernels;
}
namespace AVX512 {
DERF_API extern const Kernels kernels;
}

}  // namespace derf::cpu
