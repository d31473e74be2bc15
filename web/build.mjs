// Builds the page into the package: script and style with the hash of their content in their names, and the document.
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const here = import.meta.dirname;
const out = join(here, "..", "src", "penstock", "interfaces", "web", "static");

const bundle = await build({
  absWorkingDir: here,
  entryPoints: { penstock: "src/main.tsx" },
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  outdir: out,
  write: false,
  legalComments: "none",
  logLevel: "warning",
});

await rm(out, { recursive: true, force: true });
await mkdir(join(out, "assets"), { recursive: true });
const names = {};
for (const file of bundle.outputFiles) {
  const kind = file.path.endsWith(".css") ? "css" : "js";
  const hash = createHash("sha256").update(file.contents).digest("hex").slice(0, 12);
  names[kind] = `assets/penstock-${hash}.${kind}`;
  await writeFile(join(out, names[kind]), file.contents);
}
await writeFile(join(out, "assets", "icon.svg"), await readFile(join(here, "src", "icon.svg")));
const page = await readFile(join(here, "src", "index.html"), "utf8");
await writeFile(join(out, "index.html"), page.replace("SCRIPT", names.js).replace("STYLE", names.css));
