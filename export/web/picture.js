// A picture as the model takes it, to the bit what Pillow makes of it in ../runner/classify.py: {data, width, height, channels}.

/** Return grey (one channel) or coloured (three) 8-bit pixels from RGBA ones that hide nothing. */
export function fromRGBA({ data, width, height }, channels) {
  const pixels = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; from < data.length; from += 4, to += channels) {
    const [red, green, blue] = [data[from], data[from + 1], data[from + 2]];
    if (channels === 1) pixels[to] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16; // ITU-R 601-2
    else pixels.set([red, green, blue], to);
  }
  return { data: pixels, width, height, channels };
}

// Bilinear weights in 22-bit fixed point. The support grows with the scale, so that no pixel is skipped in a smaller picture.
function weightsFor(from, to) {
  const scale = from / to;
  const support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, at) => {
    const center = (at + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(from, Math.trunc(center + support + 0.5));
    const weights = [];
    for (let x = first; x < last; x++) weights.push(Math.max(0, 1 - Math.abs((x - center + 0.5) * (1 / support))));
    const sum = weights.reduce((one, other) => one + other, 0);
    return { first, weights: weights.map((weight) => Math.trunc(0.5 + (weight / sum) * (1 << 22))) };
  });
}

// Resample along one axis, of which two neighbours are `step` values apart.
function resample(source, from, to, step, target) {
  const places = weightsFor(from, to);
  const lines = source.length / from; // values in all other directions
  for (let line = 0; line < lines; line++) {
    const [block, rest] = [Math.floor(line / step), line % step];
    const [start, end] = [block * from * step + rest, block * to * step + rest];
    for (let at = 0; at < to; at++) {
      const { first, weights } = places[at];
      let sum = 1 << 21;
      for (let k = 0; k < weights.length; k++) sum += source[start + (first + k) * step] * weights[k];
      target[end + at * step] = Math.min(255, sum >> 22);
    }
  }
  return target;
}

/** Return the picture stretched to another size, bilinearly, first across, then down. */
export function resize({ data, width, height, channels }, newWidth, newHeight) {
  if (newWidth !== width) {
    data = resample(data, width, newWidth, channels, new Uint8Array(height * newWidth * channels));
  }
  if (newHeight !== height) {
    data = resample(data, height, newHeight, newWidth * channels, new Uint8Array(newHeight * newWidth * channels));
  }
  return { data, width: newWidth, height: newHeight, channels };
}

/** Return the pixels as float32 from `black` to `white`. */
export function toFloat({ data }, black, white) {
  const [scale, offset] = [Math.fround((white - black) / 255), Math.fround(black)];
  return Float32Array.from(data, (pixel) => Math.fround(pixel * scale) + offset);
}

/** Return RGBA pixels of a picture, to be shown. */
export function toRGBA({ data, width, height, channels }) {
  const shown = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let at = 0; at < width * height; at++) {
    for (let c = 0; c < 3; c++) shown[at * 4 + c] = data[at * channels + (c % channels)];
  }
  return new ImageData(shown, width, height);
}
