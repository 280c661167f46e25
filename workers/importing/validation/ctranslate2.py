"""Models that CTranslate2 converted: model.bin, config.json and vocabularies."""

from __future__ import annotations

from workers.importing.ctranslate2_model import Ctranslate2Model, begins_model, read_ctranslate2
from workers.importing.names import listed
from workers.importing.refusals import ImportRefused
from workers.importing.validation.card import Facts
from workers.importing.validation.config import CONFIG
from workers.importing.validation.files import ModelFiles, Unreadable, read_json
from workers.importing.validation.layout import TITLE, Layout, Wanted
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.tokenizer import TOKENIZER, check_tokenizer

MODEL = "model.bin"
_CONVERT = "Convert the model again with a converter of CTranslate2 and add every file it writes."
_TASKS = {
    "TransformerSpec": "translation",
    "TransformerDecoderSpec": "text-generation",
    "TransformerEncoderSpec": "feature-extraction",
    "WhisperSpec": "automatic-speech-recognition",
    "Wav2Vec2Spec": "automatic-speech-recognition",
    "Wav2Vec2BertSpec": "automatic-speech-recognition",
}
_EMBEDDINGS = (
    "decoder/embeddings/weight", "encoder/embeddings/weight", "encoder/embeddings_0/weight",
)  # fmt: skip


def recognises(files: ModelFiles) -> bool:
    """A model.bin that begins as CTranslate2 writes it; PyTorch's pickles do not."""
    if MODEL not in files.sizes:
        return False
    with files.open(MODEL) as source:
        return begins_model(source.read(128))


def check(files: ModelFiles, _: Wanted, report: Report) -> Facts | None:
    """The variables, the config and the vocabularies."""
    report.add("layout", TITLE, Outcome.PASS, "CTranslate2 (model.bin).")
    title = "Weights are whole"
    try:
        with files.open(MODEL) as source:
            model = read_ctranslate2(source, files.sizes[MODEL], MODEL)
    except ImportRefused as refusal:
        report.add("weights", title, Outcome.FAIL, refusal.reason, refusal.remedy)
        return None
    if not model.parameter_count:
        report.add("weights", title, Outcome.FAIL, "There are no weights.", _CONVERT)
        return None
    report.add(
        "weights", title, Outcome.PASS,
        f"{model.spec:.60} revision {model.revision}: {len(model.variables)} variables with "
        f"{model.parameter_count} values; every size and shape fits.",
    )  # fmt: skip
    _check_config(files, model, report)
    tokenizer = None
    if TOKENIZER in files.sizes:
        tokenizer = check_tokenizer(files, None, report, chats=False)
    embedding = next((model.variables[n] for n in _EMBEDDINGS if n in model.variables), None)
    rows, width = embedding.shape if embedding and len(embedding.shape) == 2 else (None, None)
    dtype = model.bytes_by_dtype().most_common(1)[0][0]
    return Facts(
        architecture=plain(model.spec, 200),
        model_type="ctranslate2",
        task=_TASKS.get(model.spec),
        parameter_count=model.parameter_count,
        dtype=dtype,
        quantization=dtype if dtype.startswith("int") else None,
        vocabulary_size=rows,
        hidden_size=width,
        layers=_layers(model),
        tokenizer=tokenizer.kind if tokenizer else None,
        weight_format="ctranslate2",
    )


def _check_config(files: ModelFiles, model: Ctranslate2Model, report: Report) -> None:
    title = "config.json is valid"
    vocabularies = [
        path for path in files.sizes
        if "vocabulary" in path and path.endswith((".json", ".txt")) and "/" not in path
    ]  # fmt: skip
    if CONFIG not in files.sizes:
        # Version 5 brought the file.
        outcome = Outcome.FAIL if model.version >= 5 else Outcome.WARN
        report.add("config", title, outcome, f"{CONFIG} is missing.", _CONVERT)
        return
    try:
        settings = read_json(files, CONFIG)
    except Unreadable as error:
        report.add("config", title, Outcome.FAIL, str(error), _CONVERT)
        return
    if not vocabularies:
        report.add("config", title, Outcome.FAIL, "There is no vocabulary file.", _CONVERT)
        return
    report.add("config", title, Outcome.PASS, f"{len(settings)} settings; {listed(vocabularies)}.")


def _layers(model: Ctranslate2Model) -> int | None:
    """How many layers the longest stack has."""
    stacks: dict[str, int] = {}
    for name in [*model.variables, *model.aliases]:
        stack, found, rest = name.partition("/layer_")
        number = rest.split("/", 1)[0]
        if found and number.isascii() and number.isdigit() and len(number) < 6:
            stacks[stack] = max(stacks.get(stack, 0), int(number) + 1)
    return max(stacks.values(), default=None)


LAYOUT = Layout(
    "ctranslate2",
    "CTranslate2",
    "model.bin, config.json and vocabularies",
    recognises,
    check,
    own=(MODEL,),
)
