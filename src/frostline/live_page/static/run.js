// One run, or several side by side: what the server says of each, kept as it comes, and drawn.

import { Chart } from './chart.js';
import { WORDS, byId, bytes, colour, count, digits, drawn, duration, element, perStep, rate, say } from './common.js';

const ALL = 'all', NEWEST = 'newest', HIDDEN_SECONDS = 20;
const compared = location.pathname === '/compare';
const names = compared
  ? new URLSearchParams(location.search).getAll('run').slice(0, 4)
  : [decodeURIComponent(location.pathname.split('/')[2])];
const shownArms = new Map(); // whether each is switched on
let view = null; // the steps that are zoomed to; null shows all
let due = false;

/** What is known of one run. */
class Run {
  constructor(name) {
    this.path = `/runs/${encodeURIComponent(name)}`;
    this.newest = '';
    this.fine = new Map(); // curves read again for a zoom
    this.clear();
    this.follow();
    document.addEventListener('visibilitychange', () => this.#seen());
  }

  clear() {
    this.run = null;
    this.variants = [];
    this.messages = [];
    this.arms = new Map();
    this.plans = new Map();
    this.texts = new Map();
    this.series = new Map();
  }

  follow() {
    if (this.source || this.over) return;
    this.source = new EventSource(`${this.path}/events${this.newest ? `?after=${encodeURIComponent(this.newest)}` : ''}`);
    this.source.addEventListener('open', () => say('connection', ''));
    this.source.addEventListener('message', (event) => {
      this.newest = event.lastEventId || this.newest;
      this.take(JSON.parse(event.data));
    });
    this.source.addEventListener('end', () => this.leave('The page’s server has ended. This is what there was; ‘frostline watch’ shows it again.'));
    this.source.addEventListener('error', () => {
      if (this.source?.readyState === EventSource.CLOSED) this.leave('The connection was refused: open the address that the terminal shows.');
      else say('connection', 'The connection is lost; trying again.');
    });
  }

  leave(why) {
    this.source?.close();
    this.source = null;
    this.over = true;
    if (why) say('connection', why);
    soon();
  }

  /** A page that nobody sees takes none of the few connections that a browser has. */
  #seen() {
    clearTimeout(this.timer);
    if (!document.hidden) this.follow();
    else this.timer = setTimeout(() => { this.source?.close(); this.source = null; }, 1000 * HIDDEN_SECONDS);
  }

  take({ whole, parts, series }) {
    if (whole) this.clear();
    for (const [name, value] of Object.entries(parts)) {
      const kind = name.split(' ', 1)[0];
      if (kind === 'run') this.run = value;
      else if (kind === 'variants') this.variants = value;
      else if (kind === 'messages') this.messages = value;
      else if (kind === 'samples') this.texts.set(name, value);
      else if (kind === 'plan') this.plans.set(key(value), value.grid);
      else if (kind === 'arm') this.arms.set(key(value), value);
    }
    for (const own of series) {
      const name = `${own.kind} ${key(own)}`;
      const kept = own.first ? this.series.get(name).points.slice(0, own.first) : [];
      this.series.set(name, { stride: own.stride, points: kept.concat(own.points) });
    }
    if (this.run?.status === 'finished' && !this.run.reading) this.leave('');
    soon();
  }

  /** A curve as fine as there is one for the steps in view. */
  curve(kind, variant, seed, arm) {
    const known = this.series.get(`${kind} ${key({ variant, seed, arm })}`);
    if (!known || known.stride === 1 || !view) return known;
    const asked = `${kind} ${variant} ${seed} ${view}`;
    if (!this.fine.has(asked)) {
      if (this.fine.size > 60) this.fine.clear();
      this.fine.set(asked, null);
      const query = new URLSearchParams({ kind, variant, seed, first: Math.floor(view[0]), last: Math.ceil(view[1]) });
      fetch(`${this.path}/zoom?${query}`).then((answer) => answer.json()).then((found) => { this.fine.set(asked, found.series); soon(); }, () => {});
    }
    return this.fine.get(asked)?.[arm] ?? known;
  }
}

const key = ({ variant, seed, arm }) => JSON.stringify([variant, seed, arm]);
const runs = names.map((name) => new Run(name));

