"use strict";
// Draws the frames of a film. All numbers are in the page: nothing is loaded.
const film = JSON.parse(document.getElementById("film").textContent);
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
for (const scene of film.scenes) {
  scene.view = film.views[scene.view];
  scene.surface = scene.view.kind === "fit" ? new Float32Array(bytes(scene.surface).buffer) : bytes(scene.surface);
  scene.units = new Float32Array(bytes(scene.units).buffer);
}
const epochs = [...new Set(film.scenes.flatMap((scene) => scene.epochs))].sort((a, b) => a - b);
const slider = document.querySelector("input"), button = document.querySelector("button");
const shown = document.querySelector("output");
const dark = matchMedia("(prefers-color-scheme: dark)");
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const mixed = (stops, share) => {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((part, i) => part + (stops[low + 1][i] - part) * (at - low));
};
const css = (parts) => `rgb(${parts.map(Math.round).join(" ")})`;
const VALUES = film.values.map(rgb), CLASSES = film.classes;
const middle = () => rgb(dark.matches ? "#22272d" : "#f7f6f4");
const probability = () => [rgb(dark.matches ? "#2f6aa8" : "#6f9fce"), middle(), rgb(dark.matches ? "#b0513f" : "#dc7f6c")];

function tint(view) {
  // Returns the colour of each byte of a surface.
  const table = [], page = middle(), stops = probability();
  for (let byte = 0; byte < 256; byte++) {
    if (view.kind === "probability") table.push(mixed(stops, byte / 255));
    else if (view.kind === "values") table.push(mixed(VALUES, byte / 255));
    else table.push(mixed([page, rgb(CLASSES[(byte >> 4) % CLASSES.length])], 0.6 * ((byte & 15) + 1) / 16));
  }
  return table;
}

function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(0) : String(Number(value.toPrecision(4)));
  return text.replace("-", "−").replace("e+", "e");
}

function ticks(low, high, most) {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= raw);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high; at++) found.push(at * step);
  return found;
}

function sheet(canvas, [left, right, top, bottom]) {
  // Returns the drawing context, in CSS pixels, and the rectangle of the plot.
  const ratio = devicePixelRatio || 1, { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = `${film.scenes.length > 1 ? 11 : 12}px system-ui, sans-serif`;
  return [pen, { x: left, y: top, w: Math.max(width - left - right, 10), h: Math.max(height - top - bottom, 10) }];
}

function axes(pen, box, x, y, xs, ys, names) {
  pen.strokeStyle = colour("--line");
  pen.strokeRect(box.x, box.y, box.w, box.h);
  pen.fillStyle = colour("--muted");
  pen.textAlign = "center";
  pen.textBaseline = "top";
  for (const value of xs) pen.fillText(number(value), x(value), box.y + box.h + 4);
  pen.fillText(names[0], box.x + box.w / 2, box.y + box.h + 19);
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const value of ys) pen.fillText(number(value), box.x - 5, y(value));
  pen.save();
  pen.translate(9, box.y + box.h / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "center";
  if (pen.measureText(names[1]).width <= box.h) pen.fillText(names[1], 0, 0);  // else it would cross the numbers
  pen.restore();
}

function plane(scene, canvas, frame) {
  const [pen, box] = sheet(canvas, [54, 8, 8, 36]), view = scene.view, [left, right, bottom, top] = view.extent;
  const x = (value) => box.x + ((value - left) / (right - left)) * box.w;
  const y = (value) => box.y + ((top - value) / (top - bottom)) * box.h;
  const size = scene.size, count = view.kind === "fit" ? size : size * size;
  const surface = scene.surface.subarray(frame * count, (frame + 1) * count);
  pen.save();
  pen.beginPath();
  pen.rect(box.x, box.y, box.w, box.h);
  pen.clip();
  if (view.kind !== "fit") {
    paint(pen, box, surface, size, tint(view));
    if (view.kind === "probability") contour(pen, box, surface, size, 127.5);
  }
  units(pen, box, scene, frame);
  points(pen, view, x, y);
  if (view.kind === "fit") {
    pen.beginPath();
    surface.forEach((value, i) => pen.lineTo(box.x + (i / (size - 1)) * box.w, Math.min(Math.max(y(value), -1e4), 1e4)));
    pen.strokeStyle = colour("--ink");
    pen.lineWidth = 2.2;
    pen.stroke();
  }
  pen.restore();
  const most = Math.max(2, Math.floor(box.w / 70));
  axes(pen, box, x, y, ticks(left, right, most), ticks(bottom, top, Math.max(2, Math.floor(box.h / 45))), view.names);
}

function paint(pen, box, surface, size, table) {
  const small = document.createElement("canvas"), image = new ImageData(size, size);
  small.width = small.height = size;
  surface.forEach((byte, i) => {
    const at = ((size - 1 - Math.floor(i / size)) * size + (i % size)) * 4;
    image.data.set(table[byte], at);
    image.data[at + 3] = 255;
  });
  small.getContext("2d").putImageData(image, 0, 0);
  const half = [box.w / (size - 1) / 2, box.h / (size - 1) / 2]; // a point is the middle of a pixel
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, box.x - half[0], box.y - half[1], box.w + 2 * half[0], box.h + 2 * half[1]);
}

