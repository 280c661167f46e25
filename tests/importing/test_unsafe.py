"""What a model could run: pickles and code of its own. Nothing is ever unpickled or imported."""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders.models import config, tiny_llama
from tests.importing.kept_adapters import facts as base_facts
from tests.importing.kept_adapters import kept
from tests.importing.memory import MemoryFiles
from workers.importing.validation import Validation, validate
from workers.importing.validation.report import Check

Files = dict[str, bytes]
_KEPT = Path(__file__).parent / "pickles"
_watching = False
_unpickled: list[Any] = []


def _watch(event: str, arguments: Any) -> None:
    if _watching and event == "pickle.find_class":
        _unpickled.append(arguments)


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def nothing_is_unpickled() -> Iterator[None]:
    """Python itself reports every class that a pickle asks for."""
    global _watching
    _unpickled.clear()
    _watching = True
    yield
    _watching = False
    assert _unpickled == []


def test_the_watch_would_see_an_unpickling() -> None:
    pickle.loads(pickle.dumps(OrderedDict(a=1)))
    assert _unpickled
    _unpickled.clear()


def check(files: Files, *risks: str) -> Validation:
    return validate(MemoryFiles(files), accepted_risks=frozenset(risks))


def found(result: Validation, id: str) -> Check:
    return next(check for check in result.report.checks if check.id == id)


def with_file(data: bytes, path: str = "extra.bin") -> Files:
    return {**tiny_llama(), path: data}


def scanned(data: bytes) -> Check:
    return found(check({"extra.bin": data}, "pickle"), "pickle_scan")


