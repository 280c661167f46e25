"""A text generator of CTranslate2 as a model of Triton's Python backend.

Requests that Triton has batched are generated together where they are sampled alike; every token
goes to its caller at once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers.decoders import DecodeStream

from .decoding import Text
from .prompts import Prompts, Refused, read_json

JSON = dict[str, Any]

# By this the front tells a caller's mistake from the model's.
_REFUSAL = "invalid request: "
_DEFAULT_TOKENS = 256
# Asking whether a caller has gone costs more than a token of a small model.
_ASK_EVERY = 8


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen: requests with the same one can be generated together."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    ignore_eos: bool

    @classmethod
    def of(cls, given: JSON) -> Sampling:
        """As a caller asks for it; a temperature of 0 takes the likeliest token."""
        temperature = float(given.get("temperature", 1.0))
        greedy = temperature < 1e-5
        return cls(
            temperature=1.0 if greedy else temperature,
            top_p=1.0 if greedy else float(given.get("top_p", 1.0)),
            # CTranslate2 considers every token at 0.
            top_k=1 if greedy else max(0, int(given.get("top_k", -1))),
            repetition_penalty=float(given.get("repetition_penalty", 1.0)),
            ignore_eos=given.get("ignore_eos") is True,
        )


class Answer:
    """One request, and what has been generated for it."""

    def __init__(self, request: Any, prompts: Prompts, context: int, ends: set[int]) -> None:
        """Raises `Refused`."""
        self._sender = request.get_response_sender()
        self.over = False
        self._ends = ends
        try:
            given = json.loads(_text(request, "sampling_parameters") or "{}")
            self.sampling = Sampling.of(given)
            messages = _text(request, "messages")
            self.prompt = (
                prompts.conversation(messages)
                if messages
                else prompts.text(_text(request, "text_input"))
            )
            self.max_tokens = _length(given, len(self.prompt), context)
            if not self.prompt:
                raise Refused("the prompt is empty.")
            stop = [str(text) for text in given.get("stop") or []]
        except Refused as refused:
            self.fail(_REFUSAL + str(refused))
            raise
        except (ValueError, TypeError, AttributeError) as error:
            self.fail(f"{_REFUSAL}sampling_parameters are not understood: {error}")
            raise Refused(str(error)) from error
        stream = pb_utils.get_input_tensor_by_name(request, "stream")
        self._streams = bool(stream is not None and stream.as_numpy().reshape(-1)[0])
        decoder = DecodeStream(skip_special_tokens=True)
        self._decoded = Text(lambda token: decoder.step(prompts.tokenizer, token), stop)
        self._unsent = ""
        self._tokens = 0

    def take(self, token: int) -> bool:
        """One more token; returns whether that is all."""
        if self.over:
            return True
        self._tokens += 1
        if token in self._ends:
            self._finish("stop")
        else:
            self._unsent += self._decoded.take(token)
            if self._decoded.stopped:
                self._finish("stop")
            elif self._tokens >= self.max_tokens:
                self._finish("length")
            elif self._streams and self._unsent:
                self._send({})
            if self._tokens % _ASK_EVERY == 0 and not self.over and self._sender.is_cancelled():
                self.over = True
                self._sender.send(flags=_final())
        return self.over

    def end(self) -> None:
        """No more tokens will come."""
        if not self.over:
            self._finish("stop")

    def fail(self, message: str) -> None:
        """Says why there is no answer."""
        if not self.over:
            self.over = True
            error = pb_utils.TritonError(message)
            self._sender.send(pb_utils.InferenceResponse(error=error), flags=_final())

    def _finish(self, reason: str) -> None:
        self.over = True
        self._unsent += self._decoded.rest()
        self._send(
            {
                "finish_reason": reason,
                "prompt_tokens": len(self.prompt),
                "completion_tokens": self._tokens,
            },
            flags=_final(),
        )

    def _send(self, details: JSON, flags: int = 0) -> None:
        outputs = [
            _tensor("text_output", self._unsent),
            _tensor("details", json.dumps(details)),
        ]
        self._unsent = ""
        self._sender.send(pb_utils.InferenceResponse(output_tensors=outputs), flags=flags)


class TritonPythonModel:
    """What Triton asks for by this name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the weights and the tokenizer."""
        config = json.loads(args["model_config"])
        given = {name: value["string_value"] for name, value in config["parameters"].items()}
        weights = Path(__file__).with_name("weights")
        on_gpu = args["model_instance_kind"] == "GPU"
        self._generator = ctranslate2.Generator(
            str(weights),
            device="cuda" if on_gpu else "cpu",
            device_index=int(args["model_instance_device_id"]) if on_gpu else 0,
            compute_type=given["compute_type"],
            intra_threads=int(given["threads"]),
        )
        self._prompts = Prompts(weights)
        self._context = int(given["context_length"])
        self._ends = _end_tokens(weights, self._prompts)

    def execute(self, requests: list[Any]) -> None:
        """Answers a batch; every answer has gone to its caller when this returns."""
        alike: dict[Sampling, list[Answer]] = defaultdict(list)
        for request in requests:
            try:
                answer = Answer(request, self._prompts, self._context, self._ends)
            except Refused:
                continue
            alike[answer.sampling].append(answer)
        for sampling, answers in alike.items():
            try:
                self._generate(sampling, answers)
            except Exception as error:  # one batch's trouble must not end the model
                for answer in answers:
                    answer.fail(str(error))

    def finalize(self) -> None:
        """Gives the memory back."""
        self._generator.unload_model()

    def _generate(self, sampling: Sampling, answers: list[Answer]) -> None:
        # All begin where the shortest prompt ends: what the others have left of theirs comes first.
        shortest = min(len(answer.prompt) for answer in answers)
        longest = max(len(a.prompt) - shortest + a.max_tokens for a in answers)

        def take(step: Any) -> bool:
            answer: Answer = answers[step.batch_id]
            if step.step < len(answer.prompt) - shortest:
                return False
            return answer.take(step.token_id)

        self._generator.generate_batch(
            [answer.prompt for answer in answers],
            max_length=longest,
            min_length=longest if sampling.ignore_eos else 0,
            sampling_temperature=sampling.temperature,
            sampling_topk=sampling.top_k,
            sampling_topp=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            end_token=sorted(self._ends) or None,
            return_end_token=True,
            include_prompt_in_result=False,
            callback=take,
        )
        for answer in answers:
            answer.end()


def _final() -> int:
    # Triton adds it to the module only after it has imported this one.
    return int(pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _length(given: JSON, prompt: int, context: int) -> int:
    wanted = given.get("max_tokens")
    left = context - prompt if context else (wanted or _DEFAULT_TOKENS)
    if left < 1 or (wanted is not None and int(wanted) > left):
        raise Refused(
            f"This model's maximum context length is {context} tokens; the prompt has {prompt} "
            f"and {1 if wanted is None else wanted} more are wanted."
        )
    return int(wanted) if wanted is not None else min(left, _DEFAULT_TOKENS)


def _end_tokens(folder: Path, prompts: Prompts) -> set[int]:
    """The tokens that end an answer, as the original model names them."""
    found: set[int] = set()
    for name in ("generation_config.json", "original_config.json"):
        given = read_json(folder / name).get("eos_token_id")
        tokens = given if isinstance(given, list) else [given]
        found |= {int(token) for token in tokens if token is not None}
    token = prompts.tokenizer.token_to_id(str(read_json(folder / "config.json").get("eos_token")))
    return found | ({token} if token is not None else set())


def _text(request: Any, name: str) -> str:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return ""
    values = tensor.as_numpy().reshape(-1)
    if len(values) != 1:
        raise Refused(f"{name} must hold one text; send one request for each.")
    value = values[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _tensor(name: str, text: str) -> Any:
    return pb_utils.Tensor(name, np.array([[text.encode()]], dtype=np.object_))
