"""Runs as a process of its own: parses one untrusted text under limits, prints one JSON object.

Only the standard library and the parser itself are imported, after the limits are set, so that
nothing of the application is in reach. Started by `sandbox.py`, never imported by it.
"""

import json
import resource
import sys
from typing import Any


def main() -> None:
    """Reads a line of JSON (what to do) and the text from standard input."""
    request = json.loads(sys.stdin.buffer.readline())
    _limit(resource.RLIMIT_CPU, request["cpu_seconds"])
    _limit(resource.RLIMIT_AS, request["memory_bytes"])
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    text = sys.stdin.buffer.read()
    try:
        answer = _WORK[request["kind"]](text, request)
    except MemoryError:
        answer = {"error": "it needs more memory than such a file may"}
    except RecursionError:
        answer = {"error": "it is nested too deeply"}
    except Exception as error:  # whatever a parser says about a hostile text is its verdict
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    sys.stdout.write(json.dumps(answer, default=str))


def _limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def _tokenizer(text: bytes, request: dict[str, Any]) -> dict[str, Any]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(text)
    encoded = tokenizer.encode(request["sentence"], add_special_tokens=False)
    added = tokenizer.get_added_tokens_decoder()
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    return {
        "kind": type(tokenizer.model).__name__,
        "tokens": len(encoded.ids),
        "decoded": tokenizer.decode(encoded.ids)[:1000],
        "size": len(vocabulary),
        "largest_id": max(vocabulary.values(), default=-1),
        "special": {token.content[:200]: id for id, token in list(added.items())[:2000]},
    }


def _chat_template(text: bytes, request: dict[str, Any]) -> dict[str, Any]:
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
    template = environment.from_string(text.decode())
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


def _front_matter(text: bytes, _: dict[str, Any]) -> dict[str, Any]:
    import yaml

    loaded = yaml.safe_load(text)
    if not isinstance(loaded, dict):
        return {"error": "it is no mapping"}

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [item[:100] for item in value[:50] if isinstance(item, str)]
        return value[:200] if isinstance(value, str) else None

    return {"fields": {name: short(loaded.get(name)) for name in _FRONT_MATTER}}


def _patterns(text: bytes, _: dict[str, Any]) -> dict[str, Any]:
    """Places of the names that the target pattern means, and for each name the first rank's."""
    import re

    asked = json.loads(text)
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


_FRONT_MATTER = ("license", "license_name", "language", "pipeline_tag", "base_model")
_WORK = {
    "tokenizer": _tokenizer,
    "chat_template": _chat_template,
    "front_matter": _front_matter,
    "patterns": _patterns,
}

if __name__ == "__main__":
    main()
