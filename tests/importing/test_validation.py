"""What the validation report says about sound and unsound models."""

from __future__ import annotations

import builtins
import json
import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import Any

import pytest
from safetensors.numpy import save
from tokenizers import Tokenizer, models

from tests.builders.models import config, sharded, tensors, tiny_llama
from tests.importing.memory import MemoryFiles
from workers.importing.validation import CHECKS, Validation, validate
from workers.importing.validation.report import Check

Files = dict[str, bytes]


def report(files: Files) -> dict[str, Check]:
    return {check.id: check for check in validate(MemoryFiles(files)).report.checks}


def outcome(files: Files, check: str) -> tuple[str, str]:
    found = report(files)[check]
    assert bool(found.hint) == (found.outcome != "pass")
    return found.outcome.value, found.evidence


def with_config(**changes: Any) -> Files:
    return {**tiny_llama(), "config.json": json.dumps({**config(), **changes}).encode()}


def with_tensors(change: Callable[[dict[str, Any]], object]) -> Files:
    arrays = tensors()
    change(arrays)
    return {**tiny_llama(), "model.safetensors": save(arrays)}


def with_template(template: object) -> Files:
    files = tiny_llama()
    settings = json.loads(files["tokenizer_config.json"])
    return {
        **files,
        "tokenizer_config.json": json.dumps({**settings, "chat_template": template}).encode(),
    }


def without(*names: str) -> Files:
    return {path: data for path, data in tiny_llama().items() if path not in names}


@pytest.mark.parametrize("files", [tiny_llama(), sharded(tiny_llama())], ids=["one", "shards"])
def test_a_sound_model_passes_every_check(files: Files) -> None:
    result: Validation = validate(MemoryFiles(files))
    assert [check for check in result.report.checks if check.outcome != "pass"] == []
    assert len(result.report.checks) == CHECKS
    assert result.card is not None
    assert len(result.card.pop("memory")) == 4
    assert result.card == {
        "format": "transformers",
        "architecture": "LlamaForCausalLM",
        "model_type": "llama",
        "task": "text-generation",
        "parameter_count": 361_088,
        "dtype": "float32",
        "quantization": None,
        "context_length": 512,
        "vocabulary_size": 512,
        "hidden_size": 128,
        "layers": 2,
        "license": "apache-2.0",
        "tokenizer": "BPE",
        "chat_template": True,
        "languages": ["en"],
        "summary": "# Tiny Llama\n\nRandom weights, made for tests.",
        "weight_format": "safetensors",
        "total_bytes": sum(map(len, files.values())),
        "adapter": None,
        "custom_code": [],
        "deploy_configuration": None,
    }


