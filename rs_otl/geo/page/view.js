"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = id => document.getElementById(id);
// rows x columns cells are held, every step-th of the scene's; a side of cell pixels each.
const { rows, columns, features, step, stride } = data;
const [width, height] = data.size, cell = stride * step;
const vectors = new Float32Array(rows * columns * features); // of length 1; NaN is nodata
const known = new Uint8Array(rows * columns);

const bytes = new Uint8Array(vectors.buffer);
let held = 0;
function addCells(text) {
  const decoded = atob(text);
  for (let i = 0; i < decoded.length; i++) bytes[held + i] = decoded.charCodeAt(i);
  held += decoded.length;
  document.currentScript.remove(); // its text is as large
}

// ---- Places. The map's own coordinates are pixels of the scene: x is the column, y is -row.

const cellAt = ([x, y]) => x < 0 || y > 0 || x >= width || -y >= height ? null
  : Math.floor(-y / cell) * columns + Math.floor(x / cell);
const boxOf = index => {
  const left = index % columns * cell, top = Math.floor(index / columns) * cell;
  return [left, -Math.min(top + cell, height), Math.min(left + cell, width), -top];
};
// The middle, within the scene, of the one of the scene's cells whose embedding is held.
const middleOf = index => [[index % columns, data.across, width],
  [Math.floor(index / columns), data.down, height]].map(([number, held, side]) =>
  (held[number] * stride + Math.min((held[number] + 1) * stride, side)) / 2);
const coordinate = (column, row) => {
  const [a, b, c, d, e, f] = data.transform;
  return [a * column + b * row + c, d * column + e * row + f];
};
// Between the points at which longitude and latitude are known.
function degrees(column, row) {
  const { side, lon, lat } = data.degrees;
  const x = column / width * (side - 1), y = row / height * (side - 1);
  const i = Math.max(0, Math.min(side - 2, Math.floor(x)));
  const j = Math.max(0, Math.min(side - 2, Math.floor(y)));
  const between = grid => {
    const at = (k, l) => grid[(j + l) * side + i + k], u = x - i, v = y - j;
    return (at(0, 0) * (1 - u) + at(1, 0) * u) * (1 - v) + (at(0, 1) * (1 - u) + at(1, 1) * u) * v;
  };
  return [(between(lon) + 540) % 360 - 180, between(lat)];
}
function said([x, y]) {
  if (cellAt([x, y]) === null) return "";
  // A tenth of a pixel.
  const [a, , , d] = data.transform, digits = Math.max(0, Math.min(8, Math.ceil(1 - Math.log10(Math.hypot(a, d)))));
  const parts = [`column ${Math.floor(x)}, row ${Math.floor(-y)}`];
  if (data.crs) parts.push(`${coordinate(x, -y).map(v => v.toFixed(digits)).join(", ")} ${data.crs}`);
  if (data.degrees) {
    const [lon, lat] = degrees(x, -y);
    parts.push(`${lon.toFixed(5)}\u00b0, ${lat.toFixed(5)}\u00b0`);
  }
  return parts.join("  \u00b7  ");
}

// ---- The map.

const extent = [0, -height, width, 0];
const projection = new ol.proj.Projection({
  code: "scene", units: data.metres ? "m" : "pixels", extent,
  getPointResolution: resolution => resolution * (data.metres || 1),
});
const layers = [];
if (data.levels) layers.push(new ol.layer.Tile({
  extent,
  source: new ol.source.TileImage({
    projection,
    tileGrid: new ol.tilegrid.TileGrid({
      extent, origin: [0, 0], tileSize: data.side, resolutions: data.levels }),
    tileUrlFunction: ([z, x, y]) => data.tiles[`${data.levels.length - 1 - z}/${x}-${y}`],
    transition: 0,
  }),
}));
const over = new ol.layer.Image({ extent });
const frames = new ol.source.Vector(), marks = new ol.source.Vector();
const framed = new ol.layer.Vector({ source: frames, style: feature => styleOf(feature) });
layers.push(over, framed,
  new ol.layer.Vector({ source: marks, style: feature => styleOf(feature) }));
