"""Answers the OpenAI routes with what a model on Triton generates, piece by piece over gRPC."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiohttp import web
from grpc import RpcError
from tritonclient.grpc import InferInput, InferResult
from tritonclient.grpc import aio as grpc
from tritonclient.utils import InferenceServerException

from .requests import JSON, Asked, Refused, read

# How our model says that the caller is to blame.
REFUSAL = "invalid request: "
_TEXT_INPUT, _TEXT_OUTPUT = "text_input", "text_output"
_MESSAGES, _SAMPLING, _STREAM = "messages", "sampling_parameters", "stream"


@dataclass(frozen=True)
class Piece:
    """Some text of one choice; the last piece says why it ended and counts the tokens."""

    choice: int
    text: str
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Generation:
    """The routes of one model that has a text for input and a text for output."""

    def __init__(
        self, client: grpc.InferenceServerClient, *, serves: str, name: str, inputs: Sequence[str]
    ) -> None:
        self._client = client
        self._serves = serves
        self._name = name
        self._inputs = frozenset(inputs)

    @classmethod
    async def of(
        cls, client: grpc.InferenceServerClient, *, serves: str, name: str
    ) -> Generation | None:
        """For the model where it generates text, by its inputs and outputs; else None."""
        metadata = await client.get_model_metadata(serves, as_json=True)
        inputs = [tensor["name"] for tensor in metadata.get("inputs", [])]
        outputs = [tensor["name"] for tensor in metadata.get("outputs", [])]
        if _TEXT_INPUT not in inputs or _TEXT_OUTPUT not in outputs:
            return None
        return cls(client, serves=serves, name=name, inputs=inputs)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`/v1/chat/completions`"""
        if _MESSAGES not in self._inputs:
            return _error(
                Refused("This model has no chat template; use /v1/completions.", None, 404)
            )
        return await self._answer(request, chat=True)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """`/v1/completions`"""
        return await self._answer(request, chat=False)

    async def _answer(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        try:
            asked = read(await request.read(), chat=chat, name=self._name)
        except Refused as refused:
            return _error(refused)
        async with aclosing(self._pieces(asked)) as pieces:
            try:
                if asked.stream:
                    # Until the first piece the answer can still be an error with a status.
                    first = await anext(pieces)
                    return await self._stream(request, asked, first, pieces)
                return web.json_response(self._whole(asked, [piece async for piece in pieces]))
            except Refused as refused:
                return _error(refused)

    async def _stream(
        self, request: web.Request, asked: Asked, first: Piece, pieces: AsyncIterator[Piece]
    ) -> web.StreamResponse:
        head = self._head(asked, chunk=True)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-cache",
            }
        )
        await response.prepare(request)

        async def send(choices: list[JSON], **further: Any) -> None:
            document = {**head, "choices": choices, **further}
            await response.write(b"data: " + json.dumps(document).encode() + b"\n\n")

        if asked.chat:
            for choice in range(asked.choices):
                delta = {"role": "assistant", "content": ""}
                await send([{"index": choice, "delta": delta, "finish_reason": None}])
        usage = _Usage()
        try:
            piece: Piece | None = first
            while piece is not None:
                usage.count(piece, asked)
                content = {"delta": {"content": piece.text}} if asked.chat else {"text": piece.text}
                if piece.text or piece.finish_reason:
                    said = {"index": piece.choice, **content}
                    await send([{**said, "finish_reason": piece.finish_reason}])
                piece = await anext(pieces, None)
        except Refused as refused:
            await response.write(b"data: " + json.dumps(_document(refused)).encode() + b"\n\n")
            await response.write_eof()
            return response
        if asked.with_usage:
            await send([], usage=usage.document())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    def _whole(self, asked: Asked, pieces: list[Piece]) -> JSON:
        usage = _Usage()
        texts = [""] * (len(asked.prompts) * asked.choices)
        reasons = ["stop"] * len(texts)
        for piece in pieces:
            usage.count(piece, asked)
            texts[piece.choice] += piece.text
            reasons[piece.choice] = piece.finish_reason or reasons[piece.choice]
        choices: list[JSON] = []
        for index, (text, reason) in enumerate(zip(texts, reasons, strict=True)):
            content: JSON = (
                {"message": {"role": "assistant", "content": text}}
                if asked.chat
                else {"text": text}
            )
            choices.append({"index": index, **content, "logprobs": None, "finish_reason": reason})
        return {**self._head(asked), "choices": choices, "usage": usage.document()}

    def _head(self, asked: Asked, *, chunk: bool = False) -> JSON:
        kind = "chat.completion" if asked.chat else "text_completion"
        return {
            "id": f"{'chatcmpl' if asked.chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": f"{kind}.chunk" if chunk and asked.chat else kind,
            "created": int(time.time()),
            "model": self._name,
        }

    async def _pieces(self, asked: Asked) -> AsyncGenerator[Piece, None]:
        """What is generated for every choice, as it comes. Raises `Refused`."""
        pieces: asyncio.Queue[Piece | BaseException | None] = asyncio.Queue()

        async def one(choice: int, prompt: str) -> None:
            try:
                async with aclosing(self._choice(asked, choice, prompt)) as generated:
                    async for piece in generated:
                        pieces.put_nowait(piece)
                pieces.put_nowait(None)
            except Exception as error:  # raised again where the pieces are read
                pieces.put_nowait(error)

        wanted = [prompt for prompt in asked.prompts for _ in range(asked.choices)]
        tasks = [asyncio.create_task(one(index, prompt)) for index, prompt in enumerate(wanted)]
        left = len(tasks)
        try:
            while left:
                piece = await pieces.get()
                if piece is None:
                    left -= 1
                elif isinstance(piece, BaseException):
                    raise piece
                else:
                    yield piece
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _choice(self, asked: Asked, choice: int, prompt: str) -> AsyncGenerator[Piece, None]:
        inputs = self._tensors(asked, prompt)

        async def once() -> AsyncIterator[JSON]:
            yield {"model_name": self._serves, "inputs": inputs}

        stream = self._client.stream_infer(once())
        prompt_tokens = completion_tokens = 0
        try:
            async for result, error in stream:
                if error is not None:
                    raise _refusal(error)
                details = _details(result)
                if details.get("finish_reason"):
                    prompt_tokens = int(details.get("prompt_tokens", 0))
                    completion_tokens = int(details.get("completion_tokens", 0))
                    yield Piece(
                        choice,
                        _text(result),
                        details["finish_reason"],
                        prompt_tokens,
                        completion_tokens,
                    )
                else:
                    yield Piece(choice, _text(result))
        except InferenceServerException as error:
            raise _refusal(error) from error
        except RpcError as error:
            raise Refused("Triton broke the connection.", None, 502) from error
        finally:
            with suppress(Exception):  # it has ended already
                stream.cancel()

    def _tensors(self, asked: Asked, prompt: str) -> list[InferInput]:
        # Always the same inputs, because Triton batches only requests that have these in common.
        values = {
            _TEXT_INPUT: "" if asked.chat else prompt,
            _MESSAGES: prompt if asked.chat else "",
            _SAMPLING: json.dumps(asked.sampling),
        }
        tensors = []
        for name, value in values.items():
            if name in self._inputs:
                tensor = InferInput(name, [1, 1], "BYTES")
                tensor.set_data_from_numpy(np.array([[value.encode()]], dtype=np.object_))
                tensors.append(tensor)
        if _STREAM in self._inputs:
            tensor = InferInput(_STREAM, [1, 1], "BOOL")
            tensor.set_data_from_numpy(np.array([[asked.stream]], dtype=np.bool_))
            tensors.append(tensor)
        return tensors


