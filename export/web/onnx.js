// What an ONNX file says of itself. onnxruntime-web does not give the metadata, so they are read from the protobuf;
// the rules are those of ../runner/classify.py.

/** Yield [number, value] of each field of a protobuf message: bytes where the field has a length, else a number. */
export function* fields(message) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (at >= message.length) throw new Error("the message is cut off");
      const byte = message[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const [number, kind] = [Math.floor(key / 8), key % 8];
    if (kind === 0) {
      yield [number, varint()];
      continue;
    }
    const length = { 1: 8, 5: 4 }[kind] ?? (kind === 2 ? varint() : Infinity);
    if (at + length > message.length) throw new Error("the message is cut off");
    yield [number, message.subarray(at, at + length)];
    at += length;
  }
}

const text = (bytes) => new TextDecoder().decode(bytes);
const all = (message, wanted) => [...fields(message)].filter(([number]) => number === wanted).map(([, value]) => value);

/** Return the metadata_props of a ModelProto as an object of strings. */
export function readMetadata(model) {
  const entries = all(model, 14).map((entry) => [all(entry, 1)[0], all(entry, 2)[0]]);
  return Object.fromEntries(entries.map((entry) => entry.map((bytes) => (bytes ? text(bytes) : ""))));
}

// What an answer may pass through on its way out of a Softmax or Sigmoid: quantised files, means of several networks.
const PASSING = new Set(
  ("Add AveragePool Cast Concat DequantizeLinear Div Flatten Identity Mean Mul QuantizeLinear " +
    "GlobalAveragePool ReduceMean ReduceSum Reshape Squeeze Sum Transpose Unsqueeze").split(" "),
);

/** Return what the answers of a ModelProto are: "softmax" or "sigmoid", which are probabilities, or "scores". */
export function ending(model) {
  const told = readMetadata(model);
  // A hard one, perhaps, which stands in the file in pieces.
  if (told.threshold === "0.5" || told.ending === '"sigmoid"') return "sigmoid";
  const [graph] = all(model, 7); // ModelProto.graph
  const makers = new Map();
  const ends = [];
  for (const [number, value] of fields(graph)) {
    if (number === 1) {
      const node = { inputs: all(value, 1).map(text), operator: all(value, 4).map(text).join("") };
      for (const output of all(value, 2)) makers.set(text(output), node);
    } else if (number === 12 && !ends.length) ends.push(text(all(value, 1)[0]));
  }
  const [found, seen] = [new Set(), new Set()];
  while (ends.length) {
    const name = ends.pop();
    if (seen.has(name) || !makers.has(name)) continue; // what no node makes is a constant
    seen.add(name);
    const { inputs, operator } = makers.get(name);
    if (PASSING.has(operator)) ends.push(...inputs);
    else if (operator !== "Constant") found.add(operator);
  }
  if (found.size === 1 && found.has("Softmax")) return "softmax";
  return found.size && [...found].every((one) => one === "Sigmoid" || one === "HardSigmoid") ? "sigmoid" : "scores";
}

/** Return what 0 and 255 of a picture become, from the lowest and highest value that the model was trained on. */
export function blackAndWhite(low, high) {
  if (low >= 0 && high > 127 && high <= 255) return [0, 255];
  if (low >= -1 && high <= 1) return low >= 0 ? [0, 1] : [-1, 1];
  return [low, high];
}

/** Return the value of a JSON text, or null. */
export function parse(json) {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}

/** Return [black, white] from the metadata, or null where they do not say. */
export function pixelRange(metadata) {
  const range = parse(metadata.preprocessing)?.range;
  const isPair = Array.isArray(range) && range.length === 2 && range.every((one) => typeof one === "number");
  return isPair ? blackAndWhite(...range) : null;
}

/** Return the names of the classes, numbers where the metadata do not say; `columns` is the width of the answers. */
export function readLabels(metadata, columns) {
  let said = parse(metadata.labels);
  said = Array.isArray(said) ? said.map(String) : [];
  if (columns === 1 && said.length === 1) said = [`not ${said[0]}`, said[0]]; // one sigmoid unit tells two apart
  const classes = Math.max(2, columns);
  if (said.length !== classes) said = Array.from({ length: classes }, (_, column) => String(column));
  return new Set(said).size === classes ? said : said.map((name, column) => `${name} (${column})`);
}

/** Return probabilities, one for each class, from the answers for one picture. */
export function probabilities(answers, end) {
  if (answers.length === 1) {
    const p = end === "sigmoid" ? answers[0] : 1 / (1 + Math.exp(-answers[0]));
    return [1 - p, p];
  }
  if (end !== "scores") return answers;
  const most = Math.max(...answers);
  const weights = answers.map((answer) => Math.exp(answer - most));
  const sum = weights.reduce((one, other) => one + other);
  return weights.map((weight) => weight / sum);
}
