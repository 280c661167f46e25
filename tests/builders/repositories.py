"""Model repositories for Triton, with models in a few lines of Python."""

from __future__ import annotations

DOUBLING_CONFIG = """
backend: "python"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
dynamic_batching { }
instance_group [ { kind: KIND_CPU } ]
"""
DOUBLING_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            y = pb_utils.Tensor("y", 2 * x)
            answers.append(pb_utils.InferenceResponse(output_tensors=[y]))
        return answers
"""


def doubling(name: str = "double") -> dict[str, bytes]:
    """A repository whose only model doubles numbers."""
    return {
        f"{name}/config.pbtxt": DOUBLING_CONFIG.encode(),
        f"{name}/1/model.py": DOUBLING_MODEL.encode(),
    }
