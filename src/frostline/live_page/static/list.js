// The runs of a folder: how each stands, where its page and its report are, and which are compared.

import { WORDS, byId, element, say } from './common.js';

const EVERY = 3000, MOST = 4;
const chosen = new Set();

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch('/runs.json');
    if (!answer.ok) throw new Error();
    draw(await answer.json());
    say('connection', '');
  } catch {
    say('connection', 'Nothing answers any more: has the command in the terminal ended? This is what there was.');
  }
}

function draw({ folder, runs }) {
  say('title', folder);
  document.title = `${folder} · Frostline`;
  byId('none').hidden = runs.length > 0;
  const list = byId('runs');
  const focused = document.activeElement?.id;
  list.replaceChildren(...runs.map(row));
  if (focused) document.getElementById(focused)?.focus();
  byId('compare').hidden = runs.length < 2;
  tell();
}

function row(run) {
  const path = `/runs/${encodeURIComponent(run.name)}`;
  const box = element('input', { type: 'checkbox', id: `choose ${run.name}`, 'aria-label': `compare ${run.shown}` });
  box.checked = chosen.has(run.name);
  box.addEventListener('change', () => { if (box.checked) chosen.add(run.name); else chosen.delete(run.name); tell(); });
  const links = [element('a', { href: path, id: `open ${run.name}`, class: 'open', text: run.shown })];
  if (run.report) links.push(element('a', { href: `${path}/report`, id: `report ${run.name}`, text: 'report' }));
  const changed = run.changed ? run.changed.replace('T', ' ').replace('+00:00', ' UTC') : '';
  return element('li', {}, box, element('span', { class: 'names' }, ...links),
    element('span', { class: `pill ${run.status.replace(' ', '-')}`, text: WORDS[run.status] ?? run.status }),
    element('span', { class: 'note', text: run.now || changed }));
}

function tell() {
  byId('compare').disabled = chosen.size < 2 || chosen.size > MOST;
  say('told', chosen.size > MOST ? `Up to ${MOST} runs.` : chosen.size < 2 ? 'Tick two to four runs to compare them.' : '');
}

byId('compare').addEventListener('click', () => {
  location.assign(`/compare?${[...chosen].map((name) => `run=${encodeURIComponent(name)}`).join('&')}`);
});
document.addEventListener('visibilitychange', look);
setInterval(look, EVERY);
look();
