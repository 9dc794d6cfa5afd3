"""replace_norm, restore_norm, convert_state_dict, copies and files, in any order: hypothesis looks for an order that
leaves a model in another state than a list of plain numbers beside it."""

import copy
import io
import pickle

import derf
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import nn
from torch.nn import functional as F

CHANNELS = 6
FUNCTIONS = {"erf": torch.erf, "tanh": torch.tanh, "smoothsign": lambda u: u / (1 + u.abs())}


def network():
    shared = nn.LayerNorm(CHANNELS)
    return nn.ModuleDict(
        {
            "plain": nn.LayerNorm(CHANNELS, eps=1e-2),
            "no_bias": nn.LayerNorm(CHANNELS, bias=False),
            "bare": nn.LayerNorm(CHANNELS, elementwise_affine=False),
            "rms": nn.RMSNorm(CHANNELS, eps=1e-3),
            "first": shared,
            "linear": nn.Linear(CHANNELS, CHANNELS),
            "second": nn.Sequential(shared),
        }
    )


SITES = ("plain", "no_bias", "bare", "rms", "first")
EPS = {"plain": 1e-2, "no_bias": 1e-5, "bare": 1e-5, "rms": 1e-3, "first": 1e-5}


class Site:
    """What a layer is to be: its numbers, and the function, alpha and shift it has as a point-wise layer."""

    def __init__(self, name, norm):
        self.name, self.function, self.alpha, self.shift = name, None, None, None
        self.weight, self.bias = (None if p is None else p.detach().clone() for p in (norm.weight, norm_bias(norm)))

    def output(self, input):
        if self.function is None:
            if self.name == "rms":
                return F.rms_norm(input, (CHANNELS,), self.weight, EPS[self.name])
            return F.layer_norm(input, (CHANNELS,), self.weight, self.bias, EPS[self.name])
        y = FUNCTIONS[self.function](self.alpha * input + (0 if self.shift is None else self.shift))
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias


def norm_bias(norm):
    return getattr(norm, "bias", None)


class Conversions(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.model = network()
        self.sites = {name: Site(name, self.model[name]) for name in SITES}
        self.training, self.step = True, 0
        self.input = torch.linspace(-2, 2, 2 * CHANNELS).view(2, CHANNELS)

    @rule(
        include=st.sets(st.sampled_from(SITES), min_size=1).map(sorted),
        function=st.sampled_from(sorted(FUNCTIONS)),
        shift=st.sampled_from([None, False, 0.25]),
        per_channel=st.booleans(),
        bias=st.booleans(),
    )
    def replace(self, include, function, shift, per_channel, bias):
        norms = [name for name in include if self.sites[name].function is None]
        options = {"include": include, "function": function, "shift": shift, "per_channel": per_channel, "bias": bias}
        if len(norms) < len(include):  # one of them matches no norm
            before = {name: t.clone() for name, t in self.model.state_dict().items()}
            with pytest.raises(ValueError, match="^derf: include"):
                derf.replace_norm(self.model, **options)
            assert all(torch.equal(t, before[name]) for name, t in self.model.state_dict().items())
            return
        assert derf.replace_norm(self.model, **options) is self.model
        for name in norms:
            site = self.sites[name]
            channels = (CHANNELS,) if per_channel else (1,)
            site.function, site.alpha = function, torch.full(channels, 0.5)
            site.shift = None if shift is False else torch.full(channels, shift or 0.0)
            if bias and site.weight is not None and site.bias is None:
                site.bias = torch.zeros(CHANNELS)

    @rule()
    def restore(self):
        assert derf.restore_norm(self.model) is self.model
        for site in self.sites.values():
            site.function = site.alpha = site.shift = None
            if site.name in ("no_bias", "rms"):
                site.bias = None

    @rule()
    def learn(self):
        """Other numbers in every parameter."""
        self.step += 1
        for name, site in self.sites.items():
            for parameter in ("alpha", "shift", "weight", "bias"):
                tensor = getattr(site, parameter)
                if tensor is not None:
                    new = torch.linspace(0.1, 0.9, tensor.numel()) + 0.1 * (self.step % 7)
                    setattr(site, parameter, new)
                    with torch.no_grad():
                        getattr(self.model[name], parameter).copy_(new)

    @rule(training=st.booleans())
    def train(self, training):
        self.model.train(training)
        self.training = training

    @rule(how=st.sampled_from(["deepcopy", "pickle", "save"]))
    def go_on_with_a_copy(self, how):
        if how == "deepcopy":
            other = copy.deepcopy(self.model)
        elif how == "pickle":
            other = pickle.loads(pickle.dumps(self.model))
        else:
            file = io.BytesIO()
            torch.save(self.model, file)
            other = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
        with torch.no_grad():  # the copy is nobody else's
            for parameter in self.model.parameters():
                parameter.zero_()
        self.model = other

    @rule()
    def through_a_checkpoint(self):
        file = io.BytesIO()
        torch.save(self.model.state_dict(), file)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.zero_()
        loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        self.model.load_state_dict(derf.convert_state_dict(loaded, self.model), strict=True)

    @rule()
    def a_checkpoint_for_the_norms(self):
        plain = network()
        plain.load_state_dict(derf.convert_state_dict(self.model.state_dict(), plain), strict=True)
        for name, site in self.sites.items():
            assert plain[name].weight is None or torch.equal(plain[name].weight, site.weight)
            bias = norm_bias(plain[name])
            assert bias is None or torch.equal(bias, site.bias)

    @precondition(lambda self: any(site.function for site in self.sites.values()))
    @rule()
    def a_checkpoint_of_norms(self):
        """weight and bias come from the norms; alpha and shift stay."""
        plain = network()
        for parameter in plain.parameters():
            nn.init.constant_(parameter, 0.3)
        self.model.load_state_dict(derf.convert_state_dict(plain.state_dict(), self.model), strict=True)
        for name, site in self.sites.items():
            if site.weight is not None:
                site.weight = torch.full((CHANNELS,), 0.3)
            if site.bias is not None and norm_bias(plain[name]) is not None:
                site.bias = torch.full((CHANNELS,), 0.3)

    @invariant()
    def the_model_is_what_the_list_says(self):
        if not hasattr(self, "model"):
            return
        assert self.model["first"] is self.model["second"][0]
        for name, site in self.sites.items():
            layer = self.model[name]
            assert isinstance(layer, derf.PointwiseNorm) == (site.function is not None), name
            assert layer.training == self.training, name
            # float32, within 4 ulp, of terms of magnitude 4.
            torch.testing.assert_close(layer(self.input), site.output(self.input), rtol=1e-6, atol=2e-6, msg=name)


TestConversions = Conversions.TestCase
# A replace_norm takes some milliseconds: seconds in all.
TestConversions.settings = settings(settings.get_profile("short"), max_examples=25, stateful_step_count=15)
