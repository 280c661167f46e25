"""Every setting of Loggia: environment variables `LOGGIA_*`, or the file `.env`, checked once."""

from __future__ import annotations

import secrets
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024**2
GIB = 1024**3


class Settings(BaseSettings):
    """The settings; each field's description stands in the table of `docs/operating.md`."""

    model_config = SettingsConfigDict(
        env_prefix="LOGGIA_", env_file=".env", extra="ignore", frozen=True
    )

    data_dir: Path = Field(Path(".loggia"), description="Where embedded parts keep their data.")
    cache_dir: Path = Field(
        Path("~/.cache/loggia"), description="Where engine environments are kept."
    )
    host: str = Field("127.0.0.1", description="Address that the API and the gateway listen on.")
    port: int = Field(8080, description="Port of the API and the SPA.")
    gateway_port: int = Field(8081, description="Port of the gateway.")
    gateway_url: str | None = Field(
        None, description="Address of the gateway as consumers see it; else host and port."
    )
    gateway_workers: int = Field(1, ge=1, le=64, description="Processes of the gateway.")
    gateway_wait_seconds: int = Field(
        120, ge=0, description="Seconds that a request waits for a replica where none runs."
    )
    secure_cookies: bool = Field(
        False, description="Set where the API is reached through https: cookies get `Secure`."
    )
    trusted_proxies: str | None = Field(
        None,
        description="Addresses or networks of reverse proxies, separated by commas: what they say "
        "in `X-Forwarded-For` counts as the client's address.",
    )

    log_format: Literal["text", "json"] = Field(
        "text", description="`text` to be read by people, `json` by programs."
    )

    postgres_dsn: SecretStr | None = Field(
        None, description="PostgreSQL connection string; unset: an embedded server."
    )
    postgres_port: int = Field(5480, description="Port of the embedded PostgreSQL.")
    kafka_bootstrap_servers: str | None = Field(
        None, description="Kafka brokers, host:port separated by commas; unset: embedded."
    )
    kafka_port: int = Field(9480, description="Port of the embedded broker.")
    kafka_partitions: int = Field(
        4, ge=1, le=256, description="Partitions of the events topic; fixed at its birth."
    )
    kafka_replication: int = Field(1, ge=1, description="Replicas of each topic.")

    object_store_url: str | None = Field(
        None, description="Where files are kept: s3://bucket/prefix or file:///path; unset: local."
    )
    object_store_endpoint: str | None = Field(
        None, description="Endpoint of an S3-compatible store other than Amazon's."
    )
    object_store_quota_bytes: int | None = Field(
        None, ge=1, description="Bytes that the models' files may take together; unset: any number."
    )

    secret_key_file: Path | None = Field(
        None, description="File with the key that signs tokens; unset: made in the data directory."
    )
    session_hours: int = Field(12, ge=1, description="Hours until a person must sign in again.")

    upload_limit_bytes: int = Field(
        100 * GIB, description="Largest archive that one upload may have."
    )
    upload_quota_bytes: int = Field(
        500 * GIB, description="Bytes that unfinished and unimported uploads may take together."
    )
    upload_expiry_hours: int = Field(
        72, ge=1, description="Hours after which an unfinished upload is removed."
    )
    import_max_entries: int = Field(10_000, description="Most files in one archive.")
    import_max_bytes: int = Field(
        1024 * GIB, description="Most bytes that an archive may unpack to."
    )
    import_max_ratio: int = Field(
        200, description="Largest ratio of unpacked to packed size of one file in an archive."
    )
    import_max_depth: int = Field(16, description="Deepest folder in an archive.")
    import_roots: str = Field(
        "",
        description="Directories on the server from which models may be imported, separated by "
        "':'; unset: none.",
    )
    fetch_allowed_networks: str = Field(
        "",
        description="Closed address ranges that imports may fetch from and servers may be in all "
        "the same, such as 10.1.0.0/16,fd00::/8.",
    )
    fetch_bytes_per_second: int | None = Field(
        None, ge=1024, description="Speed limit of each download; unset: none."
    )
    huggingface_endpoint: str = Field(
        "https://huggingface.co",
        description="Hugging Face hub that is asked where no connection names another one.",
    )
    job_lease_seconds: int = Field(
        30, ge=2, description="Seconds after which a silent worker's job is taken over."
    )

    engine_pip_arguments: str = Field(
        "", description="Extra arguments for pip when an engine's environment is made."
    )
    engine_start_seconds: int = Field(
        600, ge=10, description="Seconds that an engine may take until it answers."
    )
    engine_drain_seconds: int = Field(
        60, ge=0, description="Seconds that running requests get before an engine is stopped."
    )

    kubernetes_namespace: str | None = Field(
        None, description="Namespace in which engines run on Kubernetes; unset: no cluster."
    )
    kubernetes_kubeconfig: Path | None = Field(
        None, description="File with a cluster's address and credentials; unset: those of the pod."
    )
    kubernetes_context: str | None = Field(
        None, description="Context in that file; unset: its current one."
    )
    kubernetes_shape: Literal["deployment", "kserve"] = Field(
        "deployment",
        description="What a revision becomes: a Deployment with a Service and an autoscaler, or a "
        "KServe InferenceService on Knative.",
    )
    kubernetes_image: str | None = Field(
        None, description="Image of this Loggia, with which pods fetch model files."
    )
    kubernetes_vllm_image: str = Field(
        "vllm/vllm-openai:v0.32.0", description="Image of vLLM for NVIDIA GPUs."
    )
    kubernetes_vllm_cpu_image: str = Field(
        "vllm/vllm-openai-cpu:v0.32.0", description="Image of vLLM for processors."
    )
    kubernetes_service_account: str | None = Field(
        None, description="Service account of the engines' pods; unset: the namespace's default."
    )
    kubernetes_object_store_secret: str | None = Field(
        None, description="Secret whose entries become the environment of pods that fetch files."
    )
    kubernetes_models_claim: str | None = Field(
        None,
        description="Claim of a volume on which pods keep model files together; unset: each pod "
        "fetches its own.",
    )
    kubernetes_pull_secret: str | None = Field(
        None, description="Secret with the account for private images."
    )
    kubernetes_scaling_metric: str | None = Field(
        None,
        description="Metric of pods, from the cluster's metrics adapter, by which Deployments are "
        "scaled; it counts the requests inside a pod. Unset: how busy the processors are.",
    )
    docker_socket: Path | None = Field(
        None,
        description="Socket of a Docker engine that runs container image models; unset: none.",
    )
    ollama_url: str | None = Field(
        None, description="An Ollama server for GGUF models, such as http://10.0.0.7:11434."
    )
    ollama_token: SecretStr | None = Field(
        None, description="What the Ollama server wants as a bearer token, where it wants one."
    )

    @field_validator("fetch_allowed_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        for part in filter(None, map(str.strip, text.split(","))):
            ip_network(part)
        return text

    @field_validator("import_roots")
    @classmethod
    def _absolute(cls, text: str) -> str:
        for part in filter(None, text.split(":")):
            if not Path(part).is_absolute():
                raise ValueError(f"'{part}' is not an absolute path")
        return text

    @property
    def runs_containers(self) -> bool:
        """Whether something is named that runs container images."""
        return self.docker_socket is not None or self.kubernetes_namespace is not None

    @cached_property
    def roots(self) -> tuple[Path, ...]:
        """The directories from which models may be imported."""
        return tuple(Path(part) for part in self.import_roots.split(":") if part)

    @property
    def data(self) -> Path:
        """The data directory, absolute."""
        return self.data_dir.expanduser().resolve()

    @property
    def cache(self) -> Path:
        """The cache directory, absolute."""
        return self.cache_dir.expanduser().resolve()

    @property
    def dsn(self) -> str:
        """The PostgreSQL connection string in force."""
        if self.postgres_dsn is not None:
            return self.postgres_dsn.get_secret_value()
        password = (self.data / "postgres.password").read_text().strip()
        return (
            f"postgresql://loggia:{password}@127.0.0.1:{self.postgres_port}/loggia"
            "?connect_timeout=10"
        )

    @property
    def bootstrap_servers(self) -> list[str]:
        """The Kafka brokers in force."""
        return (self.kafka_bootstrap_servers or f"127.0.0.1:{self.kafka_port}").split(",")

    @property
    def public_gateway_url(self) -> str:
        """The gateway's address as consumers see it."""
        return (self.gateway_url or f"http://{self.host}:{self.gateway_port}").rstrip("/")

    @property
    def object_store(self) -> str:
        """The object store's address in force."""
        return self.object_store_url or (self.data / "objects").as_uri()

    @cached_property
    def secret_key(self) -> bytes:
        """The key that signs and seals; made at the first start where no file is named."""
        path = self.secret_key_file or self.data / "secret.key"
        if not path.exists() and self.secret_key_file is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{secrets.token_hex(4)}")
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_hex(32))
            try:
                path.hardlink_to(fresh)
            except FileExistsError:
                pass  # another process was first; its key counts
            finally:
                fresh.unlink()
        return bytes.fromhex(path.read_text().strip())


def load_settings() -> Settings:
    """The settings of this process. Raises `pydantic.ValidationError`."""
    return Settings()
