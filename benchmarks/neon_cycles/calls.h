// What both sides of the comparison are called with.
#pragma once
#include <c10/util/BFloat16.h>

#include <cstdint>

template <class T>
struct Tensors {
  int64_t rows, channels;
  const T *input, *grad_output, *weight, *bias;
  T* output;  // or the gradient of input
  T *grad_weight, *grad_bias;
  float *mean, *scale;  // of a row, for layer_norm
};
