// node build.js [FOLDER [MODEL.onnx]]: what a web server needs, and nothing else: the page, three files of onnxruntime-web,
// and the model. Without a model, one that is there stays.

import { copyFileSync, existsSync, mkdirSync, readFileSync, realpathSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ending } from "./onnx.js";

const here = dirname(fileURLToPath(import.meta.url));
const [folder = join(here, "dist"), model] = process.argv.slice(2);
const runtime = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];
const files = ["index.html", "style.css", "page.js", "classifier.js", "onnx.js", "picture.js"];
files.push(...runtime.map((name) => `node_modules/onnxruntime-web/dist/${name}`));

function fail(message) {
  console.error(message);
  process.exit(2);
}

/** Return the content of an ONNX file. */
function read(path) {
  if (!existsSync(path)) fail(`${path} is missing`);
  try {
    const content = readFileSync(path);
    ending(content);
    return content;
  } catch (error) {
    return fail(`${path} is not an ONNX file: expected one that kerasnas export wrote (${error.message})`);
  }
}

const isSame = (one, other) => existsSync(other) && realpathSync(one) === realpathSync(other);

const missing = files.map((name) => join(here, name)).find((name) => !existsSync(name));
if (missing) fail(`${missing} is missing: npm ci --prefix export/web --omit=dev brings it`);
const content = model && read(model); // before anything is written
const target = join(folder, "model.onnx");
try {
  for (const name of files) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    if (!isSame(join(here, name), join(folder, name))) copyFileSync(join(here, name), join(folder, name));
  }
  if (model && !isSame(model, target)) {
    writeFileSync(join(folder, ".model.onnx"), content);
    renameSync(join(folder, ".model.onnx"), target);
  }
} catch (error) {
  fail(`${folder} cannot be written: ${error.message}`);
}
if (!model && existsSync(target)) console.log(`${target}, which was there, stays`);
console.log(`wrote ${folder}; serve it with: python3 -m http.server --directory ${folder}`);
