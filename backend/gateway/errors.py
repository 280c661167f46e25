"""Refusals in the form that OpenAI clients understand."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class GatewayError(Exception):
    """A request that cannot be served; `message` says what is wrong and what to do about it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.kind = kind
        self.param = param
        self.headers = headers or {}

    @property
    def body(self) -> bytes:
        """The error as a JSON document."""
        return msgspec.json.encode(
            {
                "error": {
                    "message": self.message,
                    "type": self.kind,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )

    @property
    def server_sent_event(self) -> bytes:
        """The error as the last event of a stream that had already begun."""
        return b"data: " + self.body + b"\n\n"


def invalid_key(message: str) -> GatewayError:
    return GatewayError(
        401,
        "invalid_api_key",
        message,
        kind="authentication_error",
        headers={"WWW-Authenticate": "Bearer"},
    )


def invalid_body(message: str, param: str | None = None) -> GatewayError:
    return GatewayError(400, "invalid_request", message, param=param)


def body_too_large(limit: int) -> GatewayError:
    return GatewayError(
        413,
        "request_too_large",
        f"The request is larger than {limit} bytes. Shorten the messages.",
        headers={"Connection": "close"},
    )


def model_not_found(message: str) -> GatewayError:
    return GatewayError(404, "model_not_found", message, param="model")


def bodies_too_large_together() -> GatewayError:
    return GatewayError(
        503,
        "gateway_full",
        "The gateway has no room for this request beside those that it is answering. Try again "
        "shortly.",
        kind="service_unavailable",
        headers={"Retry-After": "5", "Connection": "close"},
    )


def not_opened(name: str, own: str) -> GatewayError:
    return model_not_found(f"This key does not open a model '{name}'. It is for '{own}'.")


def not_offered(name: str, path: str) -> GatewayError:
    return GatewayError(
        404,
        "not_offered",
        f"The model '{name}' does not answer {path}. Models that generate text answer "
        "/v1/chat/completions and /v1/completions, models that make embeddings /v1/embeddings, "
        "models that rank documents /v1/rerank, models on Triton /v2.",
    )


def no_interface(name: str, method: str, path: str) -> GatewayError:
    return GatewayError(
        404,
        "not_offered",
        f"The model '{name}' has no interface {method} {path}. Those of container images stand in "
        "their configuration files.",
    )


def rate_limited(requests_per_minute: int, retry_after: int) -> GatewayError:
    return GatewayError(
        429,
        "rate_limit_exceeded",
        f"This key may make {requests_per_minute} requests a minute. "
        f"Try again in {retry_after} s, or ask the model's owner for a higher limit.",
        kind="rate_limit_error",
        headers={"Retry-After": str(retry_after)},
    )


def unavailable(code: str, message: str, retry_after: int) -> GatewayError:
    return GatewayError(
        503,
        code,
        message,
        kind="service_unavailable",
        headers={"Retry-After": str(retry_after)},
    )


def engine_failed(message: str) -> GatewayError:
    return GatewayError(502, "engine_failed", message, kind="upstream_error")


def engine_timed_out(message: str) -> GatewayError:
    return GatewayError(504, "engine_timeout", message, kind="upstream_error")
