// What every page needs: elements whose text is only ever text, and numbers as the report writes them.

/** An element with text; nothing in `text` is markup. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === 'text') made.textContent = value;
    else if (key === 'class') made.className = value;
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** An element of a drawing. */
export function drawn(name, attributes = {}, text = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== '') made.textContent = text;
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Text of an element, written only where it is another, so that screen readers are not told again. */
export function say(id, text) {
  const target = byId(id);
  if (target.textContent !== text) target.textContent = text;
}

/** `3.142`; a dash for what is not there. */
export const digits = (value, decimals) => (Number.isFinite(value) ? value.toFixed(decimals) : '–');

export function significant(value) {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const size = Math.floor(Math.log10(Math.abs(value)));
  return size >= 4 ? Math.round(value).toLocaleString('en') : value.toFixed(Math.max(0, 2 - size));
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

export function perStep(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  return seconds < 1 ? `${significant(1000 * seconds)} ms` : `${significant(seconds)} s`;
}

export function bytes(value) {
  if (!Number.isFinite(value)) return '–';
  return value >= 1e9 ? `${(value / 1e9).toFixed(2)} GB` : `${Math.round(value / 1e6)} MB`;
}

export function count(value) {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} G`;
  return value >= 1e6 ? `${(value / 1e6).toFixed(1)} M` : value.toLocaleString('en');
}

export function rate(value) {
  if (!Number.isFinite(value)) return '–';
  return value >= 0.01 ? String(Number(value.toPrecision(3))) : Number(value.toPrecision(3)).toExponential();
}

/** The class of an arm's colour: neutral for the baseline, else by its place among the others, as in the report. */
export function colour(arm, arms, baseline) {
  if (arm === baseline) return 'c-baseline';
  const others = arms.filter((name) => name !== baseline);
  return others.includes(arm) ? `c-arm-${others.indexOf(arm) % 6}` : 'c-muted';
}

export const WORDS = {
  'going on': 'going on', finished: 'finished', interrupted: 'saved and stopped',
  stopped: 'not going on', 'not begun': 'about to begin',
};
