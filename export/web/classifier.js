// An ONNX classifier of pictures, run by onnxruntime-web.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { ending, parse, pixelRange, probabilities, readLabels, readMetadata } from "./onnx.js";
import { resize, toFloat } from "./picture.js";

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
ort.env.logLevel = "error";

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: globalThis.Float16Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int32: Int32Array,
};

/** Say what a file is that is not what we want. */
function refuse(bytes, error) {
  if (bytes[0] === 0x50 && bytes[1] === 0x4b) throw new Error("an archive, as .keras files are: make an ONNX file of it with kerasnas export");
  if (new TextDecoder().decode(bytes.subarray(4, 8)) === "TFL3") throw new Error("a LiteRT file; expected an ONNX file");
  throw new Error(`not an ONNX file that onnxruntime-web can run (${String(error.message ?? error).split("\n")[0].slice(0, 200)})`);
}

export class Classifier {
  /** Read an ONNX file from its bytes. */
  static async load(bytes) {
    const one = new Classifier();
    one.sizeBytes = bytes.length;
    try {
      [one.metadata, one.ending] = [readMetadata(bytes), ending(bytes)];
      one.session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    } catch (error) {
      refuse(bytes, error);
    }
    const inputs = one.session.inputMetadata;
    const shape = [...inputs[0].shape];
    one.isFlat = shape.length === 3; // without an axis for channels
    if (one.isFlat) shape.push(1);
    if (inputs.length !== 1 || shape.length !== 4 || ![1, 3].includes(shape[3]) || !ARRAYS[inputs[0].type]) {
      const came = inputs.map(({ name, type, shape }) => `${name} [${shape}] of ${type}`).join(", ");
      throw new Error(`expected one input of shape (batch, height, width, channels) with 1 or 3 channels, got ${came}`);
    }
    [, one.height, one.width] = shape.map((length) => (typeof length === "number" && length > 0 ? length : null));
    [one.name, one.type, one.channels] = [inputs[0].name, inputs[0].type, shape[3]];
    one.saidRange = pixelRange(one.metadata);
    [one.black, one.white] = one.saidRange ?? [0, 255];
    const blank = new Float32Array((one.height ?? 224) * (one.width ?? 224) * one.channels);
    const answers = [];
    for (const value of [one.black, one.white]) { // a warm-up, too
      answers.push(await one.run(blank.fill(value), one.height ?? 224, one.width ?? 224));
    }
    const isProbable = (row) => Math.min(...row) >= 0 && Math.abs(row.reduce((a, b) => a + b) - 1) <= 1e-3;
    if (one.ending === "scores" && answers[0].length > 1 && answers.every(isProbable)) one.ending = "softmax";
    one.labels = readLabels(one.metadata, answers[0].length);
    return one;
  }

  /** The name of the model, and how its numbers are held. */
  get title() {
    return this.metadata.model_name || "model";
  }

  get format() {
    return parse(this.metadata.quantization)?.format ?? "float32";
  }

  /** Return the picture in the size that the model takes. */
  fit(picture) {
    return resize(picture, this.width ?? picture.width, this.height ?? picture.height);
  }

  /** Return the answers of the file for the values of one picture. */
  async run(values, height, width) {
    const kind = ARRAYS[this.type];
    const whole = ["uint8", "int8", "int32"].includes(this.type);
    const data = this.type === "float32" ? values : kind.from(values, (value) => (whole ? Math.round(value) : value));
    const shape = this.isFlat ? [1, height, width] : [1, height, width, this.channels];
    const results = await this.session.run({ [this.name]: new ort.Tensor(this.type, data, shape) });
    const answer = results[this.session.outputNames[0]];
    if (answer.dims.length !== 2) throw new Error(`expected answers of shape (batch, classes), got (${answer.dims}): no classifier`);
    return Array.from(answer.data, Number);
  }

  /** Return {label, probability, probabilities, latency_ms} of a picture that `fit` made. */
  async classify(picture) {
    const values = toFloat(picture, this.black, this.white);
    const answers = await this.run(values, picture.height, picture.width);
    const chances = probabilities(answers, this.ending);
    if (!chances.every(Number.isFinite)) throw new Error("the model answers with numbers that are not finite");
    const start = performance.now(); // browsers round their clocks: a small network runs some times
    let runs = 0;
    do {
      await this.run(values, picture.height, picture.width);
      runs++;
    } while (performance.now() - start < 10 && runs < 50);
    const latency = (performance.now() - start) / runs;
    const best = chances.indexOf(Math.max(...chances));
    return {
      label: this.labels[best],
      probability: chances[best],
      latency_ms: latency,
      probabilities: Object.fromEntries(this.labels.map((label, column) => [label, chances[column]])),
    };
  }
}