function contour(pen, box, surface, size, level) {
  // Marching squares: the line where the surface crosses the level.
  const place = (i, j) => [box.x + (i / (size - 1)) * box.w, box.y + (1 - j / (size - 1)) * box.h];
  pen.beginPath();
  for (let j = 0; j < size - 1; j++) for (let i = 0; i < size - 1; i++) {
    const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]], cuts = [];
    corners.forEach((from, side) => {
      const to = corners[(side + 1) % 4];
      const a = surface[from[1] * size + from[0]] - level, b = surface[to[1] * size + to[0]] - level;
      if (a > 0 !== b > 0) cuts.push(place(from[0] + (to[0] - from[0]) * (a / (a - b)), from[1] + (to[1] - from[1]) * (a / (a - b))));
    });
    for (let cut = 0; cut + 1 < cuts.length; cut += 2) {
      pen.moveTo(...cuts[cut]);
      pen.lineTo(...cuts[cut + 1]);
    }
  }
  pen.strokeStyle = colour("--ink");
  pen.lineWidth = 2;
  pen.stroke();
}

function units(pen, box, scene, frame) {
  // The line u · x + v · y + w = 0 of each unit, with x and y from 0 to 1.
  pen.strokeStyle = scene.view.kind === "values" ? "#ffffff" : colour("--muted");
  pen.lineWidth = 1;
  pen.setLineDash([5, 4]);
  pen.globalAlpha = scene.shown > 12 ? 0.45 : 0.85;
  pen.beginPath();
  for (let unit = 0; unit < scene.shown; unit++) {
    const [u, v, w] = scene.units.subarray((frame * scene.shown + unit) * 3, (frame * scene.shown + unit + 1) * 3);
    const square = u * u + v * v;
    if (!(square > 1e-20)) continue;
    const near = [(-w * u) / square, (-w * v) / square], long = 4 / Math.sqrt(square);
    if (Math.hypot(...near) > 3) continue;
    for (const side of [-1, 1]) {
      const at = [near[0] - v * side * long, near[1] + u * side * long];
      pen[side < 0 ? "moveTo" : "lineTo"](box.x + at[0] * box.w, box.y + (1 - at[1]) * box.h);
    }
  }
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

function points(pen, view, x, y) {
  const many = film.scenes.length > 1, page = colour("--paper"), ink = colour("--ink");
  for (const [split, rows] of Object.entries(view.points)) {
    const radius = (many ? 1.9 : 3) * (rows.length > 150 ? 0.8 : 1);
    for (const [px, py, target] of rows) {
      if (view.kind === "fit") pen.fillStyle = colour(`--${split}`);
      else if (view.kind === "values") pen.fillStyle = css(mixed(VALUES, (target - view.range[0]) / (view.range[1] - view.range[0] || 1)));
      else pen.fillStyle = view.classes.length === 2 ? film.two[target] : CLASSES[target % CLASSES.length];
      pen.beginPath();
      if (split === "train") pen.arc(x(px), y(py), radius, 0, 7);
      else pen.rect(x(px) - radius, y(py) - radius, 2 * radius, 2 * radius);
      pen.fill();
      pen.lineWidth = many ? 0.4 : 0.7;
      pen.strokeStyle = split === "train" ? page : ink;
      pen.stroke();
    }
  }
}

function loss(scene, canvas, epoch) {
  const [pen, box] = sheet(canvas, [54, 18, 8, 36]), curves = Object.entries(scene.curves);
  const values = curves.flatMap(([, [, losses]]) => losses).filter((value) => value !== null && (!film.log || value > 0));
  const all = film.range, scale = film.log ? Math.log10 : (value) => value;
  let low = scale(all[0]), high = scale(all[1]);
  [low, high] = high > low ? [low - 0.05 * (high - low), high + 0.05 * (high - low)] : [low - 0.5, high + 0.5];
  const last = Math.max(epochs[epochs.length - 1], 1);
  const x = (value) => box.x + (value / last) * box.w;
  const y = (value) => box.y + ((high - scale(value)) / (high - low)) * box.h;
  let marks = ticks(low, high, Math.max(2, Math.floor(box.h / 40)));
  if (film.log) {
    const times = high - low < 3 && box.h > 150 ? [1, 2, 5] : [1], powers = [];
    for (let power = Math.floor(low); power <= high; power++) powers.push(power);
    marks = powers.flatMap((power) => times.map((part) => part * 10 ** power)).filter((at) => scale(at) >= low && scale(at) <= high);
  }
  axes(pen, box, x, y, ticks(0, last, Math.max(2, Math.floor(box.w / 80))), marks, ["epoch", film.scenes.length > 1 ? "" : film.loss]);
  pen.save();
  pen.beginPath();
  pen.rect(box.x - 4, box.y, box.w + 8, box.h);  // the dots of the first and the last epoch are whole
  pen.clip();
  const upright = (at, name, width) => {
    pen.beginPath();
    pen.moveTo(x(at), box.y);
    pen.lineTo(x(at), box.y + box.h);
    pen.strokeStyle = colour(name);
    pen.lineWidth = width;
    pen.stroke();
  };
  if (scene.best !== null) upright(scene.best, "--line", 2);
  for (const [split, [at, losses]] of curves) {
    pen.beginPath();
    let open = false;
    losses.forEach((value, i) => {
      if (value === null || (film.log && value <= 0)) open = false;
      else { pen[open ? "lineTo" : "moveTo"](x(at[i]), y(value)); open = true; }
    });
    pen.strokeStyle = colour(`--${split}`);
    pen.lineWidth = 1.6;
    pen.stroke();
  }
  upright(epoch, "--ink", 1);
  for (const [split, [at, losses]] of curves) {
    let i = at.length - 1;
    while (i > 0 && at[i] > epoch) i--;
    if (at[i] > epoch || losses[i] === null || !values.length) continue;
    pen.beginPath();
    pen.arc(x(epoch), y(losses[i]), 4, 0, 7);
    pen.fillStyle = colour(`--${split}`);
    pen.fill();
  }
  pen.restore();
}

const panels = film.scenes.map((scene) => {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  const canvases = ["plane", "loss"].map((name) => {
    const canvas = document.createElement("canvas");
    canvas.className = name;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${scene.label} ${name === "loss" ? film.loss : film.says} over the epochs`);
    return canvas;
  });
  caption.textContent = scene.label;
  figure.append(caption, ...canvases);
  document.querySelector("main").append(figure);
  return [scene, ...canvases];
});

function draw() {
  const epoch = epochs[slider.value];
  shown.textContent = epoch === 0 ? "untrained" : `epoch ${epoch.toLocaleString("en")}`;
  slider.setAttribute("aria-valuetext", shown.textContent);
  for (const [scene, top, below] of panels) {
    let frame = scene.epochs.length - 1;
    while (frame > 0 && scene.epochs[frame] > epoch) frame--;
    plane(scene, top, frame);
    loss(scene, below, Math.min(epoch, scene.epochs[scene.epochs.length - 1]));
  }
}

let timer = 0;
function play(on) {
  clearInterval(timer);
  timer = 0;
  button.textContent = on ? "Pause" : "Play";
  if (!on) return;
  if (Number(slider.value) === epochs.length - 1) slider.value = 0;
  draw();
  timer = setInterval(() => {
    slider.value = Number(slider.value) + 1;
    draw();
    if (Number(slider.value) === epochs.length - 1) play(false);
  }, Math.min(Math.max(6000 / epochs.length, 50), 400));
}

slider.max = epochs.length - 1;
slider.value = slider.max;
button.addEventListener("click", () => play(!timer));
slider.addEventListener("input", () => { play(false); draw(); });
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (event.key === " " && event.target !== button) { event.preventDefault(); play(!timer); }
  else if (step !== undefined && event.target !== slider) {
    event.preventDefault();
    play(false);
    slider.value = Math.min(Math.max(Number(slider.value) + step, 0), epochs.length - 1);
    draw();
  }
});
addEventListener("resize", draw);
dark.addEventListener("change", draw);
draw();