const map = new ol.Map({
  target: "map", layers, pixelRatio: Math.min(2, window.devicePixelRatio),
  controls: ol.control.defaults.defaults({ attribution: false, rotate: false }),
  interactions: ol.interaction.defaults.defaults({
    doubleClickZoom: false, altShiftDragRotate: false, pinchRotate: false }),
  view: new ol.View({
    projection, extent, constrainOnlyCenter: true, enableRotation: false, smoothExtentConstraint: false,
    center: [width / 2, -height / 2], resolution: 1, minResolution: 1 / 16,
    maxResolution: 2 * Math.max(width, height) / 256 }),
});
if (data.metres) map.addControl(new ol.control.ScaleLine());
const reduced = matchMedia("(prefers-reduced-motion: reduce)").matches;

function styleOf(feature) {
  const { kind, colour, text } = feature.getProperties();
  if (kind === "label") return new ol.style.Style({ image: new ol.style.Circle({ radius: 6,
    fill: new ol.style.Fill({ color: colour }), stroke: new ol.style.Stroke({ color: "#fff", width: 2 }) }) });
  return [["#000c", 2], [colour, 0]].map(([color, more]) => new ol.style.Style({
    stroke: new ol.style.Stroke({ color, width: (kind === "example" ? 3 : 2) + more }),
    text: more || !text ? undefined : new ol.style.Text({ text, overflow: true, font: "bold 15px system-ui",
      fill: new ol.style.Fill({ color: colour }), stroke: new ol.style.Stroke({ color: "#000", width: 3 }) }),
  }));
}
function frame(index, properties) {
  const feature = new ol.Feature(ol.geom.Polygon.fromExtent(boxOf(index)));
  feature.setProperties(properties);
  return feature;
}

// The layer ends at the swipe.
over.on("prerender", event => {
  event.context.save();
  if (!element("swiping").checked) return;
  const [across, down] = map.getSize(), end = across * element("swipe").value;
  event.context.beginPath();
  for (const corner of [[0, 0], [end, 0], [end, down], [0, down]])
    event.context.lineTo(...ol.render.getRenderPixel(event, corner));
  event.context.clip();
});
over.on("postrender", event => event.context.restore());

// ---- Layers: a picture each, of the cells held or of a file.

const named = { none: "nothing", embedding: "embedding as colour", map: "map",
  confidence: "confidence of the map", similarity: "similarity" };
