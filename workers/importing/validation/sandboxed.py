"""Runs as a process of its own: parses one untrusted file under limits, prints one JSON object.

Only the standard library and the parser itself are imported, after the limits are set, so that
nothing of the application is in reach. Started by `sandbox.py`, which see for the protocol, never
imported by it.
"""

import io
import json
import os
import resource
import sys
from typing import Any, BinaryIO


class Served(io.RawIOBase):
    """The file, whose bytes the parent process gives on request."""

    def __init__(self, size: int, output: BinaryIO) -> None:
        self._size = size
        self._at = 0
        self._output = output

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read anywhere."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place, also behind the end, as with any file."""
        start = (0, self._at, self._size)[whence]
        if start + offset < 0:
            raise ValueError("before the beginning of the file")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Asks for as many bytes as fit."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), max(0, self._size - self._at))
        if length:
            self._output.write(b"%d %d\n" % (self._at, length))
            self._output.flush()
            part = sys.stdin.buffer.read(length)
            if len(part) != length:
                raise EOFError("the file could not be read")
            view[:length] = part
            self._at += length
        return length


def main() -> None:
    """Reads a line of JSON (what to do) from standard input, then the bytes that it asks for."""
    # Whatever a parser prints must not get between the lines of the protocol.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    request = json.loads(sys.stdin.buffer.readline())
    _limit(resource.RLIMIT_CPU, request["cpu_seconds"])
    _limit(resource.RLIMIT_AS, request["memory_bytes"])
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    source = io.BufferedReader(Served(request["size"], output), 1 << 18)
    try:
        answer = _WORK[request["kind"]](source, request)
    except MemoryError:
        answer = {"error": "it needs more memory than such a file may"}
    except RecursionError:
        answer = {"error": "it is nested too deeply"}
    except Exception as error:  # whatever a parser says about a hostile file is its verdict
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    output.write(json.dumps(answer, default=str).encode() + b"\n")
    output.flush()


def _limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def _tokenizer(source: BinaryIO, request: dict[str, Any]) -> dict[str, Any]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(source.read())

    def back(text: str) -> str:
        decoded: str = tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids)
        return decoded

    encoded = tokenizer.encode(request["sentence"], add_special_tokens=False)
    added = tokenizer.get_added_tokens_decoder()
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    return {
        "kind": type(tokenizer.model).__name__,
        "tokens": len(encoded.ids),
        "decoded": back(request["sentence"])[:1000],
        "kept": {name: back(text).strip() == text for name, text in request["samples"].items()},
        "size": len(vocabulary),
        "largest_id": max(vocabulary.values(), default=-1),
        "special": {token.content[:200]: id for id, token in list(added.items())[:2000]},
    }


def _chat_template(source: BinaryIO, request: dict[str, Any]) -> dict[str, Any]:
    import datetime

    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Refused(TemplateError):
        """The template itself does not accept the conversation."""

    class Generation(Extension):
        """`{% generation %}` marks the assistant's words; for rendering it means nothing."""

        tags = {"generation"}  # noqa: RUF012 (the base class asks for it)

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def refuse(message: str) -> None:
        raise Refused(message)

    def now(form: str) -> str:
        return datetime.datetime.now(datetime.UTC).strftime(form)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(
        value, ensure_ascii=False, **options
    )
    environment.globals.update(raise_exception=refuse, strftime_now=now)
    template = environment.from_string(source.read().decode())
    rendered = 0
    sample = ""
    try:
        for piece in template.generate(**request["variables"]):
            rendered += len(piece)
            sample = (sample + piece)[:500]
            if rendered > request["most_characters"]:
                return {"error": "it renders to far more text than the conversation holds"}
    except Refused as refusal:
        return {"refused": str(refusal)[:300]}
    return {"characters": rendered, "sample": sample}


def _front_matter(source: BinaryIO, _: dict[str, Any]) -> dict[str, Any]:
    import yaml

    loaded = yaml.safe_load(source.read())
    if not isinstance(loaded, dict):
        return {"error": "it is no mapping"}

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [item[:100] for item in value[:50] if isinstance(item, str)]
        return value[:200] if isinstance(value, str) else None

    return {"fields": {name: short(loaded.get(name)) for name in _FRONT_MATTER}}


def _patterns(source: BinaryIO, _: dict[str, Any]) -> dict[str, Any]:
    """Places of the names that the target pattern means, and for each name the first rank's."""
    import re

    asked = json.loads(source.read())
    names = asked["names"]
    ranks = [re.compile(rf"(.*\.)?({pattern})$") for pattern in asked["ranks"]]
    target = re.compile(asked["target"]) if asked["target"] is not None else None
    return {
        "targets": [at for at, name in enumerate(names) if target and target.fullmatch(name)],
        "ranks": [
            next((place for place, pattern in enumerate(ranks) if pattern.match(name)), -1)
            for name in names
        ],
    }


