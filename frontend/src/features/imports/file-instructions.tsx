import classes from './file-instructions.module.css';

const BASE_LAYOUT = `my-model.zip
├── config.json                     required
├── model.safetensors               required, or shards with their
│                                   model.safetensors.index.json
├── tokenizer.json                  required, or tokenizer.model
├── tokenizer_config.json           recommended: chat template
├── generation_config.json          optional
├── deployconfig.json               optional: fills the deploy wizard
└── README.md                       optional: shown on the model card`;

const ADAPTER_LAYOUT = `my-adapter.zip
├── adapter_config.json             required: rank, target modules, base
├── adapter_model.safetensors       required
├── tokenizer.json                  optional
└── README.md                       optional: shown on the model card`;

/** What a file must hold, format by format. */
export function FileInstructions({ kind }: { kind: 'base' | 'adapter' }) {
  return (
    <div className={classes.root}>
      <p>
        Pack the model’s folder. The files lie at the top, or in one folder.
      </p>
      {/* A scrollable region must be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre className={classes.layout} tabIndex={0} role="region" aria-label="Layout of the archive">
        {kind === 'base' ? BASE_LAYOUT : ADAPTER_LAYOUT}
      </pre>
      <dl className={classes.formats}>
        <dt>.zip</dt>
        <dd>Stored or deflated, not encrypted; Zip64 for large models.</dd>
        <dt>.tar, .tar.gz, .tar.zst</dt>
        <dd>Plain tar of files and folders; links and devices are refused.</dd>
        {kind === 'base' && (
          <>
            <dt>.safetensors</dt>
            <dd>One file of weights whose metadata says what it is; otherwise pack it with its config.json.</dd>
            <dt>.gguf</dt>
            <dd>One file, for llama.cpp and Ollama: tokenizer and settings are inside.</dd>
            <dt>.onnx</dt>
            <dd>One file with its weights inside; with external data, pack both as an archive.</dd>
          </>
        )}
      </dl>
      <ul>
        {kind === 'base' && (
          <li>Archives may also hold Diffusers, Sentence Transformers, CTranslate2, Triton and Ollama layouts.</li>
        )}
        {kind === 'adapter' && <li>Its modules and shapes must fit the base model; an adapter that would change nothing is refused.</li>}
        <li>Pickled weights (.bin, .pt) can run code when opened and are refused unless an administrator allows it with a reason.</li>
        <li>The model takes its name from the file: at most 64 letters, Chinese characters, digits, - and _; a dot becomes _.</li>
      </ul>
    </div>
  );
}
