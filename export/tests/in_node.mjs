// The page's modules without a browser: {pictures: [{data, width, height, channels, to}], models: [path]} in, what they make of it out.

import { readFileSync } from "node:fs";
import { blackAndWhite, ending, probabilities, readLabels, readMetadata } from "../web/onnx.js";
import { fromRGBA, resize } from "../web/picture.js";

const { pictures = [], greys = [], models = [], ranges = [], answers = [], labels = [] } = JSON.parse(readFileSync(0));
console.log(JSON.stringify({
  pictures: pictures.map(({ to, data, ...size }) => [...resize({ data: Uint8Array.from(data), ...size }, ...to).data]),
  greys: greys.map((data) => [...fromRGBA({ data, width: data.length / 4, height: 1 }, 1).data]),
  models: models.map((path) => [readMetadata(readFileSync(path)), ending(readFileSync(path))]),
  ranges: ranges.map((range) => blackAndWhite(...range)),
  answers: answers.map(([row, end]) => probabilities(row, end)),
  labels: labels.map(([said, columns]) => readLabels({ labels: said }, columns)),
}));