const charts = {
  loss: new Chart(byId('charts'), { title: 'Training loss', note: 'nats a token', decimals: 3, zoomed: zoom }),
  minus: new Chart(byId('charts'), { title: 'Minus the baseline', note: 'same batches, nats', decimals: 4, zoomed: zoom }),
  held_out: new Chart(byId('charts'), { title: 'Held-out loss', note: 'nats a token', decimals: 3, zoomed: zoom }),
  seconds: new Chart(byId('charts'), { title: 'Pace', note: 'seconds a step', decimals: 3, zoomed: zoom }),
};

function zoom(wanted) {
  const last = lastStep();
  view = wanted && [Math.max(0, wanted[0]), Math.min(last, Math.max(wanted[1], wanted[0] + 2))];
  if (view && view[0] <= 0 && view[1] >= last) view = null;
  draw();
}

/** The last step that is drawn: of all, or, while the first half of them is taken, a little beyond what there is. */
function lastStep() {
  const known = runs.filter((own) => own.run);
  const all = Math.max(1, ...known.map((own) => own.run.steps));
  const taken = Math.max(1, ...known.flatMap((own) => {
    const { variant, seeds } = chosenOf(own);
    return [...own.arms.values()].filter((arm) => arm.variant === variant && seeds.includes(arm.seed)).map((arm) => arm.steps);
  }));
  return taken > all / 2 ? all : Math.min(all, Math.max(4, Math.ceil(taken * 1.15)));
}

/** At most a few drawings a second, however much comes. */
function soon() {
  if (due) return;
  due = true;
  setTimeout(() => { due = false; draw(); }, 150);
}

function draw() {
  const known = runs.filter((own) => own.run);
  if (!known.length) return;
  drawHead(known);
  drawControls(known);
  drawCharts(known);
  if (!compared) drawRest(known[0]);
}

function drawHead(known) {
  if (compared) {
    say('name', known.map((own) => own.run.folder).join(' and '));
    say('kicker', 'Frostline · compared');
    for (const part of document.querySelectorAll('.standing, .actions, .facts')) part.hidden = true;
    document.title = 'Compared · Frostline';
    return;
  }
  const { run } = known[0];
  say('name', run.name);
  say('kicker', run.status === 'going on' ? 'Frostline · live page' : 'Frostline');
  say('question', run.question);
  document.title = `${run.status === 'going on' && run.steps_done[1] ? `${Math.floor(100 * run.steps_done[0] / run.steps_done[1])} % · ` : ''}${run.name} · Frostline`;
  const status = byId('status');
  status.className = `pill ${run.status.replace(' ', '-')}`;
  say('status', WORDS[run.status] ?? run.status);
  say('now', run.reading ? 'reading the journal' : run.now);
  if (run.trouble) say('connection', run.trouble);
  const progress = byId('progress');
  progress.hidden = !run.steps_done[1];
  progress.value = run.steps_done[1] ? run.steps_done[0] / run.steps_done[1] : 0;
  drawFacts(known[0]);
  const report = byId('report');
  report.hidden = !(run.report && run.status !== 'going on');
  if (!report.hasAttribute('href')) report.href = `${known[0].path}/report`;
  if (!stopping) byId('stop').hidden = !run.stops;
  if (!run.stops) { byId('stop').hidden = byId('keep').hidden = true; if (asked) say('told', `It goes on with: frostline resume, and the folder of ${run.folder}.`); }
}

function drawFacts({ run, variants }) {
  const going = run.status === 'going on';
  const peaks = Object.entries(run.peaks).map(([arm, value]) => `${arm} ${bytes(value)}`).join(', ');
  const facts = [
    ['steps', `${count(run.steps_done[0])} of ${count(run.steps_done[1])}`, 'all arms and replicates'],
    going && ['time left', run.seconds_left === null ? 'not known yet' : `about ${duration(run.seconds_left)}`, 'with all that follows'],
    !going && run.took !== null && ['took', duration(run.took), ''],
    ['replicates', `${run.replicates[0]} of ${run.replicates[1]} done`, ''],
    going && run.memory && ['memory now', bytes(run.memory), 'the run’s process'],
    peaks && ['memory of each arm', peaks, 'alone, at most'],
    variants.length && ['model', variants[0].model, `${variants[0].layers} layers, ${variants[0].precision} on ${variants[0].device}`],
    variants.length && ['corpus', variants[0].corpus, ''],
    run.began && ['began', run.began.replace('T', ' ').replace('+00:00', ' UTC'), ''],
  ].filter(Boolean);
  byId('facts').replaceChildren(...facts.map(([name, value, note]) =>
    element('div', {}, element('dt', { text: name }), element('dd', { text: value }, ...(note ? [element('span', { class: 'note', text: note })] : [])))));
}

