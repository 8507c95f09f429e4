// What is on the page: files in, bars out.

import { Classifier } from "./classifier.js";
import { fromRGBA, toRGBA } from "./picture.js";

const SHOWN = 10; // bars
const $ = (id) => document.getElementById(id);
const drawing = $("drawing").getContext("2d", { willReadFrequently: true });

let classifier = null;
let source = null; // RGBA pixels of the file that was chosen
let isDrawn = false; // whether there is anything on the drawing

// One thing after the other: answers come in the order of the questions, and of several questions that wait only the last is put.
let work = Promise.resolve();
let waiting = 0;

function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function enqueue(task, what) {
  document.body.dataset.state = "busy";
  const mine = ++waiting;
  work = work
    .then(task)
    .then(() => {}, (error) => complain(`${what}: ${error.message ?? error}`))
    .then(() => {
      if (mine === waiting) document.body.dataset.state = "ready";
    });
  return work;
}

const isDrawing = () => document.querySelector("input[name=source]:checked").value === "draw";

// Models

async function useModel(bytes, name) {
  classifier = null;
  show(null);
  describe(name);
  const loaded = await Classifier.load(bytes);
  complain("");
  classifier = loaded;
  describe(name);
  const ratio = (loaded.height ?? 1) / (loaded.width ?? 1);
  [drawing.canvas.width, drawing.canvas.height] = ratio > 1 ? [Math.round(560 / ratio), 560] : [560, Math.round(560 * ratio)];
  clear();
  await classify();
}

function describe(name) {
  $("title").textContent = classifier?.title ?? name ?? "Classify a picture";
  document.title = `kerasnas: ${$("title").textContent}`;
  $("open").classList.toggle("primary", !classifier);
  if (!classifier) return void ($("facts").textContent = "An ONNX file that kerasnas has exported tells its labels and sizes itself.");
  const size = classifier.height || classifier.width ? `${classifier.width ?? "any"} × ${classifier.height ?? "any"} pixels` : "any size";
  const kilobytes = classifier.sizeBytes / 1000;
  $("facts").textContent = [
    `${size}, ${classifier.channels === 1 ? "grey" : "colour"}`,
    `${classifier.labels.length} classes`,
    classifier.format,
    kilobytes < 1000 ? `${kilobytes.toFixed(1)} kB` : `${(kilobytes / 1000).toFixed(1)} MB`,
  ].join(" · ");
  const [black, white] = classifier.saidRange ?? [0, 255];
  const said = classifier.saidRange ? "as the file says" : "the file does not say";
  $("range").options[0].textContent = `${black} to ${white} (${said})`;
  $("range").value = "";
}

// Pictures

async function usePicture(blob) {
  const how = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, how);
  } catch {
    source = null; // no answer stays beside a picture that is not its own
    $("shown").hidden = true;
    $("invitation").hidden = false;
    show(null);
    throw new Error("not a picture that this browser can read");
  }
  const canvas = $("shown");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.fillRect(0, 0, bitmap.width, bitmap.height); // black, under what is transparent
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  source = context.getImageData(0, 0, canvas.width, canvas.height);
  const isSmall = Math.max(canvas.width, canvas.height) < 200;
  canvas.classList.toggle("small", isSmall);
  canvas.style.height = isSmall ? "100%" : "";
  canvas.hidden = false;
  $("invitation").hidden = true;
  complain("");
  await classify();
}

function paper() {
  return $("invert").checked ? ["#fff", "#000"] : ["#000", "#fff"];
}

function clear() {
  isDrawn = false;
  drawing.fillStyle = paper()[0];
  drawing.fillRect(0, 0, drawing.canvas.width, drawing.canvas.height);
}

function pen(event) {
  const { left, top, width, height } = drawing.canvas.getBoundingClientRect();
  return [((event.clientX - left) / width) * drawing.canvas.width, ((event.clientY - top) / height) * drawing.canvas.height];
}

function draw(event) {
  const start = event.type === "pointerdown";
  if (!start && !drawing.canvas.hasPointerCapture(event.pointerId)) return;
  if (start) {
    drawing.canvas.setPointerCapture(event.pointerId);
    drawing.beginPath();
    drawing.moveTo(...pen(event));
  }
  event.preventDefault();
  [drawing.lineWidth, drawing.lineCap, drawing.lineJoin] = [Math.min(drawing.canvas.width, drawing.canvas.height) / 10, "round", "round"];
  drawing.strokeStyle = paper()[1];
  drawing.lineTo(...pen(event));
  drawing.stroke();
  isDrawn = true;
  ask();
}

// Answers

