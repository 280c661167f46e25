"""Writes the adapters beside this file with peft itself, on the tiny Llama of the tests.

Run it where torch, transformers and peft are installed: `python make.py FOLDER_OF_TINY_LLAMA`.
The application and its tests need none of them; they read what is kept here.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoHaConfig,
    LoraConfig,
    PromptTuningConfig,
    get_peft_model,
)
from transformers import AutoModelForCausalLM

_RANDOM: dict[str, Any] = {"init_lora_weights": False, "task_type": "CAUSAL_LM"}
_HERE = Path(__file__).parent


def configs() -> dict[str, Any]:
    """One adapter of each kind that people upload."""
    return {
        "lora": LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], **_RANDOM),
        "lora_patterns": LoraConfig(
            r=4,
            target_modules=r"model\.layers\.\d+\.mlp\.(up|down)_proj",
            rank_pattern={"up_proj": 2},
            alpha_pattern={"up_proj": 32},
            use_rslora=True,
            **_RANDOM,
        ),
        "dora": LoraConfig(r=2, target_modules="all-linear", use_dora=True, **_RANDOM),
        "embeddings": LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"], **_RANDOM),
        "saved_modules": LoraConfig(
            r=2, target_modules=["o_proj"], modules_to_save=["norm", "input_layernorm"], **_RANDOM
        ),
        "parameters": LoraConfig(
            r=2,
            target_modules=[],
            target_parameters=["mlp.gate_proj.weight"],
            task_type="CAUSAL_LM",
        ),
        "tokens": LoraConfig(
            r=2, target_modules=["k_proj"], trainable_token_indices=[5, 7], **_RANDOM
        ),
        "biased": LoraConfig(r=2, target_modules=["q_proj"], lora_bias=True, **_RANDOM),
        "first_layer": LoraConfig(
            r=2, target_modules=["q_proj"], layers_to_transform=[0], **_RANDOM
        ),
        "adalora": AdaLoraConfig(
            init_r=4, target_r=2, total_step=10, target_modules=["q_proj"], task_type="CAUSAL_LM"
        ),
        "ia3": IA3Config(
            target_modules=["k_proj", "down_proj"],
            feedforward_modules=["down_proj"],
            task_type="CAUSAL_LM",
        ),
        "loha": LoHaConfig(r=2, target_modules=["v_proj"], task_type="CAUSAL_LM"),
        "prompt": PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
    }  # fmt: skip


def main(base: str) -> None:
    for name, config in configs().items():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype="float32"), config)
        model.to(torch.bfloat16 if name == "dora" else torch.float32)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_B" in key:  # some kinds begin with zeros whatever one asks for
                    parameter.normal_()
        for module_config in model.peft_config.values():
            module_config.base_model_name_or_path = "example/tiny-llama"
        folder = _HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink()


if __name__ == "__main__":
    main(sys.argv[1])