const pictures = {};
let layer = "none", lastLayer = "none";
function picture(name, url, [across, down]) {
  pictures[name] = url && new ol.source.ImageStatic({ url, projection, interpolate: false,
    imageExtent: [0, -down, across, 0] });
  const input = document.querySelector(`#layers input[value=${name}]`);
  input.parentNode.hidden = !url;
  if (layer === name) show(url ? name : "none");
}
// colour: from a cell to [red, green, blue], or nothing where there is nothing to show.
function paint(name, colour) {
  const image = new ImageData(columns, rows);
  for (let index = 0; index < known.length; index++) {
    const shade = known[index] && colour(index);
    if (shade) image.data.set([...shade, 255], 4 * index);
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  canvas.getContext("2d").putImageData(image, 0, 0);
  picture(name, canvas.toDataURL(), [columns * cell, rows * cell]);
}
// From dark blue to yellow, dark to bright.
const ramp = share => [255 * share, 255 * share ** 1.5, 120 * (1 - share)];
function show(name) {
  if (name !== "none") lastLayer = name;
  layer = name;
  over.setSource(pictures[name] || null);
  document.querySelector(`#layers input[value=${name}]`).checked = true;
}

// ---- Similar places, as search() of rs_otl/geo/searching.py finds them.

let examples = [], hits = [];
function similar() {
  frames.clear();
  const wanted = examples.filter(example => example.like), unwanted = examples.filter(e => !e.like);
  hits = [];
  element("hint").textContent = "Click a place: the ones that look most like it are framed. Click more "
    + "of them; with Shift, what it should not look like.";
  if (wanted.length) {
    const query = new Float64Array(features);
    const share = (unwanted.length ? 2 : 1) / wanted.length;
    for (const { index, like } of examples) for (let d = 0; d < features; d++)
      query[d] += vectors[index * features + d] * (like ? share : -1 / unwanted.length);
    const length = Math.hypot(...query) || 1;
    const scores = new Float32Array(known.length);
    const order = [];
    for (let index = 0; index < known.length; index++) {
      if (!known[index]) continue;
      let sum = 0;
      for (let d = 0, i = index * features; d < features; d++, i++) sum += vectors[i] * query[d];
      scores[index] = sum / length;
      order.push(index);
    }
    order.sort((a, b) => scores[b] - scores[a]);
    const corner = index => [data.lefts[index % columns], data.tops[Math.floor(index / columns)]];
    const far = (a, b) => corner(a).some((side, axis) => Math.abs(side - corner(b)[axis]) >= data.tile);
    for (const index of order) {
      if (hits.length === 10) break;
      if ([...examples, ...hits].every(other => far(index, other.index)))
        hits.push({ index, score: scores[index] });
    }
    const high = scores[order[0]], low = scores[order[order.length - 1]];
    paint("similarity", index => ramp(high > low ? (scores[index] - low) / (high - low) : 1));
    show("similarity");
    const places = (list, word) => list.length ? `${word} ${list.length} place${list.length > 1 ? "s" : ""}` : "";
    element("hint").textContent = [places(wanted, "Like"), places(unwanted, "unlike")].filter(Boolean).join(", ");
  } else {
    picture("similarity", null, [1, 1]);
    if (unwanted.length) element("hint").textContent = "Now click a place that it should look like.";
  }
  frames.addFeatures([
    ...hits.map((hit, rank) => frame(hit.index, { kind: "hit", colour: "#ffeb3b", text: `${rank + 1}` })),
    ...examples.map(({ index, like }) => frame(index, { kind: "example", colour: like ? "#00e676" : "#ff5252",
      text: like ? "+" : "\u2212" }))]);
  element("hits").replaceChildren(...hits.map(({ index, score }) => {
    const item = document.createElement("li"), button = document.createElement("button");
    const [column, row] = middleOf(index);
    button.textContent = `${score.toFixed(3)}  column ${Math.floor(column)}, row ${Math.floor(row)}`;
    button.onclick = () => map.getView().animate({ center: [column, -row], duration: reduced ? 0 : 250 });
    item.append(button);
    return item;
  }));
}

// ---- Labels.

// In the order in which they were made: first those of the map and the labels that were given.
const chosen = new Map(data.map ? data.map.classes : []);
let classes = [...new Set([...chosen.keys(), ...(data.labels || []).map(([klass]) => klass)])];
let labels = (data.labels || []).map(([klass, row, column]) =>
  ({ klass, index: Math.floor(row / step) * columns + Math.floor(column / step) }));
let past = [], saved = true, current = 0;
let colours = coloursOf(classes, chosen);

// As colours_of of rs_otl/geo/legend.py.
function coloursOf(names, chosen) {
  const found = new Map(names.filter(name => chosen.has(name)).map(name => [name, chosen.get(name)]));
  let free = data.palette.plain.filter(colour => ![...found.values()].includes(colour));
  const words = new Map(names.map(name => [name, (name.toLowerCase().match(/[a-z]+/g) || []).reverse()]));
  const take = (name, colour) => {
    found.set(name, colour);
    free = free.filter(other => other !== colour);
  };
  for (const name of [...names].sort((a, b) => words.get(a).length - words.get(b).length)) {
    const colour = words.get(name).map(word => Object.hasOwn(data.palette.expected, word) && data.palette.expected[word])
      .find(colour => colour && free.includes(colour));
    if (!found.has(name) && colour) take(name, colour);
  }
  let number = 0;
  for (const name of names) {
    if (found.has(name)) continue;
    if (free.length) { take(name, free[0]); continue; }
    found.set(name, data.palette.further[number++ % data.palette.further.length]);
  }
  return found;
}

function labelled(next) {
  past.push(labels);
  labels = next;
  saved = false;
  remap();
}
function place(index) {
  if (!classes.length) {
    element("state").textContent = "Add a class first.";
    element("new-class").focus();
    return;
  }
  const before = labels.find(label => label.index === index), klass = classes[current];
  const others = labels.filter(label => label.index !== index);
  // A second click with the same class takes a label away.
  labelled(before && before.klass === klass ? others : [...others, { index, klass }]);
}
function undo() {
  if (!past.length) return;
  labels = past.pop();
  saved = false;
  remap();
}
addEventListener("beforeunload", event => { if (!saved && labels.length) event.preventDefault(); });
// The map of the labels; without two classes the one that the page came with.
let mapped = null;
function remap() {
  const names = classes.filter(name => labels.some(label => label.klass === name));
  mapped = null;
  if (names.length > 1) {
    const rowsOf = labels.map(({ index }) => vectors.subarray(index * features, (index + 1) * features));
    const linear = fit(rowsOf, labels.map(label => names.indexOf(label.klass)), names.length, data.strength);
    mapped = { names, ...classify(linear, vectors, features, known) };
    const shades = names.map(name => rgb(colours.get(name)));
    const first = !pictures.map;
    paint("map", index => shades[mapped.classes[index] - 1]);
    paint("confidence", index => ramp(mapped.sure[index]));
    if (first || !["map", "confidence"].includes(layer)) show("map");
  } else original();
  listClasses();
}
function original() {
  const size = data.map ? data.map.extent : [1, 1];
  picture("map", data.map && data.map.picture, size);
  picture("confidence", data.map && data.map.confidence, size);
}
const rgb = colour => [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16));

