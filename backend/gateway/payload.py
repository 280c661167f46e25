"""Request bodies: checked, completed with the deployment's defaults, otherwise untouched."""

from __future__ import annotations

from typing import Any

import msgspec

from backend.gateway.errors import invalid_body

_WHITESPACE = b" \t\r\n"
_BEGINNING_BYTES = 4096


class _Known(msgspec.Struct):
    """What the gateway looks at; everything else is passed on as it came."""

    model: str
    stream: bool | None = None
    temperature: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    max_tokens: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    max_completion_tokens: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    top_p: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    top_k: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    stop: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Message(msgspec.Struct):
    role: str = ""


_messages = msgspec.json.Decoder(list[msgspec.Raw])
_message = msgspec.json.Decoder(_Message)
_known = msgspec.json.Decoder(_Known)
_any = msgspec.json.Decoder()


class Payload:
    """A request body. Raises `GatewayError` where it is not a JSON object with a model."""

    __slots__ = ("_body", "_known")

    def __init__(self, body: bytes) -> None:
        self._body = body
        try:
            self._known = _known.decode(body)
        except msgspec.ValidationError as error:
            raise _explained(error) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid_body(
                f"The body is not valid JSON ({error}). Send a JSON object."
            ) from error

    @property
    def model(self) -> str:
        """The model that the client asks for."""
        return self._known.model

    @property
    def beginning(self) -> bytes:
        """How the conversation begins: the same in all its requests. Empty where there is none.

        Of messages it is everything up to the first one that the user wrote.
        """
        if isinstance(self._known.prompt, msgspec.Raw):
            return bytes(self._known.prompt)[:_BEGINNING_BYTES]
        if not isinstance(self._known.messages, msgspec.Raw):
            return b""
        found = b""
        try:
            for message in _messages.decode(self._known.messages):
                found += bytes(message)[:_BEGINNING_BYTES]
                if len(found) >= _BEGINNING_BYTES or _message.decode(message).role == "user":
                    break
        except msgspec.DecodeError:
            return b""  # the engine will say what is wrong with it
        return found[:_BEGINNING_BYTES]

    def left_out(self, names: dict[str, bytes]) -> dict[str, bytes]:
        """Those of the defaults that the request does not decide itself; null decides nothing."""
        known = self._known
        chosen = {}
        for name, value in names.items():
            given = getattr(known, name)
            if given is msgspec.UNSET or _is_null(given):
                chosen[name] = value
        length = known.max_completion_tokens
        if length is not msgspec.UNSET and not _is_null(length):
            chosen.pop("max_tokens", None)  # the field's newer name
        return chosen

    def completed(self, defaults: dict[str, bytes]) -> bytes:
        """The body with these fields added; what the client sent keeps its bytes."""
        if not defaults:
            return self._body
        if any(getattr(self._known, name) is not msgspec.UNSET for name in defaults):
            return self._with_nulls_replaced(defaults)
        start = self._body.index(b"{") + 1
        added = b",".join(b'"%s":%s' % (name.encode(), value) for name, value in defaults.items())
        return b"%s%s,%s" % (self._body[:start], added, self._body[start:])

    def _with_nulls_replaced(self, defaults: dict[str, bytes]) -> bytes:
        document: dict[str, Any] = _any.decode(self._body)
        document.update({name: msgspec.Raw(value) for name, value in defaults.items()})
        return msgspec.json.encode(document)


def _is_null(value: msgspec.Raw) -> bool:
    return bytes(value).strip(_WHITESPACE) == b"null"


def _explained(error: msgspec.ValidationError) -> Exception:
    text = str(error)
    if "missing required field `model`" in text or text.endswith("at `$.model`"):
        return invalid_body("Name the model in the field 'model', as a string.", "model")
    if text.endswith("at `$.stream`"):
        return invalid_body("The field 'stream' must be true or false.", "stream")
    return invalid_body(f"The body is not a request ({text}). Send a JSON object.")