/** Options of a choice, of which the chosen one stays. */
function offer(id, options) {
  const select = byId(id), before = select.value;
  const wanted = options.map(([value, text]) => `${value}\n${text}`).join('\n');
  if (select.dataset.options === wanted) return;
  select.dataset.options = wanted;
  select.replaceChildren(...options.map(([value, text]) => element('option', { value, text })));
  if (options.some(([value]) => value === before)) select.value = before;
}

function drawControls(known) {
  const seeds = [...new Set(known.flatMap((own) => own.run.seeds))];
  const variants = [...new Set(known.flatMap((own) => own.variants.map((one) => one.variant)))];
  offer('replicate', [...(compared ? [] : [[NEWEST, 'the newest']]), ...seeds.map((seed) => [String(seed), `seed ${seed}`]), ...(seeds.length > 1 ? [[ALL, 'all of them']] : [])]);
  offer('variant', variants.map((variant) => [variant, variant || 'the run']));
  byId('variant-label').hidden = variants.length < 2;
  byId('controls').hidden = !known.some((own) => own.arms.size);
  byId('whole').hidden = view === null;
  const arms = [...new Set(known.flatMap((own) => own.run.arms))];
  const toggles = byId('toggles');
  if (toggles.dataset.arms !== arms.join('\n')) {
    toggles.dataset.arms = arms.join('\n');
    toggles.replaceChildren(...arms.map((arm) => {
      const button = element('button', { type: 'button', class: 'toggle', 'aria-pressed': 'true' },
        element('i', { class: `swatch ${colour(arm, arms, known[0].run.baseline)}` }), arm);
      button.addEventListener('click', () => {
        shownArms.set(arm, shownArms.get(arm) === false);
        button.setAttribute('aria-pressed', String(shownArms.get(arm)));
        draw();
      });
      return button;
    }));
  }
}

/** The variant and the seeds that are shown of a run. */
function chosenOf(own) {
  const variants = own.variants.map((one) => one.variant);
  const wanted = byId('variant').value;
  const variant = variants.includes(wanted) ? wanted : variants.at(-1) ?? '';
  const begun = [...own.arms.values()].filter((arm) => arm.variant === variant).map((arm) => arm.seed);
  const replicate = byId('replicate').value;
  if (replicate === ALL) return { variant, seeds: own.run.seeds.filter((seed) => begun.includes(seed)), all: true };
  const newest = own.run.seeds.filter((seed) => begun.includes(seed)).at(-1);
  const seed = replicate === NEWEST || replicate === '' ? newest : Number(replicate);
  return { variant, seeds: seed === undefined ? [] : [seed], all: false };
}

function drawCharts(known) {
  const range = view ?? [0, lastStep()];
  const smoothing = Number(byId('smoothing').value);
  const found = { loss: [], minus: [], held_out: [], seconds: [] };
  known.forEach((own, index) => {
    const { variant, seeds, all } = chosenOf(own);
    const { arms, baseline } = own.run;
    for (const seed of seeds) {
      for (const arm of arms) {
        if (shownArms.get(arm) === false) continue;
        const who = [compared ? own.run.folder : '', arm, all ? `seed ${seed}` : ''].filter(Boolean).join(' · ');
        const like = { name: who, arm: compared ? `${own.run.folder} · ${arm}` : arm, class: colour(arm, arms, baseline), dash: `dash-${index}${all ? ' thin' : ''}` };
        const loss = own.curve('loss', variant, seed, arm), base = own.curve('loss', variant, seed, baseline);
        const window = smoothing && Math.max(3, smoothing * (range[1] - range[0]));
        if (loss) found.loss.push(curve(like, loss, window, !all && !compared));
        if (loss && base && arm !== baseline) found.minus.push(curve(like, difference(loss, base), window, false));
        const heldOut = own.curve('held_out', variant, seed, arm), seconds = own.curve('seconds', variant, seed, arm);
        if (heldOut) found.held_out.push({ ...curve(like, heldOut, 0, false), dots: heldOut.points.length < 40 });
        if (seconds) found.seconds.push(curve(like, seconds, window, false));
      }
    }
  });
  for (const [name, chart] of Object.entries(charts)) chart.show(found[name], range, smoothing > 0 && name !== 'held_out');
}

