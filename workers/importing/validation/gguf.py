"""GGUF files, as llama.cpp and Ollama load them."""

from __future__ import annotations

import re
from collections import Counter

from workers.importing.gguf_header import FILE_TYPES, MAGIC, Array, GgufHeader, Value, read_gguf
from workers.importing.names import listed, shown
from workers.importing.refusals import ImportRefused
from workers.importing.validation.card import Facts
from workers.importing.validation.files import ModelFiles
from workers.importing.validation.layout import TITLE, Layout, Wanted
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.tokenizer import check_template

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_SOURCE = "Take the file from the model's source again."
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
_TASKS = {"bert": "feature-extraction", "nomic-bert": "feature-extraction"}


def recognises(files: ModelFiles) -> bool:
    """A file at the top with the name or the first bytes of GGUF, and no weights beside it."""
    return bool(_gguf_files(files)) and not any(p.endswith(".safetensors") for p in files.sizes)


def check(files: ModelFiles, _: Wanted, report: Report) -> Facts | None:
    """Every header, shards, vocabulary and chat template."""
    names = _gguf_files(files)
    report.add(
        "layout", TITLE, Outcome.PASS,
        f"GGUF in {len(names)} {'file' if len(names) == 1 else 'files'}.",
    )  # fmt: skip
    return check_gguf(files, names, report)


def check_gguf(files: ModelFiles, names: list[str], report: Report) -> Facts | None:
    """Checks these files as one model, or as one model and its projector."""
    headers = _headers(files, names, report)
    if headers is None:
        return None
    main = _main(headers)
    metadata = headers[main].metadata
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        report.add(
            "config", "Metadata names the architecture", Outcome.FAIL,
            f"{shown(main)} has no general.architecture.", _SOURCE,
        )  # fmt: skip
        return None
    report.add(
        "config", "Metadata names the architecture", Outcome.PASS,
        f"Architecture {architecture:.100}, {len(metadata)} entries.",
    )  # fmt: skip
    vocabulary = _check_vocabulary(main, headers[main], architecture, report)
    template = metadata.get("tokenizer.chat_template")
    text = template.encode("utf-8", "replace") if isinstance(template, str) else None
    has_template = check_template(text, {"bos_token": "", "eos_token": ""}, report)
    return _facts(headers, metadata, architecture, vocabulary, has_template)


def _gguf_files(files: ModelFiles) -> list[str]:
    found = []
    for path in files.sizes:
        if path.lower().endswith(".gguf"):
            found.append(path)
        elif "/" not in path and "." not in path:
            with files.open(path) as source:
                if source.read(4) == MAGIC:
                    found.append(path)
    return found


def _headers(files: ModelFiles, names: list[str], report: Report) -> dict[str, GgufHeader] | None:
    title = "Weights are whole"
    headers: dict[str, GgufHeader] = {}
    for path in names:
        try:
            with files.open(path) as source:
                headers[path] = read_gguf(source, files.sizes[path], path)
        except ImportRefused as refusal:
            report.add("weights", title, Outcome.FAIL, refusal.reason, refusal.remedy)
            return None
    missing = _missing_shards(names)
    tensors = sum(len(header.tensors) for header in headers.values())
    repeated = tensors - len({name for header in headers.values() for name in header.tensors})
    if missing or not tensors:
        report.add(
            "weights", title, Outcome.FAIL,
            f"Shards are missing: {listed(missing)}." if missing else "There are no weights.",
            "Add every file of the model.",
        )  # fmt: skip
        return None
    parameters = sum(header.parameter_count for header in headers.values())
    evidence = f"{tensors} tensors with {parameters} parameters; every offset, type and shape fits."
    if repeated:
        report.add(
            "weights", title, Outcome.WARN,
            f"{evidence} {repeated} names stand in two files, as if they were two models.",
            "Import each variant of the model as a model of its own.",
        )  # fmt: skip
    else:
        report.add("weights", title, Outcome.PASS, evidence)
    return headers


