import classes from './archive-instructions.module.css';

const LAYOUT = `my-model.zip
├── config.json                     required
├── model.safetensors               required, or shards with their
│                                   model.safetensors.index.json
├── tokenizer.json                  required, or tokenizer.model
├── tokenizer_config.json           recommended: chat template
├── generation_config.json          optional
└── README.md                       optional: shown on the model card`;

/** What the archive of a base model must hold. */
export function ArchiveInstructions() {
  return (
    <div className={classes.root}>
      <p>
        Pack a Hugging Face model folder as a <code>.zip</code> file. The files lie at the top, or in one folder.
      </p>
      {/* A scrollable region must be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre className={classes.layout} tabIndex={0} aria-label="Layout of the archive">
        {LAYOUT}
      </pre>
      <ul>
        <li>Weights are safetensors. Pickled weights (.bin, .pt) can run code when opened and are refused.</li>
        <li>The model takes its name from the file: at most 64 letters, Chinese characters, digits, - and _; a dot becomes _.</li>
        <li>Links, paths that lead out of the archive and encrypted entries are refused.</li>
      </ul>
    </div>
  );
}
