"""Importing from the command line: a command for each source."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from typer.core import TyperGroup

from backend.cli.import_request import (
    AcceptRisk,
    Base,
    Connection,
    Description,
    DryRun,
    Labels,
    Links,
    Name,
    OfModel,
    Reason,
    Version,
    Wish,
    begin,
    rehearse,
    tell,
)
from backend.cli.models import Watch
from backend.cli.output import AsJson, fail

Cpu = Annotated[float, typer.Option(help="CPU cores at least.")]
MemoryGib = Annotated[float, typer.Option(help="Memory at least, in GiB.")]
Gpu = Annotated[int, typer.Option(help="GPUs at least.")]
GpuMemoryGib = Annotated[float, typer.Option(help="Memory of a GPU at least, in GiB.")]
DocumentFile = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A JSON Schema.")
]


class _UploadByDefault(TyperGroup):
    """`loggia import FILE` uploads, as `loggia import upload FILE` does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] != "--help" and args[0] not in self.commands:
            args = ["upload", *args]
        return super().parse_args(ctx, args)


imports = typer.Typer(
    cls=_UploadByDefault,
    no_args_is_help=True,
    help="Import a model: a file, or one of the commands below. `loggia import FILE` uploads it.",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(imports, name="import", rich_help_panel="Client")


@imports.command("upload")
def import_file(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            readable=True,
            help="An archive, or one .safetensors, .gguf or .onnx file.",
        ),
    ],
    base: Base = None,
    model: OfModel = None,
    version: Version = None,
    label: Labels = None,
    link: Links = None,
    description: Description = "",
    accept_risk: AcceptRisk = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Upload a file and import it. Given again, it goes on where it was interrupted."""
    from backend.cli.client import Api
    from backend.cli.uploading import Uploads, upload_bar

    wish = Wish(base, model, version, None, label, link, description, accept_risk, reason)
    with Api.from_credentials() as api:
        uploads = Uploads(api)
        upload = uploads.begin(file)
        body = wish.body(api, "upload", uploadId=str(upload.id))
        if dry_run:
            with upload_bar(file, quiet=as_json) as progress:
                uploads.send(file, upload, progress)
            try:
                rehearse(api, body, as_json=as_json)
            finally:
                uploads.abandon(file, upload)
            return
        try:
            # Before the bytes, so that a name that is taken costs nobody an hour.
            accepted = api.command("POST", "/api/imports", body, key=UUID(upload.import_key))
        except typer.Exit:
            uploads.abandon(file, upload)
            raise
        with upload_bar(file, quiet=as_json) as progress:
            uploads.send(file, upload, progress)
        tell(api, accepted, watch=watch, as_json=as_json)


@imports.command("hf")
def import_repository(
    repository: Annotated[str, typer.Argument(help="ORGANISATION/MODEL on the hub.")],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
    file: Annotated[
        list[str] | None,
        typer.Option(help="A pattern of files to take; may be repeated. Else the best weights."),
    ] = None,
    connection: Connection = None,
    name: Name = None,
    base: Base = None,
    model: OfModel = None,
    version: Version = None,
    label: Labels = None,
    link: Links = None,
    description: Description = "",
    accept_risk: AcceptRisk = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Import a repository of Hugging Face, or of another hub that a connection names."""
    wish = Wish(base, model, version, name, label, link, description, accept_risk, reason)
    facts = {
        "repository": repository,
        "revision": revision,
        "connection": connection,
        "files": file or [],
    }
    begin(wish, "huggingface", facts, dry_run=dry_run, watch=watch, as_json=as_json)


