"""The model card: what a person wants to know about a model, from its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workers.importing.names import listed
from workers.importing.validation.files import ModelFiles, whole_number
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.sandbox import ParserFailed, parse

_README_BYTES = 256 << 10
_FRONT_MATTER_BYTES = 64 << 10
_SUMMARY_CHARACTERS = 4000
_LICENSE_NAMES = ("license", "licence", "copying")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the checks of a layout found out about a model; what is not known is None.

    `context_length` is in tokens, `hidden_size` the width of the residual stream. `license`,
    `languages` and `summary` count where the README says nothing.
    """

    weight_format: str
    architecture: str | None = None
    model_type: str | None = None
    task: str | None = None
    parameter_count: int | None = None
    dtype: str | None = None
    quantization: str | None = None
    context_length: int | None = None
    vocabulary_size: int | None = None
    hidden_size: int | None = None
    layers: int | None = None
    tokenizer: str | None = None
    chat_template: bool = False
    license: str | None = None
    languages: tuple[str, ...] = ()
    summary: str = ""
    adapter: dict[str, Any] | None = None
    memory: tuple[dict[str, Any], ...] = ()


def model_card(
    files: ModelFiles, format: str, facts: Facts, readme: Readme, custom_code: list[str]
) -> dict[str, Any]:
    """The card as it stands in events. `custom_code` says where loading the model runs its own."""
    language = readme.fields.get("language")
    languages = [language] if isinstance(language, str) else language or list(facts.languages)
    return {
        **asdict(facts),
        "format": format,
        "task": _text(readme.fields.get("pipeline_tag")) or facts.task,
        "license": _text(readme.fields.get("license_name"))
        or _text(readme.fields.get("license"))
        or facts.license,
        "memory": list(facts.memory),
        "languages": [plain(name) for name in languages],
        "summary": plain(readme.text.strip() or facts.summary, _SUMMARY_CHARACTERS),
        "total_bytes": sum(files.sizes.values()),
        "custom_code": custom_code,
    }


def first_number(fields: Mapping[str, Any], *names: str) -> int | None:
    """The first of these fields that holds a usable number."""
    return next((n for name in names if (n := whole_number(fields.get(name))) is not None), None)


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(value)
    return plain(value) if isinstance(value, str) else ""
