// What a kernel is told: plain pointers and sizes, no tensors. The same structs for every instruction set.
#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>

namespace derf {
enum class Function : int;  // functions/functions.h
}

namespace derf::cpu {

// Memory seen as [outer, channels, inner], dense; weight and bias hold one value a channel.
struct Shape {
  int64_t outer, channels, inner;

  // Neighbours in memory belong to different channels: loops run over rows. Else over stretches of one channel.
  bool in_rows() const { return inner == 1 && channels > 1; }

  // What a loop runs over at a time.
  int64_t stretch() const { return in_rows() ? channels : inner; }
};

struct Forward {
  c10::ScalarType dtype, param_dtype;  // of input and output; of weight and bias
  Shape shape;
  const void* input;
  void* output;
  const void *weight, *bias;  // null where absent, which they are not in rows
  double alpha, shift;
  bool prefetch;      // the tensors are larger than the nearer caches
  bool out_of_cache;  // the output is large: nothing is won by keeping it in the cache
};

// The work of the backward is cut into tiles whose size depends on the shape alone, so that no result depends on the
// number of threads. A tile is `outer` x `channels` x `inner` elements (fewer at the ends); its sums go to row
// (outer block, inner block) of the partial sums, or to its own entry of the scalar ones.
struct Tiles {
  Shape size;   // of one tile
  Shape count;  // how many there are along each dimension

  int64_t rows() const { return count.outer * count.inner; }  // of partial sums
  int64_t total() const { return rows() * count.channels; }
};

struct Backward {
  c10::ScalarType dtype, param_dtype;
  Shape shape;
  Tiles tiles;
  const void *grad_output, *input, *weight;  // weight null as above
  double alpha, shift;
  void* grad_input;                       // null: not wanted; likewise below
  double *alpha_partial, *shift_partial;  // [tiles.total()]
  void *weight_partial, *bias_partial;    // [tiles.rows(), channels], float, or double with double input; both or none
  bool prefetch, out_of_cache;
};

// The sum of the partial sums of each channel, in float64, rounded once to the parameter's dtype.
struct Reduce {
  c10::ScalarType dtype, param_dtype;
  int64_t rows, channels;
  const void* partial;
  void* result;
};

// A 16-bit parameter as float.
struct Widen {
  c10::ScalarType dtype;
  const void* from;
  void* to;
  int64_t count;
};

// One function of the family on an array, for tests and tools: scalar type double for kDouble, else float.
struct Evaluate {
  Function function;
  c10::ScalarType dtype;
  const void* u;
  void *value, *value_in_sums, *slope;  // as the forward computes it, as the backward does for sums, and its slope
  int64_t count;
};

struct Kernels {
  const char* name;
  void (*forward)(const Forward&, int64_t begin, int64_t end);    // elements in the order of memory
  void (*backward)(const Backward&, int64_t begin, int64_t end);  // tiles
  void (*reduce)(const Reduce&, int64_t begin, int64_t end);      // channels
  void (*widen)(const Widen&);
  void (*evaluate)(const Evaluate&);
};

// One per instruction set that was built; defined in kernels_*.cpp.
namespace DEFAULT {
extern const Kernels kernels;
}
namespace AVX2 {
extern const Kernels kernels;
}
namespace AVX512 {
extern const Kernels kernels;
}

}  // namespace derf::cpu