class _Usage:
    """Counts the tokens of all choices; a prompt once."""

    def __init__(self) -> None:
        self._prompts: dict[int, int] = {}
        self._completion = 0

    def count(self, piece: Piece, asked: Asked) -> None:
        if piece.finish_reason is not None:
            self._prompts[piece.choice // asked.choices] = piece.prompt_tokens
            self._completion += piece.completion_tokens

    def document(self) -> JSON:
        prompt = sum(self._prompts.values())
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._completion,
            "total_tokens": prompt + self._completion,
        }


def _text(result: InferResult) -> str:
    return _string(result, _TEXT_OUTPUT)


def _details(result: InferResult) -> JSON:
    text = _string(result, "details")
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _string(result: InferResult, name: str) -> str:
    array = result.as_numpy(name)
    if array is None or array.size == 0:
        return ""
    value = array.reshape(-1)[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _refusal(error: Exception) -> Refused:
    message = error.message() if isinstance(error, InferenceServerException) else str(error)
    before, found, reason = (message or "").partition(REFUSAL)
    if found:
        return Refused(reason)
    if "exceeds maximum queue size" in before.lower():
        return Refused("The model's queue is full. Try again shortly.", None, 503)
    return Refused(f"The model failed: {before}", None, 500)


def _document(refused: Refused) -> JSON:
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    error = {"message": str(refused), "type": kind, "param": refused.field, "code": None}
    return {"error": error}


def _error(refused: Refused) -> web.Response:
    return web.json_response(_document(refused), status=refused.status)