async function classify() {
  const drawn = isDrawing();
  if (!classifier || (drawn ? !isDrawn : !source)) return show(null);
  const rgba = drawn ? drawing.getImageData(0, 0, drawing.canvas.width, drawing.canvas.height) : source;
  const picture = classifier.fit(fromRGBA(rgba, classifier.channels));
  const given = $("range").value;
  [classifier.black, classifier.white] = given ? given.split(" ").map(Number) : classifier.saidRange ?? [0, 255];
  try {
    show(await classifier.classify(picture), picture);
    complain("");
  } catch (problem) {
    show(null); // no answer stays beside a picture that is not its own
    throw problem;
  }
}

function ask() {
  const mine = waiting + 1;
  enqueue(() => (mine === waiting ? classify() : null), "The picture could not be classified");
}

function show(row, picture) {
  $("result").dataset.row = row ? JSON.stringify(row) : "";
  $("bars").replaceChildren();
  $("more").hidden = true;
  $("label").textContent = row ? row.label : "";
  $("latency").textContent = row
    ? `${percent(row.probability)}, in ${row.latency_ms.toFixed(row.latency_ms < 10 ? 2 : 0)} ms`
    : classifier ? "Now choose or draw a picture." : "First choose an ONNX file.";
  $("seen-row").hidden = !picture;
  if (!row) return;
  $("seen-text").textContent = `What the model sees: ${picture.width} × ${picture.height} pixels, ${picture.channels === 1 ? "grey" : "colour"}.`;
  [$("seen").width, $("seen").height] = [picture.width, picture.height];
  $("seen").style.width = picture.width >= picture.height ? "84px" : "auto";
  $("seen").style.height = picture.width >= picture.height ? "auto" : "84px";
  $("seen").getContext("2d").putImageData(toRGBA(picture), 0, 0);
  const order = Object.entries(row.probabilities).sort(([, one], [, other]) => other - one);
  $("bars").append(...order.slice(0, SHOWN).map(([label, probability]) => bar(label, probability)));
  const rest = order.slice(SHOWN);
  $("more").hidden = !rest.length;
  $("more").textContent = rest.length ? `and ${rest.length} more, at most ${percent(rest[0][1])} each` : "";
}

const percent = (share) => (share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);

function bar(label, probability) {
  const item = document.createElement("li");
  const [name, share] = ["name", "share"].map((kind) => {
    const part = document.createElement("span");
    part.className = kind;
    return part;
  });
  name.textContent = name.title = label;
  share.textContent = percent(probability);
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("aria-hidden", "true");
  for (const [kind, width] of [["track", 100], ["fill", 100 * probability]]) {
    const box = document.createElementNS(space, "rect");
    for (const [key, value] of Object.entries({ class: kind, width: `${width}%`, height: "100%", rx: 4 })) box.setAttribute(key, value);
    picture.append(box);
  }
  item.append(name, picture, share);
  return item;
}

// Events

$("model").addEventListener("change", ({ target }) => openModel(chosen(target)));
$("picture").addEventListener("change", ({ target }) => openPicture(chosen(target)));

// The file that was chosen; it may be chosen again, since it may have been written anew.
function chosen(input) {
  const [file] = input.files;
  input.value = "";
  return file;
}

function openModel(file) {
  if (file) enqueue(async () => useModel(new Uint8Array(await file.arrayBuffer()), file.name), file.name);
}

function openPicture(file) {
  if (!file) return;
  document.querySelector("input[name=source][value=file]").checked = true;
  panels();
  enqueue(() => usePicture(file), file.name || "the picture");
}

function openFiles(files) {
  for (const file of files) (file.name.endsWith(".onnx") ? openModel : openPicture)(file);
}

function panels() {
  $("file-panel").hidden = isDrawing();
  $("draw-panel").hidden = !isDrawing();
}

for (const radio of document.querySelectorAll("input[name=source]")) {
  radio.addEventListener("change", () => (panels(), ask()));
}
addEventListener("dragover", (event) => (event.preventDefault(), $("drop").classList.add("over")));
addEventListener("dragleave", () => $("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  openFiles(event.dataTransfer.files);
});
addEventListener("paste", (event) => openFiles(event.clipboardData.files));
for (const kind of ["pointerdown", "pointermove"]) drawing.canvas.addEventListener(kind, draw);
$("clear").addEventListener("click", () => (clear(), ask()));
$("invert").addEventListener("change", () => (clear(), ask()));
$("range").addEventListener("change", ask);

panels();
clear();
describe();
show(null);
enqueue(async () => {
  const answer = await fetch("model.onnx", { cache: "no-cache" }).catch(() => null);
  if (answer?.ok) await useModel(new Uint8Array(await answer.arrayBuffer()), "model.onnx");
}, "model.onnx");
