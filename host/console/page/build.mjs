// Builds the page into ../dist: each file compressed, named by its content, and
// manifest.json, which says what the page loads first.
import {build} from "esbuild"
import {gzipSync} from "node:zlib"
import {mkdirSync, readdirSync, rmSync, writeFileSync} from "node:fs"
import {basename} from "node:path"

const out = new URL("../dist/", import.meta.url).pathname
const result = await build({
  absWorkingDir: new URL(".", import.meta.url).pathname,
  entryPoints: ["src/main.tsx"],
  outdir: out,
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  metafile: true,
  write: false,
  logLevel: "warning",
})
mkdirSync(out, {recursive: true})
for (const old of readdirSync(out)) if (old !== ".keep") rmSync(out + old)
const first = {}
for (const file of result.outputFiles) {
  const name = basename(file.path)
  writeFileSync(out + name + ".gz", gzipSync(file.contents, {level: 9}))
  if (name.startsWith("main-")) first[name.endsWith(".css") ? "Style" : "Script"] = name
}
writeFileSync(out + "manifest.json", JSON.stringify(first))
