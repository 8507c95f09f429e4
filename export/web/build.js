// node build.js [FOLDER [MODEL.onnx]]: what a web server needs, and nothing else: the page, three files of onnxruntime-web,
// and the model.

import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const [folder = join(here, "dist"), model] = process.argv.slice(2);
const runtime = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];
const files = ["index.html", "style.css", "page.js", "classifier.js", "onnx.js", "picture.js"];
files.push(...runtime.map((name) => `node_modules/onnxruntime-web/dist/${name}`));
const missing = [...files.map((name) => join(here, name)), ...(model ? [model] : [])].filter((name) => !existsSync(name));
if (missing.length) {
  console.error(`${missing[0]} is missing${missing[0] === model ? "" : ": npm ci --prefix export/web --omit=dev brings it"}`);
  process.exit(2);
}
for (const name of files) {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  cpSync(join(here, name), join(folder, name));
}
rmSync(join(folder, "model.onnx"), { force: true });
if (model) cpSync(model, join(folder, "model.onnx"));
console.log(`wrote ${folder}; serve it with: python3 -m http.server --directory ${folder}`);
