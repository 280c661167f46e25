"""The model card: what a person wants to know about a model, from its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workers.importing.names import listed
from workers.importing.validation.files import ModelFiles, whole_number
from workers.importing.validation.layout import text_config
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.sandbox import ParserFailed, parse
from workers.importing.validation.tokenizer import TokenizerFacts
from workers.importing.validation.weights import Weights

_README_BYTES = 256 << 10
_FRONT_MATTER_BYTES = 64 << 10
_SUMMARY_CHARACTERS = 4000
_LICENSE_NAMES = ("license", "licence", "copying")

_TASKS = {
    "ForCausalLM": "text-generation",
    "ForConditionalGeneration": "text-generation",
    "LMHeadModel": "text-generation",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "Model": "feature-extraction",
}


@dataclass(frozen=True, slots=True)
class Readme:
    """The README: its fields and its text."""

    fields: dict[str, Any]
    text: str


def check_readme(files: ModelFiles, report: Report) -> Readme:
    """Finds the model card's text and the licence."""
    name = next((path for path in files.sizes if path.lower() == "readme.md"), None)
    readme = Readme({}, "")
    title = "Model card text found"
    if name is None:
        report.add(
            "model_card", title, Outcome.WARN, "There is no README.md.",
            "Add a README.md that says what the model is for.",
        )  # fmt: skip
    else:
        with files.open(name) as source:
            text = source.read(_README_BYTES).decode("utf-8", "replace")
        readme, problem = _readme(text)
        if problem:
            report.add(
                "model_card", title, Outcome.WARN,
                f"The fields at the top of {name} cannot be read: {problem}.",
                "Correct the YAML between the lines of three hyphens.",
            )  # fmt: skip
        else:
            report.add("model_card", title, Outcome.PASS, f"{name}, {files.sizes[name]} bytes.")
    _check_license(files, readme, report)
    return readme


def _readme(text: str) -> tuple[Readme, str]:
    """The README, and what is wrong with its fields where something is."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return Readme({}, text), ""
    end = text.find("\n---", 3)
    if end < 0:
        return Readme({}, text), "the closing line is missing"
    front, body = text[4 : end + 1], text[end + 4 :].lstrip("-").lstrip()
    if len(front) > _FRONT_MATTER_BYTES:
        return Readme({}, body), "they are too long"
    try:
        fields = parse("front_matter", front.encode("utf-8", "replace"))["fields"]
    except ParserFailed as error:
        return Readme({}, body), str(error)
    return Readme(fields, body), ""


def _check_license(files: ModelFiles, readme: Readme, report: Report) -> None:
    title = "Licence found"
    named = _text(readme.fields.get("license_name")) or _text(readme.fields.get("license"))
    texts = [path for path in files.sizes if path.lower().startswith(_LICENSE_NAMES)]
    if named or texts:
        found = [f"README names '{named}'"] if named else []
        found += [f"text in {listed(texts)}"] if texts else []
        report.add("license", title, Outcome.PASS, f"{'; '.join(found)}.")
    else:
        report.add(
            "license", title, Outcome.WARN, "Neither a LICENSE file nor a licence in README.md.",
            "Find out whether you may use this model, and add its licence.",
        )  # fmt: skip


def model_card(
    files: ModelFiles,
    config: dict[str, Any],
    weights: Weights,
    tokenizer: TokenizerFacts,
    readme: Readme,
) -> dict[str, Any]:
    """The card as it stands in events; unknown facts are None."""
    text = text_config(config)
    architecture = plain(config["architectures"][0], 200)
    language = readme.fields.get("language")
    return {
        "architecture": architecture,
        "model_type": plain(config["model_type"], 200),
        "task": _text(readme.fields.get("pipeline_tag")) or _task(architecture),
        "parameter_count": weights.parameter_count,
        "dtype": weights.dtype,
        "context_length": _first_number(
            text, "max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"
        ),
        "vocabulary_size": _first_number(text, "vocab_size"),
        "hidden_size": _first_number(text, "hidden_size", "n_embd", "d_model"),
        "layers": _first_number(text, "num_hidden_layers", "n_layer", "num_layers"),
        "license": _text(readme.fields.get("license_name"))
        or _text(readme.fields.get("license"))
        or None,
        "tokenizer": tokenizer.kind,
        "chat_template": tokenizer.has_chat_template,
        "languages": [
            plain(name) for name in ([language] if isinstance(language, str) else language or [])
        ],
        "summary": plain(readme.text.strip(), _SUMMARY_CHARACTERS),
        "weight_format": "safetensors",
        "total_bytes": sum(files.sizes.values()),
    }


def _task(architecture: str) -> str | None:
    return next((task for end, task in _TASKS.items() if architecture.endswith(end)), None)


def _first_number(config: dict[str, Any], *names: str) -> int | None:
    return next((n for name in names if (n := whole_number(config.get(name))) is not None), None)


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(value)
    return plain(value) if isinstance(value, str) else ""
