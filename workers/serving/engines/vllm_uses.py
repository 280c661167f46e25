"""What vLLM is started with for each use of a model, and how it is asked whether it does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from backend.domain.engine_options import Option
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.servable import Use
from workers.serving.engine import AdapterFiles, Launch

_RUNNERS = {Use.GENERATE: "generate", Use.EMBED: "pooling", Use.RERANK: "pooling"}
# Short, for contexts of few tokens; of many letters, so that every tokenizer makes some of it.
_TEXT = "The sea is blue"
# What transformers assumes where config.json does not count its labels.
_DEFAULT_LABELS = 2


def arguments(launch: Launch, options: Mapping[str, Option]) -> list[str]:
    """The options for the use, for code of the model's own, and for adapters.

    Raises `NotAllowed` for a classifier that ranks nothing, `Invalid` for a rank that this vLLM
    does not know.
    """
    if launch.use is Use.RERANK:
        _check_labels(launch.model_directory)
    found = [f"--runner={_RUNNERS[launch.use]}"]
    if launch.runs_own_code:
        found.append("--trust-remote-code")
    rank = max(launch.adapter_rank, launch.adapter.rank if launch.adapter else 0)
    if launch.adapter is not None or rank:
        found += ["--enable-lora", f"--max-lora-rank={_rank(rank, options)}"]
    if launch.adapter is not None:
        found += _module(launch.adapter, launch.model_name)
    return found


def _module(adapter: AdapterFiles, base: str) -> list[str]:
    module = {"name": adapter.name, "path": str(adapter.directory), "base_model_name": base}
    # As JSON, because a path may hold what the shorter form ends at.
    return ["--lora-modules", msgspec.json.encode(module).decode()]


def _rank(rank: int, options: Mapping[str, Option]) -> int:
    """The smallest rank that the engine can be started with and the adapter fits in."""
    known = options.get("max_lora_rank", Option("--max-lora-rank")).choices
    fitting = [int(choice) for choice in known if int(choice) >= rank]
    if known and not fitting:
        raise Invalid(
            f"The adapter's rank is {rank}; this vLLM serves ranks up to {known[-1]}.",
            remedy="Train the adapter with a lower rank, or merge it into its base.",
        )
    return min(fitting, default=rank)


def _check_labels(directory: Path) -> None:
    try:
        config: dict[str, Any] = msgspec.json.decode((directory / "config.json").read_bytes())
    except (OSError, msgspec.MsgspecError):
        return  # the engine will say it better
    architecture = str((config.get("architectures") or [""])[0])
    if not architecture.endswith("ForSequenceClassification"):
        return
    labels = config.get("num_labels") or len(config.get("id2label") or ()) or _DEFAULT_LABELS
    if labels != 1:
        raise NotAllowed(
            f"The model sorts texts into {labels} classes; the gateway offers ranking, which needs "
            "a model with one label.",
            remedy="Import a reranker, a model for sequence classification with one label.",
        )


def numbers(client: httpx.Client, endpoint: str, model: str, use: Use) -> list[float]:
    """What the model makes of a fixed text: a vector, a score, or a probability's logarithm for
    each of its tokens.

    Raises `httpx.HTTPError`, and `ValueError` or `LookupError` for an odd answer.
    """
    if use is Use.EMBED:
        answer = _ask(client, f"{endpoint}/v1/embeddings", {"model": model, "input": _TEXT})
        return [float(number) for number in answer["data"][0]["embedding"]]
    if use is Use.RERANK:
        query = {"model": model, "query": _TEXT, "documents": [_TEXT]}
        answer = _ask(client, f"{endpoint}/v1/rerank", query)
        return [float(answer["results"][0]["relevance_score"])]
    body = {
        "model": model,
        "prompt": _TEXT,
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": 1,
        "echo": True,
    }
    answer = _ask(client, f"{endpoint}/v1/completions", body)
    found = answer["choices"][0]["logprobs"]["token_logprobs"]
    return [float(number) for number in found if number is not None]


def _ask(client: httpx.Client, url: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = client.post(url, json=body).raise_for_status().json()
    return answer
