// What the operators of out.h do on every device alike.
#include "out.h"

#include "autograd/refuse.h"
#include "operators.h"

namespace derf {

Tensor& derf_out(Tensor& out, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                 const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim) {
  call_into({plain(input, alpha, shift, given(weight), given(bias)), {.channel_dim = channel_dim}}, out);
  return out;
}

Tensor& pointwise_norm_out(Tensor& out, const Tensor& input, const Tensor& alpha, const OptionalTensor& shift,
                           const OptionalTensor& weight, const OptionalTensor& bias, const PointwiseNormCall& o) {
  call_into({plain(input, alpha, given(shift), given(weight), given(bias)),
             options(o.function, o.channel_dim, o.weight_offset, o.dead_zone, o.input_shift, o.linear_mix, o.clip,
                     o.output_shift, o.sign)},
            out);
  return out;
}

namespace {

void refuse_gradients(const Tensor& tensor, const char* name) {
  autograd::refuse_gradients(tensor, name, "where the output is written to out or in place", "without out and inplace");
}

void no_autograd(const Operands& operands, const Tensor& out) {
  for (size_t i = 0; i < OPERANDS; ++i) {
    refuse_gradients(operands[i], operand_table[i].name);
  }
  refuse_gradients(out, "out");
  const at::AutoDispatchBelowAutograd below;
  redispatch_into(operands, out, operands.keys & c10::after_autograd_keyset);
}

// Tells autograd that the memory has changed, for whoever saved it.
void bump_version(const Operands& operands, const Tensor& out) {
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    redispatch_into(operands, out, operands.keys & c10::after_ADInplaceOrView_keyset);
  }
  out.unsafeGetTensorImpl()->bump_version();
}

void meta(const Operands& operands, const Tensor& out) {
  check(operands);
  check_out(operands, out);
}

// vmap, and the tracing of what changes memory into what does not: as two operators that have their rules.
void copied(const Operands& operands, const Tensor& out) {
  check(operands);
  check_out(operands, out);
  out.copy_(call(operands));
}

}  // namespace
}  // namespace derf

TORCH_LIBRARY_IMPL(derf, Autograd, m) { derf::implement_out<derf::no_autograd>(m); }
TORCH_LIBRARY_IMPL(derf, ADInplaceOrView, m) { derf::implement_out<derf::bump_version>(m); }
TORCH_LIBRARY_IMPL(derf, Meta, m) { derf::implement_out<derf::meta>(m); }
TORCH_LIBRARY_IMPL(derf, Functionalize, m) { derf::implement_out<derf::copied>(m); }
TORCH_LIBRARY_IMPL(derf, FuncTorchBatched, m) { derf::implement_out<derf::copied>(m); }
