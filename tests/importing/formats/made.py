"""Tiny models in other formats, each written by the format's own library."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.builders.models import CHAT_TEMPLATE


def write_gguf(folder: Path, *, vocabulary: int = 40, tokens: int = 40, shards: int = 0) -> None:
    """A tiny model by the library's writer, quantized in part."""
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama", split_max_tensors=shards)
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_languages(["en", "de"])
    writer.add_description("Random weights.")
    writer.add_context_length(256)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(tokens)])
    writer.add_token_scores([0.0] * tokens)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(CHAT_TEMPLATE)
    random = np.random.default_rng(0)
    writer.add_tensor(
        "token_embd.weight", random.standard_normal((vocabulary, 64)).astype(np.float32)
    )
    packed = gguf.quantize(
        random.standard_normal((512, 64)).astype(np.float32), gguf.GGMLQuantizationType.Q8_0
    )
    writer.add_tensor("blk.0.ffn_up.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("output_norm.weight", np.ones(3, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_model(folder: Path, **options: int) -> dict[str, bytes]:
    """The files of such a model."""
    write_gguf(folder, **options)
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.gguf"))}


def onnx_model(
    *, opset: int = 21, domain: str = "", initializer: TensorProto | None = None
) -> onnx.ModelProto:
    """y = x W, by the library."""
    weights = numpy_helper.from_array(np.ones((4, 3), np.float32), "W")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"], domain=domain)],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [weights],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], doc_string="Multiplies."
    )
