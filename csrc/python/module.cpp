// derf._C: what tests and tools need and is no operator.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../operators.h"

PYBIND11_MODULE(DERF_MODULE, m, pybind11::mod_gil_not_used()) {
  m.doc() = "Tools beside the operators of torch.ops.derf.";
  m.def("capabilities", &derf::cpu_capabilities,
        "The instruction sets that are built and that this processor runs, the least demanding first.");
  m.def(
      "evaluate", &derf::evaluate, pybind11::arg("function"), pybind11::arg("capability"), pybind11::arg("dtype"),
      pybind11::arg("u"), pybind11::arg("value"), pybind11::arg("value_in_sums"), pybind11::arg("slope"),
      pybind11::arg("count"),
      "Value and slope of a function (by its name) at `count` points, as the CPU kernels of an instruction set compute "
      "them for\n"
      "tensors of `dtype`; the value twice, as for results and as for sums of gradients. u, value, value_in_sums and\n"
      "slope are addresses of float64 (dtype float64) or float32 arrays.");
  m.def("evaluate_composite", &derf::evaluate_composite, pybind11::arg("function"), pybind11::arg("dtype"),
        pybind11::arg("order"), pybind11::arg("u"), pybind11::arg("result"), pybind11::arg("count"),
        "The same function, or its first or second derivative, by PyTorch's own operations.");
  m.def("functions", &derf::functions,
        "Of each function its name; its formula, a Python expression in u; the supremum of |f|; within how many ulp\n"
        "its value is in float32; whether it is monotone; and where it comes from.");
}