function listClasses() {
  const labelling = tool() === "label";
  element("label-part").hidden = !labelling && !(classes.length && pictures.map);
  element("add").hidden = element("label-buttons").hidden = !labelling;
  element("classes").replaceChildren(...classes.map((name, number) => {
    const line = document.createElement("label"), box = document.createElement("i");
    const words = document.createElement("span"), counted = document.createElement("b");
    box.style.background = colours.get(name);
    words.textContent = name;
    const count = labels.filter(label => label.klass === name).length;
    counted.textContent = [count || "", mapped && mapped.names.includes(name) ? shareOf(name) : ""]
      .filter(Boolean).join(" \u00b7 ");
    line.append(box, words, counted);
    if (labelling) {
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "class",
        checked: number === current });
      input.onchange = () => { current = number; };
      line.prepend(input);
      line.title = number < 9 ? `Key ${number + 1}` : "";
    }
    return line;
  }));
  marks.clear();
  marks.addFeatures(labels.map(({ index, klass }) => {
    const [column, row] = middleOf(index), feature = new ol.Feature(new ol.geom.Point([column, -row]));
    feature.setProperties({ kind: "label", colour: colours.get(klass) });
    return feature;
  }));
  element("undo").disabled = !past.length;
  element("save").disabled = !labels.length;
  const sure = mapped && mapped.sure.reduce((sum, value) => sum + value, 0) / known.reduce((a, b) => a + b, 0);
  element("state").textContent = !labelling && !labels.length ? ""
    : !classes.length ? "Name a class, then click places of it."
    : mapped ? `Map from ${labels.length} labels, ${Math.round(100 * sure)} % sure on average.`
    : "Click a place of each of two classes, and the map is drawn.";
}
function shareOf(name) {
  const number = mapped.names.indexOf(name) + 1;
  const count = mapped.classes.reduce((sum, value) => sum + (value === number), 0);
  return `${Math.round(100 * count / known.reduce((a, b) => a + b, 0))} %`;
}
function addClass(text) {
  const name = text.trim().replace(/\s+/g, " ");
  if (!name) return;
  if (!classes.includes(name)) {
    if (classes.length === data.most) {
      element("state").textContent = `${data.most} classes at most.`;
      return;
    }
    classes.push(name);
    colours = coloursOf(classes, chosen);
  }
  current = classes.indexOf(name);
  element("new-class").value = "";
  remap();
}
// A CRS that has no place on Earth, such as a site grid, has none in GeoJSON either: a table then.
const asTable = data.crs && !data.degrees;
const table = () => ["x,y,class", ...labels.map(({ index, klass }) =>
  [...coordinate(...middleOf(index)), `"${klass.replaceAll('"', '""')}"`].join(","))].join("\n") + "\n";