function curve(like, { points, stride }, window, raw) {
  const half = window / 2;
  const centre = (point) => point[0] + (Math.min(stride, point[4]) - 1) / 2;
  const means = points.map((point) => [centre(point), point[3], point[4]]);
  return { ...like, raw: raw && window ? points.map((point) => [centre(point), point[1], point[2]]) : [], line: smooth(means, half) };
}

/** The mean over the steps around each point, by a window that slides. */
function smooth(means, half) {
  if (!half) return means.map(([step, mean]) => [step, mean]);
  const line = [];
  let from = 0, to = 0, sum = 0, weight = 0;
  for (const [step] of means) {
    while (to < means.length && means[to][0] <= step + half) { sum += means[to][1] * means[to][2]; weight += means[to][2]; to += 1; }
    while (means[from][0] < step - half) { sum -= means[from][1] * means[from][2]; weight -= means[from][2]; from += 1; }
    line.push([step, sum / weight]);
  }
  return line;
}

/** One series minus another, over the steps that both have; the finer one in the steps of the other. */
function difference(one, other) {
  const stride = Math.max(one.stride, other.stride);
  const base = wider(other, stride);
  const points = [];
  for (const [step, [sum, number]] of wider(one, stride)) {
    const own = base.get(step);
    if (own && own[1] === number) { const mean = sum / number - own[0] / number; points.push([step, mean, mean, mean, number]); }
  }
  return { stride, points };
}

function wider({ points }, stride) {
  const found = new Map();
  for (const [step, , , mean, number] of points) {
    const index = Math.floor(step / stride) * stride;
    const [sum, before] = found.get(index) ?? [0, 0];
    found.set(index, [sum + mean * number, before + number]);
  }
  return found;
}

function drawRest(own) {
  const { run } = own, { variant, seeds } = chosenOf(own);
  const seed = seeds.at(-1);
  const cards = run.arms.map((arm) => card(own, arm, own.arms.get(key({ variant, seed, arm })), own.plans.get(key({ variant, seed, arm }))));
  byId('arms-section').hidden = !own.arms.size;
  byId('arms').replaceChildren(...cards);
  drawTexts(own, variant);
  byId('messages-section').hidden = !own.messages.length;
  const newest = [...own.messages].reverse();
  byId('messages').replaceChildren(...newest.map(({ text, tone }) => element('li', { class: tone, text })));
}

function card(own, arm, known, grid) {
  const { arms, baseline } = own.run;
  const title = element('h3', {}, element('i', { class: `swatch ${colour(arm, arms, baseline)}` }), arm, ...(arm === baseline ? [element('span', { class: 'note', text: ' baseline' })] : []));
  const made = element('section', { class: `card ${colour(arm, arms, baseline)}`, 'aria-label': `arm ${arm}` }, title);
  if (!known) {
    made.append(element('p', { class: 'note', text: 'has not begun in this replicate' }));
    return made;
  }
  made.append(element('p', { class: 'plan', text: known.plan }));
  if (grid) made.append(planOf(grid, arm));
  const share = known.parameters ? ` (${digits(100 * known.trained / known.parameters, 1)} %)` : '';
  const status = known.status === 'training' ? '' : known.reused ? 'taken from an earlier run' : known.status;
  const facts = [
    ['steps', `${count(known.steps)}${known.steps_in_all ? ` of ${count(known.steps_in_all)}` : ''}`, status],
    ['trains', count(known.trained) + share, ''],
    ['loss, last step', digits(known.loss, 3), ''],
    ['held-out loss', digits(known.held_out, 3), ''],
    ['pace', known.seconds_per_step === null ? '–' : `${perStep(known.seconds_per_step)} a step`, known.tokens_per_second ? `${count(known.tokens_per_second)} tokens/s` : ''],
    ['learning rate', rate(known.rate), ''],
  ];
  made.append(element('dl', {}, ...facts.map(([name, value, note]) => element('div', {}, element('dt', { text: name }),
    element('dd', { text: value }, ...(note ? [element('span', { class: 'note', text: note })] : []))))));
  return made;
}

