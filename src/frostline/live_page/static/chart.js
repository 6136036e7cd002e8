// One set of curves over steps: raw values faint, smoothed ones strong; a cursor that reads values, and a zoom.

import { drawn, element } from './common.js';

const MARGIN = { left: 46, right: 20, top: 8, bottom: 22 };

const MOST_TOLD = 8, DENSE = 300;

/** Round numbers between two ends. */
function ticks(low, high, most) {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= most) ?? 10 * power;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
  return { found, decimals: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

export class Chart {
  /** `zoomed(first, last)` is told what part of the steps is wanted, or null for all. */
  constructor(parent, { title, note, decimals, zoomed }) {
    this.decimals = decimals;
    this.zoomed = zoomed;
    this.curves = [];
    this.range = [0, 1];
    this.cursor = null;
    this.svg = drawn('svg', { class: 'plot', tabindex: 0, role: 'img', 'aria-label': `${title}. Arrow keys read values, + and − zoom, 0 shows all steps.` });
    this.readout = element('p', { class: 'readout' });
    this.figure = element('figure', {},
      element('figcaption', {}, element('h2', { text: title }), element('span', { class: 'note', text: note })),
      this.svg, this.readout);
    parent.append(this.figure);
    new ResizeObserver(() => this.draw()).observe(this.figure);
    this.svg.addEventListener('pointermove', (event) => this.#move(event));
    this.svg.addEventListener('pointerleave', () => this.#read(null));
    this.svg.addEventListener('pointerdown', (event) => { if (event.button === 0) this.from = this.#step(event); });
    this.svg.addEventListener('pointerup', (event) => this.#release(event));
    this.svg.addEventListener('pointercancel', () => { this.from = null; this.draw(); });
    this.svg.addEventListener('dblclick', () => this.zoomed(null));
    this.svg.addEventListener('keydown', (event) => this.#key(event));
    this.svg.addEventListener('blur', () => this.#read(null));
  }

  /** Curves have a `name`, a colour `class`, a `dash`, `raw` points [step, low, high] and a `line` of [step, value]. */
  show(curves, range, smoothed) {
    this.curves = curves;
    this.smoothed = smoothed ? ', smoothed' : '';
    this.range = range;
    this.figure.hidden = !curves.some((curve) => curve.line.length);
    this.draw();
  }

  draw() {
    const width = this.figure.clientWidth;
    if (!width || this.figure.hidden) return;
    const height = width < 420 ? 190 : 230;
    const [first, last] = this.range;
    const [low, high] = this.#heights();
    const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
    const x = (step) => MARGIN.left + ((step - first) / Math.max(1e-9, last - first)) * (right - MARGIN.left);
    const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - MARGIN.top);
    this.x = x;
    const parts = [];
    const vertical = ticks(low, high, 5);
    for (const value of vertical.found) {
      parts.push(drawn('line', { class: 'grid', x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }));
      parts.push(drawn('text', { class: 'tick', x: MARGIN.left - 6, y: y(value) + 4, 'text-anchor': 'end' }, value.toFixed(vertical.decimals)));
    }
    for (const value of ticks(first, last, width < 420 ? 4 : 8).found.filter(Number.isInteger)) {
      parts.push(drawn('text', { class: 'tick', x: x(value), y: height - 6, 'text-anchor': 'middle' }, value.toLocaleString('en')));
    }
    if (low < 0 && high > 0 && this.decimals > 2) parts.push(drawn('line', { class: 'zero', x1: MARGIN.left, x2: right, y1: y(0), y2: y(0) }));
    const clip = (value) => Math.min(bottom, Math.max(MARGIN.top, y(value))).toFixed(1);
    const within = (points) => inside(points, first, last);
    for (const curve of this.curves) {
      const raw = within(curve.raw).flatMap(([step, least, most]) =>
        least === most ? [`${x(step).toFixed(1)},${clip(least)}`] : [`${x(step).toFixed(1)},${clip(least)}`, `${x(step).toFixed(1)},${clip(most)}`]);
      if (raw.length > 1) parts.push(drawn('polyline', { class: `raw ${raw.length > DENSE ? 'dense' : ''} ${curve.class}`, points: raw.join(' ') }));
    }
    for (const curve of this.curves) {
      const line = within(curve.line).map(([step, value]) => `${x(step).toFixed(1)},${clip(value)}`);
      if (line.length === 1) {
        const [cx, cy] = line[0].split(',');
        parts.push(drawn('circle', { class: curve.class, cx, cy, r: 3 }));
      } else if (line.length) {
        parts.push(drawn('polyline', { class: `line ${curve.class} ${curve.dash ?? ''}`, points: line.join(' ') }));
      }
      if (curve.dots) for (const point of line) { const [cx, cy] = point.split(','); parts.push(drawn('circle', { class: curve.class, cx, cy, r: 2.5 })); }
    }
    if (this.from !== null && this.from !== undefined && this.cursor !== null) {
      const [one, other] = [x(this.from), x(this.cursor)].sort((a, b) => a - b);
      parts.push(drawn('rect', { class: 'chosen', x: one, y: MARGIN.top, width: other - one, height: bottom - MARGIN.top }));
    }
    if (this.cursor !== null) parts.push(drawn('line', { class: 'cursor', x1: x(this.cursor), x2: x(this.cursor), y1: MARGIN.top, y2: bottom }));
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.svg.setAttribute('height', height);
    this.svg.replaceChildren(...parts);
    this.#tell();
  }

  /** From lowest to highest of what is in view, but for the rarest raw values, which are drawn at the edge. */
  #heights() {
    const [first, last] = this.range;
    const lines = this.curves.flatMap((curve) => inside(curve.line, first, last).map(([, value]) => value));
    const raw = this.curves.flatMap((curve) => inside(curve.raw, first, last).flatMap(([, low, high]) => [low, high])).sort((a, b) => a - b);
    const values = [...lines, ...raw.slice(Math.floor(raw.length * 0.02), Math.ceil(raw.length * 0.98))];
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    if (low === Infinity) return [0, 1];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.05 || 0.5;
    return [low - room, high + room];
  }

  /** The values at the cursor, or the newest ones. */
  #tell() {
    const told = [];
    const at = this.cursor === null ? null : Math.round(this.cursor);
    const means = new Map(); // of arms, where there are too many replicates to tell each
    for (const curve of this.curves) {
      const points = inside(curve.line, ...this.range);
      const point = at === null ? points.at(-1) : points.reduce((best, own) => (best && Math.abs(best[0] - at) <= Math.abs(own[0] - at) ? best : own), null);
      if (!point) continue;
      if (this.curves.length > MOST_TOLD) {
        const own = means.get(curve.arm) ?? { curve, sum: 0, count: 0 };
        means.set(curve.arm, { curve, sum: own.sum + point[1], count: own.count + 1 });
      } else told.push(this.#value(curve, curve.name, point[1]));
    }
    for (const [arm, { curve, sum, count }] of means) told.push(this.#value(curve, `${arm}, mean of ${count}:`, sum / count));
    this.readout.replaceChildren(element('span', { class: 'note', text: `${at === null ? 'newest' : `step ${at.toLocaleString('en')}`}${this.smoothed}` }), ...told);
  }

  #value(curve, name, value) {
    return element('span', { class: 'value' }, element('i', { class: `sample-line ${curve.class} ${curve.dash}` }), `${name} ${value.toFixed(this.decimals)}`);
  }

  #step(event) {
    const box = this.svg.getBoundingClientRect();
    const [first, last] = this.range;
    const share = (event.clientX - box.left - MARGIN.left) / Math.max(1, box.width - MARGIN.left - MARGIN.right);
    return first + Math.min(1, Math.max(0, share)) * (last - first);
  }

  #move(event) { this.#read(this.#step(event)); }

  #read(step) {
    this.cursor = step;
    if (step === null) this.from = null;
    this.draw();
  }

  #release(event) {
    const to = this.#step(event), from = this.from;
    this.from = null;
    const [first, last] = this.range;
    if (from !== null && from !== undefined && Math.abs(to - from) > (last - first) * 0.03) this.zoomed([Math.min(from, to), Math.max(from, to)]);
    else this.draw();
  }

  #key(event) {
    const [first, last] = this.range;
    const middle = this.cursor ?? (first + last) / 2;
    const move = (last - first) * (event.shiftKey ? 0.1 : 0.01);
    if (event.key === 'ArrowLeft') this.#read(Math.max(first, middle - Math.max(1, move)));
    else if (event.key === 'ArrowRight') this.#read(Math.min(last, middle + Math.max(1, move)));
    else if (event.key === '+' || event.key === '=') this.zoomed([middle - (middle - first) / 2, middle + (last - middle) / 2]);
    else if (event.key === '-') this.zoomed([first - (last - first) / 2, last + (last - first) / 2]);
    else if (event.key === '0' || event.key === 'Escape') this.zoomed(null);
    else return;
    event.preventDefault();
  }
}

/** The points in view, and the nearest ones beside it. */
function inside(points, first, last) {
  let from = points.findIndex(([step]) => step >= first);
  if (from === -1) return [];
  let to = points.length;
  while (to > from && points[to - 1][0] > last) to -= 1;
  return points.slice(from, to);
}