function geojson() {
  return { type: "FeatureCollection", features: labels.map(({ index, klass }) => ({
    type: "Feature", properties: { class: klass },
    geometry: { type: "Point", coordinates: (data.degrees ? degrees : coordinate)(...middleOf(index))
      .map(value => Number(value.toFixed(9))) } })) };
}
function save() {
  if (!labels.length) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([asTable ? table() : JSON.stringify(geojson())]));
  link.download = `${data.stem}-labels.${asTable ? "csv" : "geojson"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  saved = true;
  element("state").textContent = `Saved as ${link.download}: rs-otl map --labels takes it.`;
}

// ---- What the user does.

const tool = () => document.querySelector("#tools input:checked").value;
function choose(name) {
  document.querySelector(`#tools input[value=${name}]`).checked = true;
  element("map").classList.toggle("acting", name !== "move");
  element("similar-part").hidden = name !== "similar";
  framed.setVisible(name !== "label");
  listClasses();
}
function act(position, shifted) {
  element("where").textContent = said(position);
  if (tool() === "move") return;
  const index = cellAt(position), words = element(tool() === "label" ? "state" : "hint");
  if (index === null) return;
  if (!known[index]) { words.textContent = "No data there."; return; }
  if (tool() === "label") { place(index); return; }
  const like = !(shifted || element("unlike").checked), before = examples.length;
  examples = examples.filter(example => example.index !== index || example.like !== like);
  // A second click on an example takes it away.
  if (examples.length === before) {
    examples = [...examples.filter(example => example.index !== index), { index, like }];
  }
  similar();
}
function swipe() {
  element("swipe").hidden = !element("swiping").checked;
  map.render();
}

const keys = {
  m: () => choose("move"), f: () => choose("similar"), l: () => choose("label"), u: undo, s: save,
  w: () => { element("swiping").checked = !element("swiping").checked; swipe(); },
  0: () => show(layer === "none" ? lastLayer : "none"),
};
keys[" "] = keys[0];
addEventListener("keydown", event => {
  element("cross").hidden = event.target !== element("map") || tool() === "move";
  const typing = event.target.matches("input:not([type=radio]):not([type=checkbox]), button, summary");
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing) undo();
  else if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key >= "1" && event.key <= "9") {
    if (classes.length < Number(event.key)) return;
    current = Number(event.key) - 1;
    choose("label");
  } else if (event.key === "Enter" && event.target === element("map"))
    act(map.getView().getCenter(), event.shiftKey);
  else if (Object.hasOwn(keys, event.key)) {
    if (event.key === " " && event.target.matches("input")) return; // which it would switch
    keys[event.key]();
  } else return;
  event.preventDefault();
});

function start() {
  for (let index = 0, at = 0; index < known.length; index++, at += features)
    known[index] = vectors[at] === vectors[at]; // NaN is not itself
  document.title = `${data.name} \u00b7 rs-otl`;
  element("name").textContent = data.name;
  element("facts").textContent = data.facts;
  for (const [name, words] of Object.entries(named)) {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "layer", value: name, onchange: () => show(name) });
    label.append(input, ` ${words}`);
    label.hidden = name !== "none";
    element("layers").append(label);
  }
  picture("embedding", data.embedding, [columns * cell, rows * cell]);
  similar();
  labels = labels.filter(label => known[label.index]);
  show(data.levels ? "none" : "embedding");
  remap();
  if (data.map) show("map");
  over.setOpacity(Number(element("opacity").value));
  element("opacity").oninput = event => over.setOpacity(Number(event.target.value));
  element("swiping").onchange = swipe;
  element("swipe").oninput = () => map.render();
  element("undo").onclick = undo;
  element("save").onclick = save;
  element("forget").onclick = () => { examples = []; similar(); };
  element("add").onsubmit = event => { event.preventDefault(); addClass(element("new-class").value); };
  for (const input of document.querySelectorAll("#tools input")) input.onchange = () => choose(input.value);
  choose("move");
  map.on("click", event => act(event.coordinate, event.originalEvent.shiftKey));
  map.on("pointermove", event => {
    element("cross").hidden = true;
    element("where").textContent = said(event.coordinate);
  });
  map.getView().fit(extent);
  map.once("rendercomplete", () => { document.body.dataset.ready = "yes"; });
}
