"""Ollama: a server that runs already, driven through its HTTP API.

A replica is a small process of ours, the front: it makes the model there, answers the OpenAI
routes under the model's own name, and takes the model away when it ends. So two revisions of one
model live side by side on one server, and nobody but the front knows its address and credentials.
"""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import msgspec

from backend.domain.configuration import Hardware
from backend.domain.engine_options import Option
from backend.domain.errors import Invalid
from backend.domain.modelfile import PARAMETER_KINDS
from backend.domain.servable import Use
from workers.serving.engine import Command, Diagnosis, Environment, Launch, Load
from workers.serving.engines import vllm_uses
from workers.serving.engines.ollama_modelfile import plan_of

_FRONT = "workers.serving.engines.ollama_front"
_BEARER = "OLLAMA_FRONT_TOKEN"
_ANSWER_SECONDS = 5.0
_ERROR = "ERROR "


class Ollama:
    """A configured Ollama server."""

    name = "ollama"

    def __init__(self, url: str, token: str | None = None) -> None:
        """`url` is where the server answers, `token` what it wants as a bearer."""
        self._url = url.rstrip("/")
        self._token = token
        # What this machine makes there is told from what others make.
        machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
        self._prefix = f"loggia-{machine}-"

    def environment(self, _: Hardware) -> Environment:
        """The front runs in this very environment. Raises `Invalid` where the server is silent."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            answer = httpx.get(
                f"{self._url}/api/version",
                headers=headers,
                timeout=_ANSWER_SECONDS,
                trust_env=False,
            )
            version = answer.raise_for_status().json()["version"]
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise Invalid(
                f"The Ollama server at {self._url} does not answer: {error}.",
                remedy="Start it, or correct LOGGIA_OLLAMA_URL and LOGGIA_OLLAMA_TOKEN.",
                field="engine",
            ) from error
        options = {
            name: Option(f"PARAMETER {name}", kind, help=f"The parameter {name} of a Modelfile.")
            for name, kind in PARAMETER_KINDS.items()
        }
        return Environment(Path(sys.executable), str(version), options)

    def settable(self, environment: Environment) -> Mapping[str, Option]:
        """A Modelfile's parameters."""
        return environment.options

    def command(self, environment: Environment, launch: Launch) -> Command:
        """The front. Raises `Invalid` and `NotAllowed`, also for what no Modelfile can be."""
        plan = plan_of(launch, f"{self._prefix}{launch.replica_id.hex}", environment.options)
        return Command(
            [
                str(environment.python),
                "-m",
                _FRONT,
                f"--port={launch.port}",
                f"--url={self._url}",
                f"--prefix={self._prefix}",
                f"--plan={msgspec.json.encode(plan).decode()}",
            ],
            {_BEARER: self._token} if self._token else {},
        )

    def answers(self, client: httpx.Client, endpoint: str, model_name: str, use: Use) -> bool:
        """Whether it completes a prompt by one token, or makes a vector."""
        try:
            if client.get(f"{endpoint}/health").status_code != httpx.codes.OK:
                return False
        except httpx.ConnectError:
            return False
        if use is Use.EMBED:
            return bool(vllm_uses.numbers(client, endpoint, model_name, use))
        body = {"model": model_name, "prompt": "Hello", "max_tokens": 1}
        response = client.post(f"{endpoint}/v1/completions", json=body)
        return response.is_success and bool(response.json().get("choices"))

    def effect(
        self,
        client: httpx.Client,  # noqa: ARG002
        endpoint: str,  # noqa: ARG002
        adapter: str,
        base: str,
        use: Use,  # noqa: ARG002
    ) -> float:
        """Adapters are not given to it on their own. Raises `ValueError`."""
        raise ValueError(f"an Ollama server does not hold '{adapter}' beside '{base}'")

    def is_alive(self, client: httpx.Client, endpoint: str) -> bool:
        """Whether the front and the server behind it respond."""
        return client.get(f"{endpoint}/health").status_code == httpx.codes.OK

    def load(self, client: httpx.Client, endpoint: str) -> Load:
        """Requests that the front passes on now; whether one waits, Ollama does not say."""
        counts = client.get(f"{endpoint}/load").raise_for_status().json()
        return Load(running=int(counts["running"]), waiting=int(counts["waiting"]))

    def diagnose(self, log_tail: Sequence[str], exit_code: int | None) -> Diagnosis:
        """What the server said, else that the front has gone."""
        said = [line.partition(_ERROR)[2] for line in log_tail if line.startswith(_ERROR)]
        if said:
            return Diagnosis(
                f"Ollama could not serve the model: {said[-1].strip()}",
                "Correct the deployment template or the model, or look at the Ollama server; then "
                "redeploy.",
            )
        how = "" if exit_code is None else f" with exit status {exit_code}"
        return Diagnosis(
            f"The front of the Ollama server ended{how}.",
            "Read the log's last lines; it is started again by itself.",
        )
