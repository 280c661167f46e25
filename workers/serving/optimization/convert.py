"""Converts a model of transformers for CTranslate2, and compares both on a fixed text.

Runs in an environment of its own, as a file: nothing here imports the application. Says what it
does in lines that begin with a mark, each a JSON object; other lines are for people.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MARK = "@loggia "
STEPS = 5
_NICE = 10
# Looked at again when the converted model is served.
_COPIED = ("generation_config.json", "chat_template.jinja")
_TEXT = (
    "A gallery keeps models as a library keeps books: each has a place, a description and a "
    "history of everything that happened to it. When somebody asks for a model, an engine loads "
    "its weights, reads the question word by word, and writes an answer, one token after the "
    "other. In the morning the harbour is quiet; by noon the market is full of people who buy "
    "bread, fruit and flowers, and at 18:30 the last of 42 boats comes home. To measure how much "
    "a model has changed, one lets it read the same page twice and compares what it expected."
)
_MAX_TOKENS = 256


class Refused(Exception):
    """The model cannot be converted, with the reason."""


def main() -> None:
    """Writes the converted model; ends with 1 and the reason where that cannot be done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--quantization", required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--own-code", action="store_true")
    given = parser.parse_args()
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_DATA, (given.memory_bytes, given.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _convert(given)
    except Refused as refused:
        _say(refusal=str(refused))
        sys.exit(1)
    except MemoryError:
        _say(refusal="The conversion needs more memory than it may have.")
        sys.exit(1)


def _convert(given: argparse.Namespace) -> None:
    import ctranslate2
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoTokenizer

    supported = ctranslate2.get_supported_compute_types(given.device)
    if given.quantization not in supported:
        raise Refused(
            f"This server's {given.device.upper()} does not compute {given.quantization} with "
            f"CTranslate2; it knows {', '.join(sorted(supported))}."
        )
    _say(step=1, message="reading the original model")
    tokenizer = AutoTokenizer.from_pretrained(given.model, trust_remote_code=given.own_code)
    if not tokenizer.is_fast:
        raise Refused("The model's tokenizer cannot be written as tokenizer.json.")
    tokens = tokenizer.encode(_TEXT)[: _context(given.model)]
    original = _original_logits(given, tokens)
    _say(step=2, message=f"converting to {given.quantization}")
    copied = [name for name in _COPIED if (given.model / name).is_file()]
    converter = TransformersConverter(
        str(given.model),
        copy_files=copied,
        low_cpu_mem_usage=True,
        trust_remote_code=given.own_code,
    )
    try:
        converter.convert(str(given.output), quantization=given.quantization)
    except (ValueError, NotImplementedError, RuntimeError) as error:
        raise Refused(f"CTranslate2 cannot convert this model: {error}") from error
    _say(step=3, message="writing the tokenizer")
    tokenizer.save_pretrained(given.output)
    (given.output / "original_config.json").write_bytes((given.model / "config.json").read_bytes())
    gc.collect()
    _say(step=4, message="comparing with the original")
    converted = _converted_logits(given, tokenizer.convert_ids_to_tokens(tokens))
    _say(result=_comparison(original, converted, tokens))


def _context(folder: Path) -> int:
    config = json.loads((folder / "config.json").read_bytes())
    lengths = (config.get(name) for name in ("max_position_embeddings", "n_positions"))
    return min(_MAX_TOKENS, *(length for length in lengths if isinstance(length, int)))


def _original_logits(given: argparse.Namespace, tokens: list[int]) -> np.ndarray:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        given.model,
        torch_dtype="auto",
        low_cpu_mem_usage=True,
        trust_remote_code=given.own_code,
    )
    model.eval()
    with torch.inference_mode():
        found = model(input_ids=torch.tensor([tokens])).logits[0].float().numpy()
    del model
    gc.collect()
    return np.asarray(found)


def _converted_logits(given: argparse.Namespace, tokens: list[str]) -> np.ndarray:
    import ctranslate2
    import numpy as np

    generator = ctranslate2.Generator(
        str(given.output), device=given.device, compute_type=given.quantization
    )
    found = generator.forward_batch([tokens], return_log_probs=False)
    host = found.to_device(ctranslate2.Device.cpu) if given.device == "cuda" else found
    logits: np.ndarray = np.array(host.to(ctranslate2.DataType.float32))
    return np.asarray(logits[0])


def _comparison(original: np.ndarray, converted: np.ndarray, tokens: list[int]) -> dict[str, Any]:
    import numpy as np

    size = min(original.shape[-1], converted.shape[-1])
    original, converted = original[:, :size], converted[:, :size]
    difference = np.abs(_log_probabilities(original) - _log_probabilities(converted))
    return {
        "tokens": len(tokens),
        "perplexity_before": _perplexity(original, tokens),
        "perplexity_after": _perplexity(converted, tokens),
        "mean_difference": float(difference.mean()),
        "largest_difference": float(difference.max()),
        "same_first_choice": float((original.argmax(-1) == converted.argmax(-1)).mean()),
    }


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    import numpy as np

    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _perplexity(logits: np.ndarray, tokens: list[int]) -> float:
    """Of every token, given those before it."""
    import numpy as np

    chosen = _log_probabilities(logits)[np.arange(len(tokens) - 1), tokens[1:]]
    return math.exp(-float(chosen.mean()))


def _say(**facts: Any) -> None:
    print(f"{MARK}{json.dumps(facts)}", flush=True)


if __name__ == "__main__":
    main()
