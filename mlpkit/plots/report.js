"use strict";
// Draws the curves (hover, zoom, keys), and sorts tables. The data lie in the page; nothing is loaded.
(() => {
  const HEIGHT = 250, LEFT = 58, RIGHT = 26, TOP = 10, BOTTOM = 30, LOG_FROM = 30, MOST_BANDS = 3, NEAR = 0.02;

  const make = (name, about = {}, ...children) => fill(document.createElement(name), about, children);
  // SVG's namespace, from the browser: the page holds no address, so that nobody need ask what it loads.
  const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html").querySelector("svg").namespaceURI;
  const draw = (name, about = {}, ...children) => fill(document.createElementNS(SVG, name), about, children);
  function fill(element, about, children) {
    for (const [key, value] of Object.entries(about)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  const whole = (value) => value.toLocaleString("en");
  function number(value) {
    const size = Math.abs(value);
    if (size === 0 || (size >= 1e-3 && size < 1e4)) return value.toFixed(4);
    return value.toExponential(2);
  }

  function nearest(xs, x) { // the place of the value next to x, in ascending numbers
    let low = 0, high = xs.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle; else high = middle;
    }
    return x - xs[low] <= xs[high] - x ? low : high;
  }

  function linearTicks(low, high, most) {
    const rough = (high - low) / most, unit = 10 ** Math.floor(Math.log10(rough));
    const step = unit * [1, 2, 2.5, 5, 10].find((factor) => factor * unit >= rough * (1 - 1e-9));
    const ticks = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high * (1 + 1e-12) + step * 1e-9; n++) ticks.push(n * step);
    return ticks.map((tick) => Number(tick.toPrecision(12)));
  }

  function logTicks(low, high) {
    const decades = Math.log10(high / low), steps = decades < 2.5 ? [1, 2, 5] : [1], ticks = [];
    const every = Math.max(1, Math.ceil(decades / 7));
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const step of power % every ? [] : steps) {
        const tick = step * 10 ** power;
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    return ticks.length > 1 ? ticks : linearTicks(low, high, 5);
  }

  const label = (tick) => (tick !== 0 && (Math.abs(tick) < 1e-3 || Math.abs(tick) >= 1e6) ? tick.toExponential(0) : whole(tick));

  class Chart {
    constructor(figure, data, group) {
      Object.assign(this, { figure, group, best: data.best });
      this.curves = data.curves.map((curve) => ({ ...curve, shown: true }));
      const values = this.curves.flatMap((curve) => curve.y).filter((value) => value !== null);
      const positive = values.filter((value) => value > 0), least = positive.reduce((a, b) => Math.min(a, b), Infinity);
      const most = positive.reduce((a, b) => Math.max(a, b), 0);
      this.canBeLog = positive.length > 1 && most > least;
      this.log = !data.linear && positive.length === values.length && most > LOG_FROM * least;
      this.caption = figure.querySelector("figcaption").textContent;
      this.area = make("div", { class: "plot", tabindex: 0, role: "group", "aria-label": `Curves of ${data.title}. Arrow keys read the values, + and - zoom, 0 shows all.` });
      this.values = make("div", { class: "values", "aria-live": "polite", hidden: "" });
      figure.querySelector("h3").after(this.bar(data.title), this.area);
      this.listen();
      new ResizeObserver(() => this.draw()).observe(this.area);
    }

    bar(title) {
      const bar = make("div", { class: "bar" });
      const button = (text, kind, act, about = {}) => {
        const made = make("button", { type: "button", class: kind, ...about }, text);
        made.addEventListener("click", () => act(made));
        bar.append(made);
        return made;
      };
      for (const curve of this.curves) {
        const made = button(curve.name, `on-off ${curve.kind}`, () => {
          curve.shown = !curve.shown;
          made.setAttribute("aria-pressed", curve.shown);
          this.draw();
        }, { "aria-pressed": true });
        made.prepend(make("i"));
      }
      if (this.canBeLog)
        button("log", "tool log", (made) => {
          this.log = !this.log;
          made.setAttribute("aria-pressed", this.log);
          this.draw();
        }, { "aria-pressed": this.log, "aria-label": `logarithmic axis of ${title}` });
      button("+", "tool", () => this.zoom(0.5), { "aria-label": "zoom in" });
      button("−", "tool", () => this.zoom(2), { "aria-label": "zoom out" });
      this.all = button("all epochs", "tool", () => this.group.show(null));
      return bar;
    }

    zoom(factor) {
      const [low, high] = this.group.range(), at = this.group.at, centre = at ?? (low + high) / 2;
      this.group.show([centre - (centre - low) * factor, centre + (high - centre) * factor]);
      if (at !== null) this.read(at);
    }

    listen() {
      const area = this.area;
      let from = null;
      const place = (event) => {
        const box = area.getBoundingClientRect();
        return this.epoch(((event.clientX - box.left) / box.width) * this.width);
      };
      area.addEventListener("pointerdown", (event) => {
        if (event.pointerType === "touch") return this.read(place(event));
        from = place(event);
        area.setPointerCapture(event.pointerId);
      });
      area.addEventListener("pointermove", (event) => {
        this.read(place(event));
        if (from !== null) this.choose(from, place(event));
      });
      area.addEventListener("pointerup", (event) => {
        if (from === null) return;
        const to = place(event), [low, high] = [Math.min(from, to), Math.max(from, to)];
        const [first, last] = this.group.range();
        from = null;
        if (high - low > (last - first) * 0.02) this.group.show([low, high]); else this.choose(0, 0);
      });
      area.addEventListener("pointercancel", () => { from = null; this.draw(); });
      area.addEventListener("pointerleave", () => from === null && this.group.point(null));
      area.addEventListener("blur", () => this.group.point(null));
      area.addEventListener("dblclick", () => this.group.show(null));
      area.addEventListener("keydown", (event) => {
        const xs = (this.curves.find((curve) => curve.shown) ?? this.curves[0]).x;
        const here = this.group.at === null ? -1 : nearest(xs, this.group.at);
        const step = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10 }[event.key];
        if (step) this.read(xs[Math.max(0, Math.min(xs.length - 1, here + step))]);
        else if (event.key === "Home") this.read(xs[0]);
        else if (event.key === "End") this.read(xs[xs.length - 1]);
        else if (event.key === "+") this.zoom(0.5);
        else if (event.key === "-") this.zoom(2);
        else if (event.key === "0" || event.key === "Escape") this.group.show(null);
        else return;
        event.preventDefault();
      });
    }

    epoch(x) {
      const [low, high] = this.group.range();
      return Math.min(high, Math.max(low, low + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (high - low)));
    }

    read(epoch) { // show the values next to an epoch
      const [low, high] = this.group.range(), found = [];
      for (const curve of this.curves.filter((each) => each.shown)) {
        const place = nearest(curve.x, epoch);
        const isNear = Math.abs(curve.x[place] - epoch) <= Math.max(1, (high - low) * NEAR);
        if (isNear && curve.x[place] >= low && curve.x[place] <= high) found.push([curve, place]);
      }
      if (!found.length) return this.group.point(null);
      const at = found.map(([curve, place]) => curve.x[place]).reduce((a, b) => (Math.abs(b - epoch) < Math.abs(a - epoch) ? b : a));
      this.values.replaceChildren(make("strong", {}, `epoch ${whole(at)}`));
      for (const [curve, place] of found) {
        const value = curve.y[place], apart = curve.x[place] !== at ? ` (epoch ${whole(curve.x[place])})` : "";
        const band = curve.low && value !== null ? ` (${number(curve.low[place])} to ${number(curve.high[place])})` : "";
        this.values.append(make("div", { class: curve.kind }, make("i"), `${curve.name} ${value === null ? "not finite" : number(value)}${band}${apart}`));
      }
      this.group.point(at, this);
    }

    point(epoch, isMine) { // the line at an epoch, in all charts of the group; the values beside it in one
      this.values.hidden = !isMine;
      const [low, high] = this.group.range(), inside = epoch !== null && epoch >= low && epoch <= high;
      this.cursor.setAttribute("visibility", inside ? "visible" : "hidden");
      if (!inside) return;
      const x = this.x(epoch), box = this.area.clientWidth / this.width;
      this.cursor.setAttribute("x1", x);
      this.cursor.setAttribute("x2", x);
      if (!isMine) return;
      const left = x * box + 12, room = this.area.clientWidth - this.values.offsetWidth;
      this.values.style.left = `${Math.max(0, left > room ? x * box - 12 - this.values.offsetWidth : left)}px`;
      this.values.style.top = `${TOP}px`;
    }

    choose(from, to) {
      const [low, high] = [this.x(Math.min(from, to)), this.x(Math.max(from, to))];
      this.choice.setAttribute("x", low);
      this.choice.setAttribute("width", high - low);
    }

    draw() {
      this.width = Math.max(280, this.area.clientWidth || 600);
      const [first, last] = this.group.range(), shown = this.curves.filter((curve) => curve.shown);
      let low = Infinity, high = -Infinity;
      for (const curve of shown)
        curve.x.forEach((x, place) => {
          if (x < first || x > last) return;
          for (const value of [curve.y[place], curve.low?.[place], curve.high?.[place]])
            if (Number.isFinite(value) && (!this.log || value > 0)) [low, high] = [Math.min(low, value), Math.max(high, value)];
        });
      if (low > high) [low, high] = this.log ? [0.1, 1] : [0, 1];
      if (low === high) [low, high] = this.log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
      const scale = this.log ? Math.log10 : (value) => value, room = (scale(high) - scale(low)) * 0.05;
      const [bottom, top] = [scale(low) - room, scale(high) + room], [right, floor] = [this.width - RIGHT, HEIGHT - BOTTOM];
      this.x = (epoch) => (first === last ? (LEFT + right) / 2 : LEFT + ((epoch - first) / (last - first)) * (right - LEFT));
      const y = (value) => floor - ((scale(value) - bottom) / (top - bottom)) * (floor - TOP);

      const id = `inside-${this.group.charts.indexOf(this)}-${this.group.name}`;
      const svg = draw("svg", { viewBox: `0 0 ${this.width} ${HEIGHT}`, role: "img", "aria-label": this.caption });
      svg.append(draw("clipPath", { id }, draw("rect", { x: LEFT, y: 0, width: right - LEFT + 5, height: floor + 4 })));
      const ends = this.log ? [10 ** bottom, 10 ** top] : [bottom, top];
      for (const tick of this.log ? logTicks(...ends) : linearTicks(...ends, 6))
        svg.append(draw("line", { class: "grid", x1: LEFT, x2: right, y1: y(tick), y2: y(tick) }), draw("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, label(tick)));
      const epochs = first === last ? [first] : linearTicks(first, last, this.width / 90).filter(Number.isInteger);
      for (const tick of epochs) svg.append(draw("text", { x: this.x(tick), y: floor + 15, "text-anchor": "middle" }, whole(tick)));
      svg.append(draw("text", { x: right, y: HEIGHT - 2, "text-anchor": "end" }, "epoch"), draw("line", { class: "grid", x1: LEFT, x2: right, y1: floor, y2: floor }));

      const inside = draw("g", { "clip-path": `url(#${id})` });
      if (this.best !== null) inside.append(draw("line", { class: "best", x1: this.x(this.best), x2: this.x(this.best), y1: TOP, y2: floor }));
      for (const curve of shown.length > MOST_BANDS ? shown.slice(0, 1) : shown) {
        const at = (values) => curve.x.map((x, place) => (Number.isFinite(values[place]) && (!this.log || values[place] > 0) ? [this.x(x), y(values[place])] : null));
        if (curve.low) {
          const edge = [...at(curve.high).filter(Boolean), ...at(curve.low).filter(Boolean).reverse()];
          inside.append(draw("path", { class: `band ${curve.kind}`, d: `M${edge.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join("L")}` }));
        }
      }
      for (const curve of [...shown].reverse()) {
        let path = "", before = null;
        curve.x.forEach((x, place) => {
          const value = curve.y[place], drawn = Number.isFinite(value) && (!this.log || value > 0);
          if (drawn) path += `${before ? "L" : "M"}${this.x(x).toFixed(1)} ${y(value).toFixed(1)}`;
          const next = curve.y[place + 1], alone = drawn && !before && !Number.isFinite(next ?? NaN);
          if (alone) inside.append(draw("circle", { class: `dot ${curve.kind}`, cx: this.x(x), cy: y(value), r: 4 }));
          before = drawn;
        });
        inside.append(draw("path", { class: `line ${curve.kind}`, d: path }));
      }
      this.cursor = draw("line", { class: "cursor", y1: TOP, y2: floor, visibility: "hidden" });
      this.choice = draw("rect", { class: "choice", y: TOP, height: floor - TOP, width: 0 });
      svg.append(inside, this.cursor, this.choice);
      this.area.replaceChildren(svg, this.values);
      this.all.disabled = this.group.shown === null;
    }
  }

  class Group { // charts over the same epochs, which are zoomed together
    constructor(name) { Object.assign(this, { name, charts: [], shown: null, at: null }); }
    range() {
      if (this.shown) return this.shown;
      const xs = this.charts.flatMap((chart) => chart.curves.flatMap((curve) => [curve.x[0], curve.x[curve.x.length - 1]]));
      return [Math.min(...xs), Math.max(...xs)];
    }
    show(range) {
      this.shown = null;
      const [low, high] = this.range();
      if (range) range = [Math.max(low, range[0]), Math.min(high, range[1])];
      this.shown = range && range[1] - range[0] >= 1 && (range[0] > low || range[1] < high) ? range : null;
      this.charts.forEach((chart) => chart.draw());
      this.point(null);
    }
    point(epoch, mine = null) {
      this.at = epoch;
      this.charts.forEach((chart) => chart.point(epoch, chart === mine));
    }
  }

  document.querySelectorAll(".charts").forEach((place, name) => {
    const group = new Group(name);
    for (const figure of place.querySelectorAll(".chart"))
      group.charts.push(new Chart(figure, JSON.parse(figure.querySelector("script").textContent), group));
    group.charts.forEach((chart) => chart.draw());
  });

  const value = (row, place) => {
    const text = row.cells[place].textContent.replaceAll(",", "").replace("−", "-"), size = parseFloat(text);
    return Number.isNaN(size) || !/^[-\d.]/.test(text) ? text : size;
  };
  for (const table of document.querySelectorAll("table.sortable"))
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      const button = make("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending", sign = down ? -1 : 1;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [value(a, place), value(b, place)];
          if (x === "" || y === "") return (x === "") - (y === ""); // what is not known comes last
          return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
        });
        table.tBodies[0].append(...rows);
      });
    });

  let closed = []; // a printer cannot open what is folded
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));
})();