def _missing_shards(names: list[str]) -> list[str]:
    wanted: set[str] = set()
    for name in names:
        match = _SHARD.fullmatch(name)
        # A name may promise more shards than anybody could list.
        if match and int(match[3]) <= 1000:
            wanted |= {
                f"{match[1]}-{i:05d}-of-{match[3]}.gguf" for i in range(1, int(match[3]) + 1)
            }
    return sorted(wanted - set(names))


def _main(headers: dict[str, GgufHeader]) -> str:
    """The file whose metadata describe the model: not a projector, the first shard first."""
    ordered = sorted(headers, key=lambda p: (headers[p].metadata.get("split.no", 0) != 0, p))
    language = [p for p in ordered if headers[p].metadata.get("general.architecture") != "clip"]
    return (language or ordered)[0]


def _check_vocabulary(
    name: str, header: GgufHeader, architecture: str, report: Report
) -> int | None:
    """The tokenizer in the metadata, and whether the embedding has a row for every token."""
    title = "Tokens are within the vocabulary"
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, Array):
        report.add(
            "special_tokens", title, Outcome.WARN, f"{shown(name)} brings no tokenizer.",
            "An engine that serves text needs one; convert the model together with its tokenizer.",
        )  # fmt: skip
        return _number(header.metadata.get(f"{architecture}.vocab_size"))
    embedding = header.tensors.get("token_embd.weight")
    rows = embedding.shape[1] if embedding and len(embedding.shape) == 2 else None
    beyond = [
        key.rsplit(".", 1)[-1]
        for key, value in header.metadata.items()
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id")
        and (type(value) is not int or not 0 <= value < tokens.length)
    ]  # fmt: skip
    if beyond or (rows is not None and rows < tokens.length):
        report.add(
            "special_tokens", title, Outcome.FAIL,
            f"The tokenizer has {tokens.length} tokens"
            + (f"; out of range: {listed(beyond)}." if beyond else f", the weights {rows} rows."),
            "Tokenizer and weights belong to different models; take both from one source.",
        )  # fmt: skip
    else:
        report.add(
            "special_tokens", title, Outcome.PASS,
            f"{tokens.length} tokens, the special ones among them.",
        )  # fmt: skip
    return tokens.length


def _facts(
    headers: dict[str, GgufHeader],
    metadata: dict[str, Value],
    architecture: str,
    vocabulary: int | None,
    has_template: bool,
) -> Facts:
    by_type: Counter[str] = Counter()
    for header in headers.values():
        by_type.update(header.bytes_by_type())
    most = by_type.most_common(1)[0][0]
    file_type = metadata.get("general.file_type")
    packed = FILE_TYPES.get(file_type, most) if type(file_type) is int else most
    languages = metadata.get("general.languages")
    tokenizer = metadata.get("tokenizer.ggml.model")
    return Facts(
        architecture=plain(architecture, 200),
        model_type=plain(architecture, 200),
        task=_TASKS.get(architecture, "text-generation" if vocabulary else None),
        parameter_count=sum(header.parameter_count for header in headers.values()),
        dtype=_DTYPES.get(most, most),
        quantization=None if packed in _DTYPES else packed,
        context_length=_number(metadata.get(f"{architecture}.context_length")),
        vocabulary_size=vocabulary,
        hidden_size=_number(metadata.get(f"{architecture}.embedding_length")),
        layers=_number(metadata.get(f"{architecture}.block_count")),
        tokenizer=plain(tokenizer, 100) if isinstance(tokenizer, str) else None,
        chat_template=has_template,
        license=_text(metadata.get("general.license.name"))
        or _text(metadata.get("general.license")),
        languages=tuple(plain(item, 50) for item in languages.first if isinstance(item, str))
        if isinstance(languages, Array)
        else (),
        summary=_text(metadata.get("general.description")) or "",
        weight_format="gguf",
    )


def _number(value: Value | None) -> int | None:
    return value if type(value) is int and 0 < value < 2**40 else None


def _text(value: Value | None) -> str | None:
    return plain(value, 2000) if isinstance(value, str) and value else None


LAYOUT = Layout("gguf", "GGUF", "*.gguf", recognises, check, own=("*.gguf",))