def _pickle(source: BinaryIO, _: dict[str, Any]) -> dict[str, Any]:
    """What the pickles in a file import, as picklescan finds it. Nothing is unpickled."""
    import logging
    import struct
    import zipfile

    from picklescan.relaxed_zipfile import RelaxedZipFile  # type: ignore[import-untyped]
    from picklescan.scanner import (  # type: ignore[import-untyped]
        InvalidMagicError,
        scan_pickle_bytes,
        scan_pytorch,
    )

    logging.disable(logging.CRITICAL)
    imports: dict[str, str] = {}
    unreadable: list[str] = []
    count = 0

    def scan(stream: Any, where: str, *, legacy: bool = False) -> None:
        nonlocal count
        try:
            result = scan_legacy(stream) if legacy else scan_pickle_bytes(stream, where)
        except MemoryError:
            raise
        except Exception as error:
            unreadable.append(f"{where}: {type(error).__name__}: {error}"[:200])
            return
        count += 1
        if result.scan_err:
            unreadable.append(f"{where}: it cannot be read to its end")
        imports.update({f"{g.module} {g.name}"[:200]: g.safety.value for g in result.globals})

    def scan_legacy(stream: Any) -> Any:
        """Five pickles with PyTorch's mark at the front, then the numbers; else only pickles."""
        try:
            return scan_pytorch(stream, "")
        except InvalidMagicError:
            stream.seek(0)
            return scan_pickle_bytes(stream, "")

    def scan_array(stream: Any, where: str) -> None:
        """A NumPy array: only one of objects holds a pickle, behind the header."""
        head = stream.read(8)
        wide = head[6:7] > b"\1"
        (length,) = struct.unpack("<I" if wide else "<H", stream.read(4 if wide else 2))
        if length > 1 << 20 or b"O" in stream.read(length):
            scan(stream, where)

    def scan_member(archive: Any, name: str) -> None:
        with archive.open(name) as stream:
            head = stream.read(8)
        with archive.open(name) as stream:
            if head.startswith(b"\x93NUMPY"):
                scan_array(stream, name)
            elif head.startswith(b"PK"):
                unreadable.append(f"{name}: an archive inside the archive"[:200])
            elif head[:1] == b"\x80" or name.lower().endswith((".pkl", ".pickle")):
                scan(stream, name)

    head = source.read(8)
    source.seek(0)
    if head.startswith(b"PK"):
        with RelaxedZipFile(source) as archive:
            for name in archive.namelist()[:100_000]:
                try:
                    scan_member(archive, name)
                except (zipfile.BadZipFile, RuntimeError, ValueError, OSError) as error:
                    unreadable.append(f"{name}: {error}"[:200])
    elif head.startswith(b"\x93NUMPY"):
        scan_array(source, "the array")
    else:
        _first_pickle(source)
        scan(source, "the file", legacy=True)
    if len(imports) > 2000:
        unreadable.append("it imports more than 2000 things")
    return {
        "pickles": count,
        "imports": dict(list(imports.items())[:2000]),
        "unreadable": unreadable[:20],
    }


def _triton_config(source: BinaryIO, _: dict[str, Any]) -> dict[str, Any]:
    """A config.pbtxt by the definition that Triton's own client carries.

    Only that module is loaded: its package would import gRPC.
    """
    import importlib.util
    from pathlib import Path

    from google.protobuf import json_format, text_format

    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        return {"error": "the package tritonclient is not installed"}
    place = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", place)
    if spec is None or spec.loader is None:
        return {"error": "the package tritonclient does not define the configuration"}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.ModelConfig()
    try:
        text_format.Parse(source.read().decode(), config)
    except text_format.ParseError as error:
        return {"error": f"line {str(error)[:300]}"}
    return {"config": json_format.MessageToDict(config, preserving_proto_field_name=True)}


def _first_pickle(source: BinaryIO) -> None:
    """Raises where the file does not begin with a whole pickle; the scanner is silent about it."""
    import pickletools

    for _ in pickletools.genops(source):
        pass
    source.seek(0)


_FRONT_MATTER = ("license", "license_name", "language", "pipeline_tag", "base_model")
_WORK = {
    "tokenizer": _tokenizer,
    "chat_template": _chat_template,
    "front_matter": _front_matter,
    "patterns": _patterns,
    "pickle": _pickle,
    "triton_config": _triton_config,
}

if __name__ == "__main__":
    main()