def calling(module: str, name: str, argument: str = "true") -> bytes:
    """A pickle that calls this, protocol 2."""
    text = argument.encode()
    return (
        b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(X" + len(text).to_bytes(4, "little")
        + text + b"tR."
    )  # fmt: skip


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


EVIL = calling("os", "system")
_SHORT = {name: pickle.SHORT_BINUNICODE + bytes([len(name)]) + name.encode() for name in (
    "os", "system", "true", "collections", "OrderedDict",
)}  # fmt: skip
DANGEROUS = {
    "os": EVIL,
    "old protocol": b"cos\nsystem\n(S'true'\ntR.",
    "hidden by pop": EVIL[:-1] + b"0N.",
    "assembled": b"\x80\x04" + _SHORT["os"] + _SHORT["system"] + b"\x93(" + _SHORT["true"] + b"tR.",
    "memo mixed up": (
        b"\x80\x04" + _SHORT["os"] + b"q\x000" + _SHORT["system"] + b"q\x010"
        + _SHORT["collections"] + b"\x940" + _SHORT["OrderedDict"] + b"\x940h\x00h\x01\x93("
        + _SHORT["true"] + b"tR."
    ),
    "second in the file": pickle.dumps(1) + EVIL,
    "through attributes": calling("collections", "OrderedDict.__init__.__globals__"),
    "in an archive": zipped({"a/data.pkl": EVIL}),
    "under another name in an archive": zipped({"a/data.pkl": b"\x80\x02N.", "a/x.txt": EVIL}),
    "array of objects": b"\x93NUMPY\x01\x00\x0e\x00{'descr':'|O'}" + EVIL,
    **{
        f"{module} {name}": calling(module, name)
        for module, name in [
            ("importlib", "import_module"), ("marshal", "loads"), ("io", "open"),
            ("types", "FunctionType"), ("builtins", "__import__"), ("logging.config", "_resolve"),
            ("multiprocessing.util", "spawnv_passfds"), ("torch.utils.collect_env", "run"),
            ("pkgutil", "resolve_name"), ("runpy", "run_path"), ("distutils.spawn", "spawn"),
            ("unittest.mock", "_importer"), ("site", "addsitedir"), ("zipimport", "zipimporter"),
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("name", DANGEROUS)
def test_a_dangerous_pickle_is_refused_even_where_the_risk_was_accepted(name: str) -> None:
    result = scanned(DANGEROUS[name])
    assert result.outcome == "fail"
    assert "can run any program" in result.evidence


@pytest.mark.parametrize("name", DANGEROUS)
def test_any_pickle_is_refused_without_consent(name: str) -> None:
    result = check({"extra.bin": DANGEROUS[name]})
    assert found(result, "unsafe_files").outcome == "fail"
    assert "accept the risk 'pickle'" in found(result, "unsafe_files").hint
    assert result.card is None


UNREADABLE = {
    "cut off": EVIL[:-1],
    "no pickle": b"some text",
    "archive in the archive": zipped({"a/data.pkl": b"\x80\x02N.", "a/b": zipped({"x": EVIL})}),
    "broken archive": b"PK\x03\x04" + bytes(40),
    "without an end": b"\x80\x02" + b"}" * 2_000_000,
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_scanned_is_refused(name: str) -> None:
    result = scanned(UNREADABLE[name])
    assert result.outcome == "fail"
    assert "scanned" in result.evidence


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((_KEPT / "weights.bin").read_bytes(), "all known from weights"),
        ((_KEPT / "legacy.bin").read_bytes(), "all known from weights"),
        ((_KEPT / "module.bin").read_bytes(), "'torch.nn.modules.linear Linear'"),
        (pickle.dumps({"a": [1, 2]}), "0 imports"),
        (calling("django.utils.module_loading", "import_string"), "does not know 'django"),
    ],
)
def test_an_accepted_pickle_is_a_warning_that_says_what_it_imports(data: bytes, words: str) -> None:
    result = check(with_file(data), "pickle")
    assert found(result, "unsafe_files").outcome == "warn"
    assert found(result, "pickle_scan").outcome == "warn"
    assert words in found(result, "pickle_scan").evidence
    assert result.card is not None


def test_a_model_with_pickled_weights_comes_in_when_the_risk_is_accepted() -> None:
    files = {p: d for p, d in tiny_llama().items() if p != "model.safetensors"}
    files["pytorch_model.bin"] = (_KEPT / "weights.bin").read_bytes()
    assert check(files).card is None
    result = check(files, "pickle")
    assert result.card is not None
    assert result.card["weight_format"] == "pickle"
    assert "pickled weights; they are not checked" in found(result, "layout").evidence


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("notes.txt", b"cos\nsystem\n(S'true'\ntR."),
        ("vocab.json", EVIL),
        ("array.npy", b"\x93NUMPY\x01\x00\x0e\x00{'descr':'|O'}" + EVIL),
        ("weights.dat", zipped({"a/data.pkl": EVIL})),
    ],
)
def test_a_pickle_is_known_by_its_content(path: str, data: bytes) -> None:
    result = found(check({path: data}), "unsafe_files")
    assert result.outcome == "fail"
    assert path in result.evidence


@pytest.mark.parametrize(
    "data",
    [
        b"cat\ndog\nRat\n", b"config\nvalue\nt.\n", b"(c) 2026 by the author.", b"i = 3\nj\n.", b"",
        b"].", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'}" + bytes(8),
    ],
)  # fmt: skip
def test_a_text_that_begins_like_an_old_pickle_is_none(data: bytes) -> None:
    assert found(check({"notes.txt": data}), "unsafe_files").outcome == "pass"


def changed(name: str, value: object) -> Files:
    return {**tiny_llama(), name: json.dumps(value).encode()}


def triton(config: str) -> Files:
    return {"net/config.pbtxt": config.encode(), "net/1/model.onnx": b""}


MAPPED = changed("config.json", {**config(), "auto_map": {"AutoConfig": "modeling_x.X"}})
CODE: dict[str, tuple[Files, str]] = {
    "model": ({**MAPPED, "modeling_x.py": b"raise SystemExit"}, "'config.json' maps 'AutoConfig'"),
    "model elsewhere": (MAPPED, "'config.json' maps 'AutoConfig'"),
    "tokenizer": (
        changed("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["x.T", None]}}),
        "'tokenizer_config.json' maps 'AutoTokenizer'",
    ),
    "processor in a folder": (
        changed("vision/preprocessor_config.json", {"auto_map": ["x"]}),
        "'vision/preprocessor_config.json' maps classes",
    ),
    "asks for trust": (
        changed("config.json", {**config(), "trust_remote_code": True}), "sets trust_remote_code",
    ),
    "pipeline": (
        changed("model_index.json", {"_class_name": ["pipeline", "Mine"]}), "pipeline of its own",
    ),
    "part of a pipeline": (
        changed("model_index.json", {"_class_name": "X", "unet": ["my_unet", "UNet"]}),
        "takes 'unet' from 'my_unet'",
    ),
    "sentence module": (
        changed("modules.json", [{"type": "custom_st.Transformer", "path": ""}]),
        "uses 'custom_st.Transformer'",
    ),
    "modules unreadable": (changed("modules.json", {}), "cannot be read, so it may name code"),
    "generation": (
        {**tiny_llama(), "custom_generate/generate.py": b""}, "replaces how text is generated",
    ),
    "triton": (
        {**tiny_llama(), "net/1/model.py": b"", "net/config.pbtxt": b""}, "Python backend",
    ),
    "triton, under another name": (
        {
            "net/1/serve.py": b"",
            "net/config.pbtxt": b'backend: "py" "thon" default_model_filename: "serve.py"',
        },
        "asks for Triton's Python backend",
    ),
    "triton, an environment": (
        triton('parameters { key: "EXECUTION_ENV_PATH" value { string_value: "e.tgz" } }'),
        "sets 'EXECUTION_ENV_PATH'",
    ),
    "triton, a runtime": (triton('runtime: "weights.bin"'), "'weights.bin' (runtime)"),
    "triton, operations": (
        triton('model_operations { op_library_filename: "weights.bin" }'), "model_operations",
    ),
    "triton, another configuration": (
        {**triton(""), "net/configs/fast.pbtxt": b'backend: "Python"'}, "Python backend",
    ),
    "triton, a script of DALI's": (
        triton('backend: "dali" default_model_filename: "x.py"'), "takes 'x.py' for the model",
    ),
    "triton, unreadable": (triton("name: {"), "cannot be read, so it may name code"),
    "triton, vllm": (
        {**triton('backend: "vllm"'), "net/1/model.json": b'{"trust_remote_code": true}'},
        "sets trust_remote_code",
    ),
    "library": ({**tiny_llama(), "libx.so.1": b"\x7fELF"}, "'libx.so.1' is a program or library"),
}  # fmt: skip


@pytest.mark.parametrize("name", CODE)
def test_code_of_the_models_own_needs_consent(name: str) -> None:
    files, words = CODE[name]
    small = {path: data for path, data in files.items() if "tokenizer.json" not in path}
    refused = check(small)
    assert found(refused, "custom_code").outcome == "fail"
    assert words in found(refused, "custom_code").evidence
    assert "accept the risk 'custom code'" in found(refused, "custom_code").hint
    accepted = check(files, "custom_code")
    assert found(accepted, "custom_code").outcome == "warn"
    if accepted.card is not None:
        assert any(words in text for text in accepted.card["custom_code"])


def test_consent_to_one_risk_is_none_to_the_other() -> None:
    assert found(check(MAPPED, "pickle"), "custom_code").outcome == "fail"
    assert found(check(with_file(EVIL), "custom_code"), "unsafe_files").outcome == "fail"


def test_an_adapter_that_imports_a_library_needs_consent() -> None:
    files = kept("lora")
    settings = json.loads(files["adapter_config.json"])
    settings["auto_mapping"] = {"base_model_class": "X", "parent_library": "evil_library"}
    files["adapter_config.json"] = json.dumps(settings).encode()
    result = validate(MemoryFiles(files), kind="adapter", base=base_facts())
    assert "imports 'evil_library'" in found(result, "custom_code").evidence


def test_a_script_that_nothing_refers_to_is_a_warning() -> None:
    result = check({**tiny_llama(), "convert.py": b"raise SystemExit"})
    assert found(result, "custom_code").outcome == "warn"
    assert "never run" in found(result, "custom_code").evidence
    assert result.card is not None
    assert result.card["custom_code"] == []