@imports.command("url")
def import_address(
    address: Annotated[str, typer.Argument(help="Of one archive or one file of weights.")],
    connection: Connection = None,
    name: Name = None,
    base: Base = None,
    model: OfModel = None,
    version: Version = None,
    label: Labels = None,
    link: Links = None,
    description: Description = "",
    accept_risk: AcceptRisk = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Import from an address. See `loggia import batch` for a list of models."""
    wish = Wish(base, model, version, name, label, link, description, accept_risk, reason)
    facts = {"address": address, "connection": connection}
    begin(wish, "url", facts, dry_run=dry_run, watch=watch, as_json=as_json)


@imports.command("path")
def import_path(
    directory: Annotated[str, typer.Argument(help="A directory or file on the server.")],
    copy: Annotated[
        bool,
        typer.Option("--copy/--reference", help="Copy the files, or use them where they are."),
    ] = False,
    technical_name: Annotated[str | None, typer.Option(help="Unique, like the name.")] = None,
    template: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A Modelfile: Ollama's template."),
    ] = None,
    name: Name = None,
    base: Base = None,
    model: OfModel = None,
    version: Version = None,
    label: Labels = None,
    link: Links = None,
    description: Description = "",
    accept_risk: AcceptRisk = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Import a directory of the server, below one of its LOGGIA_IMPORT_ROOTS."""
    wish = Wish(base, model, version, name, label, link, description, accept_risk, reason)
    facts = {
        "path": directory,
        "mode": "copy" if copy else "reference",
        "technicalName": technical_name,
        "template": _text(template),
    }
    begin(wish, "path", facts, dry_run=dry_run, watch=watch, as_json=as_json)


@imports.command("image")
def import_image(
    reference: Annotated[str, typer.Argument(help="REGISTRY/NAME:TAG or REGISTRY/NAME@DIGEST.")],
    config: Annotated[
        str,
        typer.Option(help="The configuration file: a file here, or an address (https:, s3:)."),
    ],
    deployment_type: Annotated[
        str, typer.Option("--type", help="real_time, batch or edge.")
    ] = "real_time",
    input_schema: DocumentFile = None,
    output_schema: DocumentFile = None,
    cpu: Cpu = 0,
    memory_gib: MemoryGib = 0,
    gpu: Gpu = 0,
    gpu_memory_gib: GpuMemoryGib = 0,
    connection: Connection = None,
    config_connection: Annotated[
        str | None, typer.Option(help="The connection for --config, where it is an address.")
    ] = None,
    name: Name = None,
    model: OfModel = None,
    version: Version = None,
    label: Labels = None,
    link: Links = None,
    description: Description = "",
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Import a container image that serves its model itself."""
    wish = Wish(None, model, version, name, label, link, description)
    facts = {
        "reference": reference,
        "deploymentType": deployment_type,
        "configuration": _fetched(config, config_connection)
        if "://" in config
        else _text(Path(config)),
        "inputSchema": _text(input_schema),
        "outputSchema": _text(output_schema),
        "minimum": _resources(cpu, memory_gib, gpu, gpu_memory_gib),
        "connection": connection,
    }
    begin(wish, "container_image", facts, dry_run=dry_run, watch=watch, as_json=as_json)


@imports.command("create")
def create_model(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    kind: Annotated[
        str,
        typer.Option(
            "--type", help="llm, embedding, reranker, diffusion, speech, vision or other."
        ),
    ],
    runtime: Annotated[str, typer.Option(help="What runs it, such as vLLM 0.6.")],
    weights: Annotated[
        str | None, typer.Option(help="Address or path of its weights; else none are here.")
    ] = None,
    cpu: Cpu = 0,
    memory_gib: MemoryGib = 0,
    gpu: Gpu = 0,
    gpu_memory_gib: GpuMemoryGib = 0,
    model: OfModel = None,
    version: Version = None,
    label: Labels = None,
    link: Links = None,
    description: Description = "",
    accept_risk: AcceptRisk = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Create a model by describing it."""
    wish = Wish(None, model, version, name, label, link, description, accept_risk, reason)
    facts = {
        "type": kind,
        "runtime": runtime,
        "resources": _resources(cpu, memory_gib, gpu, gpu_memory_gib),
        "weights": weights,
    }
    begin(wish, "manual", facts, dry_run=dry_run, watch=watch, as_json=as_json)


def _resources(cpu: float, memory: float, gpu: int, gpu_memory: float) -> dict[str, Any]:
    return {"cpu": cpu, "memoryGib": memory, "gpu": gpu, "gpuMemoryGib": gpu_memory}


def _fetched(address: str, connection: str | None) -> str:
    """A configuration file that the platform reads for us."""
    from backend.cli.client import Api

    question = {"source": "configuration_file", "address": address, "connection": connection}
    with Api.from_credentials() as api:
        text: str = api.command("POST", "/api/imports/inspect", question)["facts"]["text"]
    return text


def _text(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} cannot be read: {error}", "give a text file in UTF-8")
