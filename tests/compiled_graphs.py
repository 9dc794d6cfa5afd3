"""What the graphs have that a compiler gets, and a backend that runs derf.compile_passes without generating code."""

from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._inductor import config
from torch._inductor.custom_graph_pass import CustomGraphPass


class Look(CustomGraphPass):
    """Collects the operators of the graphs that Inductor compiles, forward and backward."""

    def __init__(self):
        self.targets = []

    def __call__(self, graph):
        self.targets += [node.target for node in graph.nodes if node.op == "call_function"]

    def uuid(self):
        return None

    def of_ours(self):
        return [target for target in self.targets if getattr(target, "namespace", "") == "derf"]


class Eager:
    """A backend that has the pass work on the graphs, as Inductor has, and runs the results without code generation."""

    def __init__(self):
        self.look = Look()

    def __call__(self, module, inputs):
        config.pre_grad_custom_pass(module.graph)
        module.graph.lint()
        module.recompile()
        return aot_autograd(fw_compiler=self.compiler)(module, inputs)

    def compiler(self, module, inputs):
        self.look(module.graph)
        return make_boxed_func(module.forward)