/** Layers upwards, roles side by side: what trains is filled. */
function planOf({ columns, layers, rows, patterns }, arm) {
  const width = 31, left = 46, top = 14, edge = 9, gap = 3;
  const each = Math.max(2, Math.min(12, 110 / layers));
  const height = top + 2 * (edge + gap) + each * layers + 2;
  const y = (layer) => (layer === layers ? top : layer < 0 ? height - edge - 1 : top + edge + gap + each * (layers - 1 - layer));
  const svg = drawn('svg', { class: 'grid-plan', viewBox: `0 0 ${left + columns.length * width} ${height}`, role: 'img', 'aria-label': `what trains in arm ${arm}` });
  columns.forEach((name, index) => svg.append(drawn('text', { class: 'tick', x: left + (index + 0.5) * width, y: 9, 'text-anchor': 'middle' }, name)));
  for (const { first, last, cells } of rows) {
    const size = first < 0 || first === layers ? edge : each * (last - first + 1);
    const label = first < 0 ? 'embed' : first === layers ? 'head' : first === last ? `${first}` : `${first}–${last}`;
    svg.append(drawn('text', { class: 'tick', x: left - 6, y: y(last) + Math.min(size / 2 + 3.5, size + 2), 'text-anchor': 'end' }, label));
    [...cells].forEach((sign, index) => {
      if (sign !== '-') svg.append(drawn('rect', { class: `cell cell-${sign}`, x: left + index * width + 2, y: y(last), width: width - 4, height: Math.max(1, size - (size > 4 ? 1 : 0)) }));
    });
  }
  const box = element('div', { class: 'drawn-plan' }, svg);
  if (patterns.length) box.append(element('p', { class: 'note', text: `and what matches ${patterns.join(', ')}` }));
  return box;
}

function drawTexts(own, variant) {
  const found = [...own.texts.values()].flat().filter((text) => text.variant === variant);
  byId('samples-section').hidden = !found.length;
  if (!found.length) return;
  const arms = ['', ...own.run.arms];
  const stamp = JSON.stringify(found);
  const box = byId('samples');
  if (box.dataset.stamp === stamp) return;
  box.dataset.stamp = stamp;
  say('samples-note', 'The same prompt and the same dice for all; of each arm its newest replicate.');
  const prompts = [...new Map(found.map((text) => [text.index, text.prompt])).entries()].sort(([one], [other]) => one - other);
  box.replaceChildren(...prompts.map(([index, prompt], place) => {
    const columns = arms.flatMap((arm) => found.filter((text) => text.index === index && text.arm === arm)).map((text) =>
      element('div', {}, element('h3', {}, element('i', { class: `swatch ${text.arm ? colour(text.arm, own.run.arms, own.run.baseline) : 'c-muted'}` }), `${text.arm || 'before training'}, seed ${text.seed}`),
        element('div', { class: 'sample', text: text.text })));
    const title = element('summary', {}, element('span', { class: 'note', text: 'prompt ' }), prompt);
    return element('details', place < 2 ? { open: '' } : {}, title, element('div', { class: 'columns' }, ...columns));
  }));
}

let stopping = false, asked = false;
byId('stop').addEventListener('click', async () => {
  if (!stopping) {
    stopping = true;
    say('stop', 'Yes, save and stop');
    byId('keep').hidden = false;
    return;
  }
  const answer = await fetch(`${runs[0].path}/stop`, { method: 'POST' }).catch(() => null);
  keepGoing();
  if (answer?.ok) {
    asked = true;
    byId('stop').disabled = true;
    say('told', 'It takes this step to its end, saves, and stops.');
  } else say('told', 'It could not be asked to stop: it may have ended by itself.');
});
byId('keep').addEventListener('click', keepGoing);

function keepGoing() {
  stopping = false;
  say('stop', 'Stop after this step');
  byId('keep').hidden = true;
}

fetch('/runs.json').then((answer) => answer.json()).then(({ single }) => { byId('all').hidden = single; }, () => {});
byId('whole').addEventListener('click', () => zoom(null));
for (const id of ['variant', 'replicate', 'smoothing']) byId(id).addEventListener('change', draw);
