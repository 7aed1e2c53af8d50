"use strict";
// The classifier of `rs-otl map` (rs_otl/geo/fitting.py): a logistic regression on embeddings of
// length 1, every class and every label of the same weight. Its optimum is unique, so that the page
// and the command find the same one.

// Rows as coordinates in an orthonormal basis of their span, by Cholesky's factor of their dot
// products: the optimum lies in that span, and labels are fewer than features.
function span(rows) {
  const factor = rows.map(() => new Float64Array(rows.length));
  rows.forEach((row, i) => {
    for (let j = 0; j <= i; j++) {
      let rest = dot(row, rows[j]);
      for (let k = 0; k < j; k++) rest -= factor[i][k] * factor[j][k];
      if (i === j) factor[i][i] = rest > 1e-10 ? Math.sqrt(rest) : 0; // 0: a row like those before
      else factor[i][j] = factor[j][j] ? rest / factor[j][j] : 0;
    }
  });
  return factor;
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

// Fit by Newton's method, each step by conjugate gradients. rows: embeddings of length 1; truth:
// their classes, 0 to count - 1, each of which occurs. Returns {weights, biases} of each class.
function fit(rows, truth, count, strength) {
  const n = rows.length, places = span(rows), width = n + 1;
  const sizes = new Float64Array(count);
  truth.forEach(klass => sizes[klass]++);
  const share = truth.map(klass => n / count / sizes[klass]);
  // Of two classes the first has the output 0, as scikit-learn has it; it changes the ridge.
  const first = count === 2 ? 1 : 0, free = count - first;

  const outputs = point => rows.map((_, i) => {
    const out = new Float64Array(count);
    for (let f = 0; f < free; f++) {
      out[f + first] = point[f * width + n];
      for (let k = 0; k <= i; k++) out[f + first] += places[i][k] * point[f * width + k];
    }
    return out;
  });
  // From what each row and class contributes to the derivatives of point.
  const gathered = (parts, point) => {
    const sum = new Float64Array(free * width);
    for (let f = 0; f < free; f++) {
      const start = f * width;
      parts.forEach((part, i) => {
        sum[start + n] += part[f + first];
        for (let k = 0; k <= i; k++) sum[start + k] += places[i][k] * part[f + first];
      });
      for (let k = 0; k < n; k++) sum[start + k] += point[start + k] / strength;
    }
    return sum;
  };
  const loss = (outs, point) => {
    let sum = 0;
    outs.forEach((out, i) => {
      const most = Math.max(...out);
      sum += share[i] * (most - out[truth[i]]
        + Math.log(out.reduce((all, value) => all + Math.exp(value - most), 0)));
    });
    for (let f = 0; f < free; f++)
      for (let k = 0; k < n; k++) sum += point[f * width + k] ** 2 / (2 * strength);
    return sum;
  };

  let point = new Float64Array(free * width), outs = outputs(point), value = loss(outs, point);
  for (let step = 0; step < 100; step++) {
    const chances = outs.map(softmax);
    const slope = gathered(chances.map((chance, i) =>
      chance.map((p, klass) => share[i] * (p - (klass === truth[i])))), point);
    const size = Math.sqrt(dot(slope, slope));
    if (size < 1e-10) break;
    const curved = way => gathered(outputs(way).map((out, i) => {
      const mean = dot(chances[i], out);
      return chances[i].map((p, klass) => share[i] * p * (out[klass] - mean));
    }), way);
    const way = conjugate(curved, slope.map(x => -x), size * Math.min(0.1, Math.sqrt(size)));
    const down = dot(way, slope);
    let length = 1, next, nextOuts, nextValue;
    do {
      next = point.map((x, i) => x + length * way[i]);
      nextOuts = outputs(next);
      nextValue = loss(nextOuts, next);
      length /= 2;
    } while (nextValue > value + 1e-4 * 2 * length * down + 1e-13 * value && length > 1e-6);
    [point, outs, value] = [next, nextOuts, nextValue];
  }

  const weights = [], biases = new Float64Array(count);
  for (let klass = 0; klass < count; klass++) {
    const weight = new Float64Array(rows[0].length), f = klass - first;
    if (f >= 0) {
      biases[klass] = point[f * width + n];
      // Back from the basis to the rows: the factor's transpose, from the last row up.
      const rest = point.slice(f * width, f * width + n);
      for (let i = n - 1; i >= 0; i--) {
        if (!places[i][i]) continue;
        const amount = rest[i] / places[i][i];
        for (let k = 0; k < i; k++) rest[k] -= amount * places[i][k];
        for (let d = 0; d < weight.length; d++) weight[d] += amount * rows[i][d];
      }
    }
    weights.push(weight);
  }
  return { weights, biases };
}

// Solve curved(x) = target.
function conjugate(curved, target, enough) {
  const x = new Float64Array(target.length), rest = target.slice();
  let way = rest.slice(), size = dot(rest, rest);
  for (let step = 0; step < 2 * x.length && Math.sqrt(size) > enough; step++) {
    const bent = curved(way), amount = size / dot(way, bent);
    if (!(amount > 0 && Number.isFinite(amount))) break;
    for (let i = 0; i < x.length; i++) {
      x[i] += amount * way[i];
      rest[i] -= amount * bent[i];
    }
    const next = dot(rest, rest);
    way = way.map((value, i) => rest[i] + next / size * value);
    size = next;
  }
  return x;
}

function softmax(out) {
  const most = Math.max(...out), raised = out.map(value => Math.exp(value - most));
  const sum = raised.reduce((a, b) => a + b, 0);
  return raised.map(value => value / sum);
}

// Class, from 1, and its probability for every embedding; 0 where known is 0.
function classify({ weights, biases }, vectors, features, known) {
  const classes = new Uint8Array(known.length), sure = new Float32Array(known.length);
  const out = new Float64Array(biases.length);
  for (let cell = 0, start = 0; cell < known.length; cell++, start += features) {
    if (!known[cell]) continue;
    for (let klass = 0; klass < out.length; klass++) {
      const weight = weights[klass];
      let sum = biases[klass];
      for (let d = 0; d < features; d++) sum += weight[d] * vectors[start + d];
      out[klass] = sum;
    }
    const chances = softmax(out);
    let best = 0;
    for (let klass = 1; klass < out.length; klass++) if (chances[klass] > chances[best]) best = klass;
    classes[cell] = best + 1;
    sure[cell] = chances[best];
  }
  return { classes, sure };
}
