"""What vLLM is asked about itself once it is installed. Written for the engine's own Python."""

# Loads the engine as its server does, lists its options, and tries each method that quantizes on
# load on one small layer, because only that tells what this machine has kernels for.
PROBE = """
import json, re, sys, tempfile

# It keeps the words that explain its options to itself unless they are asked for.
sys.argv = ["vllm", "serve", "--help"]

import torch
from vllm.entrypoints.launchers.api_server import entry
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser


def sentence(text):
    words = " ".join((text or "").replace("%%", "%").split())
    words = re.sub(r"[`*]+", "", words)
    return words if len(words) <= 400 else words[:400].rsplit(" ", 1)[0] + " …"


def options():
    found = {}
    for action in make_arg_parser(FlexibleArgumentParser())._actions:
        long = [o for o in action.option_strings if o.startswith("--")]
        flags = [o for o in long if not o.startswith("--no-")]
        if not flags or action.dest == "help":
            continue
        kind = getattr(action.type, "__name__", "text")
        found[flags[0][2:].replace("-", "_")] = {
            "flag": flags[0],
            "kind": "switch" if action.nargs == 0 else kind if kind in ("int", "float") else "text",
            "negation": next((o for o in long if o.startswith("--no-")), None),
            "choices": [str(c) for c in action.choices or ()],
            "many": action.nargs in ("+", "*"),
            "help": sentence(action.help),
        }
    return found


def quantizations():
    from vllm.model_executor.layers import quantization
    from vllm.platforms import current_platform

    capability = current_platform.get_device_capability()
    have = capability.to_int() if capability is not None else None
    found = {}
    for name in quantization.QUANTIZATION_METHODS:
        try:
            current_platform.verify_quantization(name)
            config = quantization.get_quantization_config(name)
            needed = config.get_min_capability()
        except Exception as error:
            found[name] = {"on_load": False, "refusal": sentence(str(error))}
            continue
        refusal = ""
        if have is not None and needed > have:
            refusal = (
                f"It needs compute capability {needed / 10:.1f}; this GPU has {have / 10:.1f}."
            )
        found[name] = {"on_load": False, "refusal": refusal}
    for name, refusal in on_load():
        known = found.get(name, {}).get("refusal", "")
        found[name] = {"on_load": True, "refusal": known or refusal}
    return found


def on_load():
    from vllm.config.quantization import _ONLINE_SHORTHANDS
    from vllm.model_executor.layers.quantization.online.base import _ONLINE_LINEAR_METHODS

    join_world_of_one()
    for name, meant in _ONLINE_SHORTHANDS.items():
        if meant.linear is None:
            yield name, "It quantizes the experts of mixture models only, nothing of others."
            continue
        try:
            try_layer(_ONLINE_LINEAR_METHODS[meant.linear.weight])
        except Exception as error:
            why = sentence(str(error)) or type(error).__name__
            why = why.removesuffix("Reasons:").replace("..", ".").strip(" .:")
            yield name, f"vLLM has no kernel for it on this hardware: {why}."
        else:
            yield name, ""


def join_world_of_one():
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel

    with set_current_vllm_config(VllmConfig()):
        meeting = "file://" + tempfile.mktemp()
        init_distributed_environment(1, 0, meeting, 0, "gloo")
        initialize_model_parallel(1, 1)


def try_layer(method_class):
    from types import SimpleNamespace
    from unittest import mock

    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.platforms import current_platform

    config = VllmConfig()
    size = 256
    with set_current_vllm_config(config), torch.device(current_platform.device_type):
        model = SimpleNamespace(dtype=torch.bfloat16)
        with mock.patch.object(config, "model_config", model):
            torch.set_default_dtype(torch.bfloat16)
            method = method_class()
            layer = torch.nn.Module()
            layer.tp_size = 1
            layer.input_size = layer.input_size_per_partition = size
            layer.output_size = layer.output_size_per_partition = size
            method.uses_meta_device = False
            method.create_weights(layer, size, [size], size, size, torch.bfloat16)
            weight = torch.randn(size, size, dtype=torch.bfloat16)
            del layer._parameters["weight"]
            layer.weight = torch.nn.Parameter(weight, requires_grad=False)
            method.process_weights_after_loading(layer)
            method.apply(layer, torch.randn(4, size, dtype=torch.bfloat16))


facts = {"options": options()}
try:
    facts["quantizations"] = quantizations()
except Exception as error:
    # Another release may have moved these; the options alone are enough to serve.
    facts["quantizations"] = {}
    print("quantizations:", type(error).__name__, error)
sys.stdout.write("\\n" + json.dumps(facts) + "\\n")
"""
