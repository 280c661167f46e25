"""Does the tokenizer load, and does the chat template render?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workers.importing.names import listed, shown
from workers.importing.validation.config import text_config
from workers.importing.validation.files import (
    ModelFiles,
    Unreadable,
    read_json,
    read_whole,
    whole_number,
)
from workers.importing.validation.report import Outcome, Report
from workers.importing.validation.sandbox import ParserFailed, parse

TOKENIZER = "tokenizer.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_TEMPLATE_FILE = "chat_template.jinja"
_OTHER_TOKENIZERS = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_MAX_TOKENIZER_BYTES = 64 << 20
_MAX_TEMPLATE_BYTES = 1 << 20
_MAX_RENDERED = 1 << 20

_SENTENCE = "A model answers questions: 3 + 4 = 7."
# Nobody expects every tokenizer to know every script; people want to know which it does.
_SCRIPTS = {
    "Arabic": "النموذج يجيب عن الأسئلة.",
    "Chinese": "模型回答问题。",
    "Cyrillic": "Модель отвечает на вопросы.",
    "Devanagari": "मॉडल प्रश्नों के उत्तर देता है।",
    "Greek": "Το μοντέλο απαντά σε ερωτήσεις.",
    "Hebrew": "המודל עונה על שאלות.",
    "Japanese": "モデルは質問に答えます。",
    "Korean": "모델은 질문에 답합니다.",
    "Thai": "โมเดลตอบคำถาม",
    "emoji": "👍🏽 👩‍💻",
}
_CONVERSATION = [
    {"role": "user", "content": "What is 3 + 4?"},
    {"role": "assistant", "content": "7."},
    {"role": "user", "content": "And 3 + 5?"},
]
_TEMPLATE_TITLE = "Chat template renders"
_SOURCE = "Take the tokenizer's files from the model's source again."


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """What the model card says about the tokenizer."""

    kind: str | None = None
    has_chat_template: bool = False


def check_tokenizer(
    files: ModelFiles, config: dict[str, Any] | None, report: Report, *, chats: bool = True
) -> TokenizerFacts:
    """Loads the tokenizer, encodes a sentence and looks at every token's number.

    Of a model that does not chat, such as one for embeddings, no template is looked for.
    """
    kind = _check_loads(files, config, report)
    return TokenizerFacts(kind, chats and _check_chat_template(files, report))


def _check_loads(files: ModelFiles, config: dict[str, Any] | None, report: Report) -> str | None:
    title = "Tokenizer loads and round-trips"
    if TOKENIZER not in files.sizes:
        other = [name for name in _OTHER_TOKENIZERS if name in files.sizes]
        if other:
            report.add(
                "tokenizer", title, Outcome.WARN,
                f"Not checked: only {listed(other)}, no {TOKENIZER}.",
                f"Save the tokenizer with transformers (use_fast=True) to get {TOKENIZER}.",
            )  # fmt: skip
        else:
            report.add(
                "tokenizer", title, Outcome.FAIL, f"There is no {TOKENIZER}.",
                f"Add {TOKENIZER} from the model's source.",
            )  # fmt: skip
        return None
    try:
        text = read_whole(files, TOKENIZER, limit=_MAX_TOKENIZER_BYTES)
        facts = parse("tokenizer", text, sentence=_SENTENCE, samples=_SCRIPTS)
    except (Unreadable, ParserFailed) as error:
        report.add("tokenizer", title, Outcome.FAIL, f"{TOKENIZER}: {error}", _SOURCE)
        return None
    kind = str(facts["kind"])
    kept = [script for script, unchanged in facts["kept"].items() if unchanged]
    scripts = f"Of {len(_SCRIPTS)} other scripts unchanged: {', '.join(kept) or 'none'}."
    if facts["tokens"] and facts["decoded"].strip() == _SENTENCE:
        report.add(
            "tokenizer", title, Outcome.PASS,
            f"{kind} with {facts['size']} tokens; a sentence came back unchanged. {scripts}",
        )  # fmt: skip
    else:
        report.add(
            "tokenizer", title, Outcome.WARN,
            f"{kind} with {facts['size']} tokens; the sentence '{_SENTENCE}' came back as "
            f"{shown(facts['decoded'])}. {scripts}",
            "Some tokenizers change case or spacing on purpose; if this one should not, take its "
            "files from the model's source again.",
        )  # fmt: skip
    _check_range(facts, config or {}, report)
    return kind


def _check_range(facts: dict[str, Any], config: dict[str, Any], report: Report) -> None:
    title = "Tokens are within the vocabulary"
    text = text_config(config)
    vocabulary = whole_number(text.get("vocab_size"))
    if vocabulary is None:
        report.add(
            "special_tokens", title, Outcome.WARN, "Not checked: config.json gives no vocab_size."
        )
        return
    beyond = {name: number for name, number in facts["special"].items() if number >= vocabulary}
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = text.get(name)
        for number in value if isinstance(value, list) else [value]:
            # Some configs write -1 for 'none'.
            if number is not None and (type(number) is not int or not -1 <= number < vocabulary):
                beyond[name] = number
    if beyond or facts["largest_id"] >= vocabulary:
        report.add(
            "special_tokens", title, Outcome.FAIL,
            f"The model knows {vocabulary} tokens, but the tokenizer's numbers go up to "
            f"{facts['largest_id']}"
            + (f"; out of range: {listed(map(str, beyond))}." if beyond else "."),
            "Tokenizer and weights belong to different models; take both from one source.",
        )  # fmt: skip
        return
    report.add(
        "special_tokens", title, Outcome.PASS,
        f"{len(facts['special'])} special tokens, largest number {facts['largest_id']} of "
        f"{vocabulary}.",
    )  # fmt: skip


def _check_chat_template(files: ModelFiles, report: Report) -> bool:
    try:
        config = read_json(files, _TOKENIZER_CONFIG) if _TOKENIZER_CONFIG in files.sizes else {}
        template = _template(files, config)
    except Unreadable as error:
        report.add("chat_template", _TEMPLATE_TITLE, Outcome.FAIL, str(error), _SOURCE)
        return False
    return check_template(template, _tokens(config), report)


def check_template(template: bytes | None, tokens: dict[str, str], report: Report) -> bool:
    """Renders a chat template with a short conversation. Returns whether there is one.

    `tokens` are the variables that a template expects besides the messages, such as bos_token.
    """
    title = _TEMPLATE_TITLE
    if template is None:
        report.add(
            "chat_template", title, Outcome.WARN, "The model brings no chat template.",
            "Use the completions endpoint, or add a chat_template to tokenizer_config.json.",
        )  # fmt: skip
        return False
    if len(template) > _MAX_TEMPLATE_BYTES:
        report.add(
            "chat_template", title, Outcome.FAIL,
            f"The template has {len(template)} bytes; at most {_MAX_TEMPLATE_BYTES} are read.",
            _SOURCE,
        )  # fmt: skip
        return False
    try:
        facts = parse(
            "chat_template",
            template,
            variables={**tokens, "messages": _CONVERSATION, "add_generation_prompt": True},
            most_characters=_MAX_RENDERED,
        )
    except ParserFailed as error:
        report.add(
            "chat_template", title, Outcome.FAIL, f"The template does not render: {error}.",
            "Correct the chat template, or take it from the model's source again.",
        )  # fmt: skip
        return False
    if "refused" in facts:
        report.add(
            "chat_template", title, Outcome.WARN,
            f"The template does not accept a plain conversation: {facts['refused']}",
            "Chat requests must have the form that the template asks for.",
        )  # fmt: skip
    else:
        report.add(
            "chat_template", title, Outcome.PASS,
            f"Three messages became {facts['characters']} characters.",
        )  # fmt: skip
    return True


def _template(files: ModelFiles, config: dict[str, Any]) -> bytes | None:
    """The template's text. A list of named ones stands for its 'default'."""
    if _TEMPLATE_FILE in files.sizes:
        return read_whole(files, _TEMPLATE_FILE, limit=_MAX_TEMPLATE_BYTES)
    value = config.get("chat_template")
    if isinstance(value, list):
        named = {
            entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)
        }
        value = named.get("default", next(iter(named.values()), None))
    if value is not None and not isinstance(value, str):
        raise Unreadable("The chat template in tokenizer_config.json is not a text.")
    return value.encode("utf-8", "replace") if value else None


def _tokens(config: dict[str, Any]) -> dict[str, str]:
    tokens = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = config.get(name)
        if isinstance(value, dict):
            value = value.get("content")
        tokens[name] = value if isinstance(value, str) else ""
    return tokens
