// F.layer_norm's loops on one thread, of the same parts of ATen that PyTorch's own are made of.
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/native/cpu/moments_utils.h>

#include <cmath>

#include "calls.h"

namespace {

using namespace at::vec;

template <class T>
void layer_norm(const Tensors<T>& t) {
  using V = Vectorized<float>;
  for (int64_t i = 0; i < t.rows; ++i) {
    const T* x = t.input + i * t.channels;
    const auto [mean, variance] = at::native::RowwiseMoments(x, t.channels);
    const float scale = 1 / std::sqrt(float(variance) + 1e-5f), offset = -scale * float(mean);
    map3<T>([=](V a, V weight, V bias) { return (a * V(scale) + V(offset)) * weight + bias; },
            t.output + i * t.channels, x, t.weight, t.bias, t.channels);
    t.mean[i] = float(mean);
    t.scale[i] = scale;
  }
}

template <class T>
void layer_norm_backward(const Tensors<T>& t) {
  using V = Vectorized<float>;
  const auto product = [](V a, V b) { return a * b; };
  const auto product_of_three = [](V a, V b, V c) { return a * b * c; };
  const auto sum = [](V a, V b) { return a + b; };
  for (int64_t i = 0; i < t.rows; ++i) {
    const int64_t n = t.channels;
    const T *grad = t.grad_output + i * n, *x = t.input + i * n;
    const float a = float(t.scale[i]), mean = float(t.mean[i]), b = -a * mean;
    map3<T>([=](V total, V g, V each) { return total + g * (V(a) * each + V(b)); }, t.grad_weight, t.grad_weight, grad,
            x, n);
    map2<T>(sum, t.grad_bias, t.grad_bias, grad, n);
    const float ds = map3_reduce_all<T>(product_of_three, sum, grad, x, t.weight, n);
    const float db = map2_reduce_all<T>(product, sum, grad, t.weight, n);
    const float c = (db * mean - ds) * a * a * a / float(n), d = -c * mean - db * a / float(n);
    map3<T>([=](V g, V weight, V each) { return V(a) * g * weight + V(c) * each + V(d); }, t.output + i * n, grad,
            t.weight, x, n);
  }
}

}  // namespace

extern "C" {
void layer_norm_forward_float32(const Tensors<float>& t) { layer_norm(t); }
void layer_norm_forward_bfloat16(const Tensors<c10::BFloat16>& t) { layer_norm(t); }
void layer_norm_backward_float32(const Tensors<float>& t) { layer_norm_backward(t); }
void layer_norm_backward_bfloat16(const Tensors<c10::BFloat16>& t) { layer_norm_backward(t); }
}
