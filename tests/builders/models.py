"""A real, tiny Llama with a trained tokenizer, small enough to make in every test.

Real vLLM loads it: the head size (64) is one that its CPU kernels know. Its words mean nothing.

    python -m tests.builders.models tiny-llama.zip
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 512
HIDDEN = 128
INTERMEDIATE = 128
LAYERS = 2
HEADS = 2
HEAD_SIZE = 64
BEGIN, END, PAD = "<s>", "</s>", "<pad>"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "[{{ message['role'] }}] {{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)
README = """---
license: apache-2.0
language:
- en
pipeline_tag: text-generation
---
# Tiny Llama

Random weights, made for tests.
"""
# Varied enough that training fills the vocabulary: a random model may emit any token.
_TEXT = [
    "A gallery keeps models, and a model keeps its history; nothing that happened is forgotten.",
    "What is 3 + 4? It is 7. And 3 + 5? That is 8. Ten thousand and twenty is 10020.",
    "Every event is stored once, in order, before anybody hears of it, and none is lost.",
    "The quick brown fox jumps over the lazy dog while the tokens are counted: 0123456789.",
    "Administrators import archives, auditors replay the record, integrators subscribe to topics.",
    "Deploying means starting an engine, waiting until it answers, then switching the traffic.",
    "Mountains, rivers, harbours and gardens; winter, spring, summer and autumn; north and south.",
    "Please describe how weather changes between morning, noon, evening and midnight.",
    "Bread, butter, cheese, pepper, ginger, lemon, orange, cherry, walnut and honey.",
]


def tiny_llama(*, seed: int = 0) -> dict[str, bytes]:
    """Every file of the model by path."""
    return {
        "config.json": _json(config()),
        "generation_config.json": _json({"eos_token_id": 1, "bos_token_id": 0, "max_length": 128}),
        "model.safetensors": save(tensors(seed=seed), metadata={"format": "pt"}),
        "tokenizer.json": tokenizer_json(),
        "tokenizer_config.json": _json(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": BEGIN,
                "eos_token": END,
                "pad_token": PAD,
                "model_max_length": 512,
                "clean_up_tokenization_spaces": False,
                "chat_template": CHAT_TEMPLATE,
            }
        ),
        "README.md": README.encode(),
        "LICENSE": b"Made for tests; do what you like.\n",
    }


def tiny_embedder() -> dict[str, bytes]:
    """The tiny Llama in the layout of sentence-transformers: vectors of length 1, by the mean."""
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{kind}" if index else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(("Transformer", "Pooling", "Normalize"))
    ]
    pooling = {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
    return {
        **tiny_llama(),
        "modules.json": json.dumps(modules).encode(),
        "1_Pooling/config.json": _json(pooling),
    }


def tiny_reranker() -> dict[str, bytes]:
    """The tiny Llama with a head that gives one score."""
    weights = tensors()
    del weights["lm_head.weight"]
    random = np.random.default_rng(1)
    weights["score.weight"] = random.standard_normal((1, HIDDEN)).astype(np.float32)
    head: dict[str, object] = {
        "architectures": ["LlamaForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    return {
        **tiny_llama(),
        "config.json": _json({**config(), **head}),
        "model.safetensors": save(weights, metadata={"format": "pt"}),
    }


def config() -> dict[str, object]:
    """config.json of the tiny Llama."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 512,
        "mlp_bias": False,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": HEADS,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }


def tensors(*, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under the names that Llama gives them."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * 0.02).astype(np.float32)

    ones = np.ones(HIDDEN, dtype=np.float32)
    weights = {
        "model.embed_tokens.weight": matrix(VOCABULARY, HIDDEN),
        "model.norm.weight": ones,
        "lm_head.weight": matrix(VOCABULARY, HIDDEN),
    }
    attention = HEADS * HEAD_SIZE
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        weights |= {
            f"{prefix}.self_attn.q_proj.weight": matrix(attention, HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": matrix(attention, HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": matrix(attention, HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": matrix(HIDDEN, attention),
            f"{prefix}.mlp.gate_proj.weight": matrix(INTERMEDIATE, HIDDEN),
            f"{prefix}.mlp.up_proj.weight": matrix(INTERMEDIATE, HIDDEN),
            f"{prefix}.mlp.down_proj.weight": matrix(HIDDEN, INTERMEDIATE),
            f"{prefix}.input_layernorm.weight": ones,
            f"{prefix}.post_attention_layernorm.weight": ones,
        }
    return weights


@cache
def tokenizer_json() -> bytes:
    """A byte-level BPE tokenizer trained on a few lines; every id is below the vocabulary size."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY
    return tokenizer.to_str().encode()


def sharded(files: Mapping[str, bytes], *, seed: int = 0) -> dict[str, bytes]:
    """The same model with its weights in two shards and an index."""
    weights = tensors(seed=seed)
    names = sorted(weights)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    shards = {f"model-0000{i + 1}-of-00002.safetensors": half for i, half in enumerate(halves)}
    index = {
        "metadata": {"total_size": sum(array.nbytes for array in weights.values())},
        "weight_map": {name: shard for shard, half in shards.items() for name in half},
    }
    rest = {path: data for path, data in files.items() if path != "model.safetensors"}
    return {
        **rest,
        **{shard: save({n: weights[n] for n in half}) for shard, half in shards.items()},
        "model.safetensors.index.json": _json(index),
    }


def spare(seed: int, mebibytes: int) -> bytes:
    """A valid safetensors file that belongs to no model, of random bytes."""
    return save({"x": np.random.default_rng(seed).integers(0, 255, mebibytes << 20, np.uint8)})


def with_spares(count: int = 4, mebibytes: int = 9) -> dict[str, bytes]:
    """The tiny Llama with files of its own beside it, which make its import take its time."""
    return {**tiny_llama(), **{f"spare-{i}.safetensors": spare(i, mebibytes) for i in range(count)}}


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The files as a directory."""
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def write_archive(
    path: Path,
    files: Mapping[str, bytes],
    *,
    top: str = "tiny-llama/",
    compression: int = zipfile.ZIP_DEFLATED,
) -> Path:
    """The files as a zip archive, under one top-level folder by default."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(f"{top}{name}", data)
    return path


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode()


def main() -> None:
    """Writes the archive that the command line names."""
    parser = argparse.ArgumentParser(description="Make a tiny Llama, ready to be imported.")
    parser.add_argument("archive", type=Path, help="the zip file to write")
    path = write_archive(parser.parse_args().archive, tiny_llama())
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
