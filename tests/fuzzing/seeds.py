"""Writes the seeds of the corpus: small, sound files, most by the libraries that define them.

Run `python -m tests.fuzzing.seeds` when a parser joins; cases that were found stay.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import tempfile
from pathlib import Path

from backports import zstd

from tests.builders.models import config, sharded, tiny_llama
from tests.fuzzing.targets import CORPUS
from tests.importing.formats import test_ctranslate2, test_gguf, test_onnx, test_triton
from tests.importing.formats.made import gguf_model, onnx_model
from tests.importing.hostile import Archive, Member

_ADAPTERS = Path(__file__).parents[1] / "importing" / "adapters"
_FILES = {
    "config.json": json.dumps(config()).encode(),
    "folder/notes.txt": b"A text. " * 40,
    "Modell/gewichte.bin": bytes(range(256)),
}
_DIGEST = "sha256:" + "ab" * 32


def seeds() -> dict[str, dict[str, bytes]]:
    """For each target, files by name."""
    adapter = _ADAPTERS / "lora_patterns"
    adapter_config = json.loads((adapter / "adapter_config.json").read_bytes())
    adapter_config |= {"target_modules": ["up_proj", "down_proj"], "rank_pattern": {}, "r": 4}
    folder = Path(tempfile.mkdtemp())
    tar, pax = _tar(tarfile.GNU_FORMAT), _tar(tarfile.PAX_FORMAT)
    models = [
        {
            "name": "one", "address": "one/", "kind": "adapter", "base_model": "base",
            "description": "A model.", "size_bytes": 12,
            "files": [{"path": "config.json", "sha256": "ab" * 32, "size_bytes": 3}],
        },
        {"name": "two", "address": "https://example.com/two.zip"},
    ]  # fmt: skip
    image = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": _DIGEST, "size": 2,
        },
        "layers": [{"mediaType": "x", "digest": _DIGEST, "size": 7}],
    }  # fmt: skip
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {"digest": _DIGEST, "size": 3, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": _DIGEST, "size": 3, "platform": {"os": "linux", "architecture": "arm64"}},
        ],
    }
    image_config = {
        "os": "linux",
        "architecture": "amd64",
        "config": {
            "ExposedPorts": {"8080/tcp": {}, "53/udp": {}}, "Env": ["PATH=/bin"],
            "Labels": {"a": "b"}, "Entrypoint": ["/serve"], "Cmd": None, "User": "1000",
        },
    }  # fmt: skip
    return {
        "safetensors": {"seed.safetensors": _small_header()},
        "safetensors_index": {"seed.json": _small_index()},
        "adapter_config": {"seed.json": json.dumps(adapter_config).encode()},
        "adapter_weights": {
            "seed.safetensors": (adapter / "adapter_model.safetensors").read_bytes(),
            "dora.safetensors": (_ADAPTERS / "dora" / "adapter_model.safetensors").read_bytes(),
        },
        "model_config": {
            "seed.json": json.dumps(config()).encode(),
            "nested.json": json.dumps(
                {
                    "architectures": ["XForConditionalGeneration"], "model_type": "x",
                    "text_config": {
                        **config(), "layer_types": ["full_attention", "sliding_attention"],
                        "sliding_window": 128, "kv_lora_rank": 8, "qk_rope_head_dim": 4,
                    },
                    "quantization_config": {"bits": 4}, "auto_map": {"AutoConfig": "x.X"},
                }
            ).encode(),
        },
        "model_index": {
            "seed.json": json.dumps(
                {
                    "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.35.0",
                    "unet": ["diffusers", "UNet2DConditionModel"], "own": ["mine", "X"],
                    "safety_checker": [None, None],
                }
            ).encode()
        },
        "modules": {
            "seed.json": json.dumps(
                [
                    {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
                    {"idx": 1, "path": "1_Pooling", "type": "mine.Pooling"},
                ]
            ).encode()
        },
        "pickle_names": {
            **{f"p{n}.pkl": pickle.dumps({"a": [1, Path("x")]}, n) for n in range(6)},
            "text.txt": b"cos\nsystem\n(S'true'\ntR.",
            "array.npy": b"\x93NUMPY\x01\x00\x0e\x00{'descr':'|O'}",
        },
        "zip": {
            "stored.zip": _zip(deflate=False),
            "deflated.zip": _zip(deflate=True),
            "claims.zip": Archive([Member("a"), Member("b")], claimed_entries=3).build(),
        },
        "tar": {"gnu.tar": tar, "pax.tar": pax},
        "tar_gz": {"seed.tar.gz": gzip.compress(tar, mtime=0)},
        "tar_zst": {"seed.tar.zst": zstd.compress(tar)},
        "member_path": {"plain.txt": b"a/b/c.json", "odd.txt": "é/../ﬁ\u200b\\x".encode()},
        "gguf": {**gguf_model(folder), "forged.gguf": test_gguf.forged()},
        "onnx": {
            "seed.onnx": onnx_model().SerializeToString(),
            "nested.onnx": test_onnx.nested(3),
        },
        "ctranslate2": {
            "seed.bin": test_ctranslate2.forged(
                test_ctranslate2.variable(), test_ctranslate2.variable(b"v")
            )
        },
        "manifest_json": {"seed.json": json.dumps({"title": "T", "models": models}).encode()},
        "manifest_yaml": {
            "seed.yaml": b"title: T\nmodels:\n- name: one\n  address: one/\n  files:\n"
            b"  - path: config.json\n    size_bytes: 3\n- name: two\n  address: s3://b/two\n"
        },
        "manifest_csv": {
            "seed.csv": b'name,address,kind\none,one/,base\n"t""wo",two.zip,adapter\n'
        },
        "manifest_lines": {"seed.txt": b"# models\nhttps://example.com/a.zip\nb/\n"},
        "html_index": {
            "seed.html": b"<html><body><pre><a href='../'>..</a><a href='one/'>one/</a>"
            b'<a href="two.safetensors">two</a><a href="config.json?C=M">c</a></pre></body></html>'
        },
        "modelfile": {
            "seed.txt": b"# ours\nFROM ./model.gguf\nPARAMETER temperature 0.7\n"
            b'PARAMETER stop "<x>"\n'
            b'TEMPLATE """{{ .System }} {{ range .Messages }}{{ .Content }}{{ end }}"""\n'
            b"SYSTEM be kind\nMESSAGE user hello\nLICENSE MIT\n"
        },
        "triton_config": {
            "seed.pbtxt": test_triton.CONFIG.encode(),
            "ensemble.pbtxt": test_triton.ENSEMBLE.encode(),
        },
        "image_reference": {
            "plain.txt": b"registry.example:5000/team/model:1.2",
            "digest.txt": f"ubuntu@{_DIGEST}".encode(),
        },
        "image_manifest": {
            "image.json": json.dumps(image).encode(), "index.json": json.dumps(index).encode(),
        },
        "image_config": {"seed.json": json.dumps(image_config).encode()},
    }  # fmt: skip


def _small_header() -> bytes:
    """The header of the tiny Llama before no more data than it names: one small tensor."""
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
            "b": {"dtype": "BF16", "shape": [], "data_offsets": [16, 18]},
            "c": {"dtype": "F4", "shape": [4], "data_offsets": [18, 20]},
        }
    ).encode()
    return len(header).to_bytes(8, "little") + header + bytes(20)


def _small_index() -> bytes:
    return sharded(tiny_llama())["model.safetensors.index.json"]


def _zip(*, deflate: bool) -> bytes:
    return Archive([Member(name, data, deflate) for name, data in _FILES.items()]).build()


def _tar(form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in {**_FILES, "x" * 120 + "/long.txt": b"long", "é.txt": b"e"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mtime = 1.5 if form == tarfile.PAX_FORMAT else 1
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def main() -> None:
    for target, files in seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