def _drop(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda arrays: arrays.pop(name)


def _index_of(files: Files) -> dict[str, Any]:
    index: dict[str, Any] = json.loads(files["model.safetensors.index.json"])
    return index


def _misplaced() -> Files:
    files = sharded(tiny_llama())
    index = _index_of(files)
    places = index["weight_map"]
    places["lm_head.weight"] = "model-00002-of-00002.safetensors"
    return {**files, "model.safetensors.index.json": json.dumps(index).encode()}


def _unplaced() -> Files:
    files = sharded(tiny_llama())
    index = _index_of(files)
    del index["weight_map"]["lm_head.weight"]
    return {**files, "model.safetensors.index.json": json.dumps(index).encode()}


SHARDS = sharded(tiny_llama())
UNSOUND: dict[str, tuple[Files, str, str]] = {
    "no config": (without("config.json"), "config", "config.json is missing"),
    "config in a folder": (
        {f"deep/{k}": v for k, v in tiny_llama().items()} | {"other": b""},
        "layout", "it lies in 'deep/config.json'",
    ),
    "config no JSON": ({**tiny_llama(), "config.json": b"{"}, "config", "not valid JSON"),
    "config a list": ({**tiny_llama(), "config.json": b"[]"}, "config", "JSON object"),
    "config too deep": (
        {**tiny_llama(), "config.json": b"[" * 100_000}, "config", "too deeply",
    ),
    "config too large": (
        {**tiny_llama(), "config.json": b" " * (5 << 20)}, "config", "at most 4194304",
    ),
    "no architecture": (with_config(architectures=[]), "config", "names no architecture"),
    "odd architecture": (with_config(architectures=[3]), "config", "names no architecture"),
    "no weights": (without("model.safetensors"), "layout", "no .safetensors files"),
    "adapter": (
        {"adapter_config.json": b"{}", "adapter_model.safetensors": save(tensors())},
        "layout", "This is an adapter",
    ),
    "missing shard": (
        {k: v for k, v in SHARDS.items() if "00002-of" not in k},
        "weights", "shards that are missing: 'model-00002-of-00002.safetensors'",
    ),
    "missing index": (
        {k: v for k, v in SHARDS.items() if not k.endswith("index.json")},
        "weights", "model.safetensors.index.json is missing",
    ),
    "index misplaces": (_misplaced(), "weights", "'lm_head.weight' is not in"),
    "index forgets": (_unplaced(), "weights", "does not place the tensor 'lm_head.weight'"),
    "index no JSON": (
        {**SHARDS, "model.safetensors.index.json": b"}"}, "weights", "not valid JSON",
    ),
    "wrong header length": (
        {**tiny_llama(), "model.safetensors": struct.pack("<Q", 1 << 40) + b"{}"},
        "weights", "claims a header of 1099511627776 bytes",
    ),
    "no tensors": ({**tiny_llama(), "model.safetensors": save({})}, "weights", "no weights"),
    "vocabulary contradicts": (
        with_config(vocab_size=600), "shapes",
        "'model.embed_tokens.weight' has the shape 512 x 128; config.json promises 600 x 128",
    ),
    "width contradicts": (with_config(hidden_size=64), "shapes", "promises 512 x 64"),
    "heads contradict": (with_config(num_attention_heads=4), "shapes", "promises 128 x 256"),
    "kv heads contradict": (with_config(num_key_value_heads=1), "shapes", "k_proj"),
    "kv heads do not divide": (
        with_config(num_attention_heads=3), "shapes", "no usable num_key_value_heads",
    ),
    "head size contradicts": (with_config(head_dim=32), "shapes", "promises 64 x 128"),
    "intermediate contradicts": (with_config(intermediate_size=64), "shapes", "promises 128 x 64"),
    "more layers promised": (with_config(num_hidden_layers=3), "shapes", "promises 3 layers"),
    "fewer layers promised": (with_config(num_hidden_layers=1), "shapes", "the weights hold 2"),
    "endless layers promised": (
        with_config(num_hidden_layers=10**11), "shapes", "the weights hold 2",
    ),
    "size is text": (with_config(hidden_size="128"), "shapes", "no usable hidden_size"),
    "size is negative": (with_config(hidden_size=-1), "shapes", "no usable hidden_size"),
    "tensor missing": (
        with_tensors(_drop("model.layers.1.mlp.up_proj.weight")), "shapes",
        "'model.layers.1.mlp.up_proj.weight' is missing",
    ),
    "head missing": (with_tensors(_drop("lm_head.weight")), "shapes", "'lm_head.weight'"),
    "no tokenizer": (without("tokenizer.json"), "tokenizer", "There is no tokenizer.json"),
    "tokenizer no JSON": ({**tiny_llama(), "tokenizer.json": b"{"}, "tokenizer", "EOF"),
    "tokenizer empty": ({**tiny_llama(), "tokenizer.json": b"{}"}, "tokenizer", "tokenizer.json"),
    "special token out of range": (
        with_config(eos_token_id=[1, 512]), "special_tokens", "out of range: 'eos_token_id'",
    ),
    "template syntax": (with_template("{% for %}"), "chat_template", "TemplateSyntaxError"),
    "template reaches out": (
        with_template("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        "chat_template", "SecurityError",
    ),
    "template changes the messages": (
        with_template("{{ messages.append(1) }}"), "chat_template", "SecurityError",
    ),
    "template never ends": (
        with_template(
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        ),
        "chat_template", "seconds of computing",
    ),
    "template swells": (
        with_template("{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}"),
        "chat_template", "far more text",
    ),
    "template eats memory": (
        with_template("{{ ('x' * 9999999999)|length }}"), "chat_template", "memory",
    ),
    "template imports": (with_template("{% include 'x' %}"), "chat_template", "does not render"),
    "template is a number": (with_template(7), "chat_template", "not a text"),
    "generation no JSON": (
        {**tiny_llama(), "generation_config.json": b"x"}, "generation_config", "not valid JSON",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_model_fails_the_check_that_says_why(name: str) -> None:
    files, check, words = UNSOUND[name]
    result = validate(MemoryFiles(files))
    found = {check.id: check for check in result.report.checks}
    assert found[check].outcome == "fail"
    assert words in found[check].evidence
    assert found[check].hint
    assert result.card is None


class Payload:
    """Unpickled, it would leave a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('unpickled')",))


_ASSEMBLED = (
    pickle.PROTO + b"\x04" + pickle.SHORT_BINUNICODE + b"\x02os" + pickle.SHORT_BINUNICODE
    + b"\x06system" + pickle.STACK_GLOBAL + b"(" + pickle.SHORT_BINUNICODE + b"\x04true" + b"tR."
)  # fmt: skip
_POP_HIDDEN = pickle.dumps(Payload(), 2)[:-1] + b"0N."
PICKLES = {
    "reduce": pickle.dumps(Payload(), 4),
    "old protocol": pickle.dumps(Payload(), 2),
    "hidden by pop": _POP_HIDDEN,
    "assembled": _ASSEMBLED,
    "harmless": pickle.dumps({"a": [1, 2]}),
}


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("path", ["pytorch_model.bin", "notes.txt", "deep/vocab.model"])
def test_a_pickle_is_refused_by_name_or_by_content(
    name: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickletools.dis(PICKLES[name], out=open("/dev/null", "w"))  # noqa: SIM115, PTH123 (is a pickle)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for function in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, function, never)
    found, evidence = outcome({**tiny_llama(), path: PICKLES[name]}, "unsafe_files")
    assert found == "fail"
    assert path in evidence


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".PT"])
def test_the_name_of_a_pickle_is_enough(suffix: str) -> None:
    assert outcome({**tiny_llama(), f"extra{suffix}": b"text"}, "unsafe_files")[0] == "fail"


def test_an_archive_under_another_name_is_refused() -> None:
    files = {**tiny_llama(), "weights.dat": b"PK\x03\x04" + bytes(40)}
    assert outcome(files, "unsafe_files")[0] == "fail"


def test_no_code_of_the_model_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    original = builtins.__import__

    def watching(name: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", watching)
    files = {
        **with_config(auto_map={"AutoModelForCausalLM": "modeling_x.X"}),
        "modeling_x.py": b"raise SystemExit",
    }
    found, evidence = outcome(files, "custom_code")
    assert found == "fail"
    assert "modeling_x.py" in evidence
    assert "AutoModelForCausalLM" in evidence
    assert "modeling_x" not in asked


@pytest.mark.parametrize(
    ("files", "check", "words"),
    [
        (with_config(architectures=["NewForCausalLM"]), "shapes", "Not checked"),
        (with_config(torch_dtype="bfloat16"), "dtype", "says bfloat16, most weights are float32"),
        (with_template(None), "chat_template", "no chat template"),
        (with_template("{{ raise_exception('roles!') }}"), "chat_template", "roles!"),
        (without("README.md"), "model_card", "no README.md"),
        (without("README.md", "LICENSE"), "license", "Neither"),
        ({**tiny_llama(), "README.md": b"---\na: [\n---\n"}, "model_card", "ParserError"),
        (
            {
                **tiny_llama(),
                "README.md": b"---\n"
                + b"".join(
                    b"k%d: &k%d {<<: [%s]}\n" % (i, i, b",".join([b"*k%d" % (i - 1)] * 9))
                    if i
                    else b"k0: &k0 {a: 1}\n"
                    for i in range(9)
                )
                + b"---\n",
            },
            "model_card",
            "cannot be read",
        ),
        ({**tiny_llama(), "model.h5": b"x"}, "other_files", "'model.h5'"),
        (
            {**tiny_llama(), "spare.safetensors": save({"x": tensors()["lm_head.weight"]})},
            "weights",
            "Not part of the model: 'spare.safetensors'",
        ),
        (
            {**without("tokenizer.json"), "tokenizer.model": b"x"},
            "tokenizer",
            "only 'tokenizer.model'",
        ),
    ],
)
def test_what_a_person_should_know_is_a_warning(files: Files, check: str, words: str) -> None:
    result = validate(MemoryFiles(files))
    found = {check.id: check for check in result.report.checks}[check]
    assert found.outcome == "warn"
    assert words in found.evidence
    assert result.card is not None


def test_tied_embeddings_need_no_head() -> None:
    files = {
        **with_tensors(_drop("lm_head.weight")),
        "config.json": with_config(tie_word_embeddings=True)["config.json"],
    }
    assert outcome(files, "shapes")[0] == "pass"


def test_a_tokenizer_says_which_scripts_it_keeps() -> None:
    words = "Arabic, Chinese, Cyrillic, Devanagari, Greek, Hebrew, Japanese, Korean, Thai, emoji"
    assert f"unchanged: {words}." in report(tiny_llama())["tokenizer"].evidence
    ascii_only = Tokenizer(models.BPE({c: n for n, c in enumerate(map(chr, range(32, 127)))}, []))
    files = {**tiny_llama(), "tokenizer.json": ascii_only.to_str().encode()}
    assert "other scripts unchanged: none." in report(files)["tokenizer"].evidence


def test_a_template_file_and_named_templates_are_rendered() -> None:
    named = with_template([{"name": "default", "template": "{% generation %}x{% endgeneration %}"}])
    assert outcome(named, "chat_template")[0] == "pass"
    with_file = {**with_template(None), "chat_template.jinja": b"{{ messages|tojson }}"}
    assert outcome(with_file, "chat_template")[0] == "pass"


def test_texts_that_databases_refuse_do_not_reach_the_report() -> None:
    files = {
        **with_config(architectures=["A\ud800\0ForCausalLM"], torch_dtype="\udfff"),
        "README.md": b"---\nlicense: a\nlanguage: [en, 3, 'x\\0']\n---\n\0text",
    }
    result = validate(MemoryFiles(files))
    assert result.card is not None
    text = json.dumps([result.report.to_dict(), result.card], ensure_ascii=False)
    assert "\\u0000" not in text
    text.encode()
