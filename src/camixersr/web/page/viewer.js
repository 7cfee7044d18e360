// The viewer: what is shown of a job, against what, and how.
import {again} from "./api.js";
import {action, values} from "./options.js";
import {choose, isOver, jobs, say, time} from "./queue.js";
import {Sphere} from "./sphere.js";
import {Zoom, tiles} from "./zoom.js";

const find = (id) => document.getElementById(id);
const stage = find("stage"), frame = find("frame"), slider = find("slider"), split = find("split");
const against = find("against"), globe = find("globe"), panes = [find("pane-one"), find("pane-two")];
const film = find("film");
const shown = {id: "", map: false, round: false, playing: false};

const zoomed = (ratio) => { find("zoom").textContent = `${ratio < 0.1 ? (100 * ratio).toFixed(1) : Math.round(100 * ratio)} %`; };
const zoom = new Zoom(...panes, (ratio) => { if (!shown.round) zoomed(ratio); });
let sphere = null;

const job = () => jobs.get(shown.id);
const mode = () => document.querySelector("input[name=mode]:checked").value;
const current = () => shown.round ? sphere : zoom;

function title(each) {
  const ratio = each.facts.attention_ratio, {width, height} = each.result;
  if (each.picture.film) return `a frame, ${Math.round(100 * each.facts.attention_share)} % attended, ${width} × ${height}`;
  const model = each.facts.model_size ? `${each.facts.model}, attention ${Math.round(100 * ratio)} %` : "interpolated";
  return `${model}, ${width} × ${height}`;
}

function listAgainst() {
  const own = job(), before = against.value;
  const entries = own.views.input ? [["bicubic", own.action === "restore" ? "the picture as it was" : "bicubic interpolation"],
    ["pixels", own.picture.film ? "the film's own pixels" : "the picture's own pixels"]] : [];
  const part = ({facts}) => `${facts.first} ${facts.frames}`;  // other parts of a film have other frames in their middle
  for (const other of jobs.values()) {
    if (other.id !== own.id && other.views.result && other.picture.sha256 === own.picture.sha256 && part(other) === part(own)) {
      entries.push([other.id, title(other)]);
    }
  }
  entries.push(["", "nothing"]);
  const signature = entries.map((each) => each.join()).join(";");
  if (against.dataset.entries === signature) return;
  against.dataset.entries = signature;
  against.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  against.value = entries.some(([value]) => value === before) && before ? before : entries[0][0];
}

function sources() {
  const own = job(), value = against.value, other = jobs.get(value);
  const after = {job: own, layer: "result", view: own.views.result};
  const before = other ? {job: other, layer: "result", view: other.views.result}
    : value ? {job: own, layer: value, view: own.views.result} : null;
  for (const each of [after, before]) if (each) each.source = tiles(each.job, each.layer, each.view);
  return [after, before];
}

function play() {
  const own = job(), on = Boolean(own?.picture.film) && shown.playing;
  find("play").ariaPressed = String(on);
  if (on && !film.src) { film.src = own.links.result; film.play().catch(() => {}); }
  if (!on) { film.pause(); film.removeAttribute("src"); film.load(); }
  film.hidden = !on;
  find("unplayable").hidden = true;
  find("map").hidden = Boolean(own?.picture.film);
  find("against").disabled = on;
  for (const each of document.querySelectorAll(".zooms button")) each.disabled = on;
}

async function show(keepPlace = false) {
  const own = job();
  if (!own) return;
  play();
  if (shown.playing) {
    zoom.close();
    for (const each of [globe, ...panes, split, find("slider-label"), find("tag-left"), find("tag-right")]) each.hidden = true;
    find("modes").disabled = true;
    return;
  }
  const [after, before] = sources(), beside = mode() === "beside" && before && !shown.round;
  globe.hidden = !shown.round;
  panes[0].hidden = shown.round;
  if (shown.round) panes[1].hidden = true;
  split.hidden = find("slider-label").hidden = !before || Boolean(beside);
  find("modes").disabled = !before || shown.round;
  find("tag-left").hidden = !before;
  find("tag-left").textContent = against.selectedOptions[0]?.text || "";
  find("tag-right").hidden = false;
  find("tag-right").textContent = title(own);
  find("map").disabled = !own.views.routes || shown.round;
  find("full").disabled = shown.round;
  slide();
  try {
    if (shown.round) { zoom.close(); await sphere.show(after, before, keepPlace); }
    else { await zoom.show(after, before, beside, keepPlace); await map(); }
  } catch (error) {
    say(`${own.name} cannot be shown: ${error.message}`);
  }
}

async function map() {
  const own = job(), on = shown.map && own.views.routes && !shown.round;
  find("map").ariaPressed = String(Boolean(shown.map && own.views.routes));
  find("legend").hidden = !on;
  if (shown.round) return;
  const {routes} = own.views;
  await zoom.map(on ? {url: own.links.route_layer, width: routes.width} : null, Number(find("strength").value));
  zoom.strength(Number(find("strength").value));  // it may have changed meanwhile
}

function slide() {
  split.style.left = `${slider.value}%`;
  zoom.slide(slider.value / 100);
  if (shown.round) sphere.slide(slider.value / 100);
}

function row(name, value) {
  const made = document.createElement("div"), term = document.createElement("dt"), text = document.createElement("dd");
  term.textContent = name;
  text.textContent = value;
  made.append(term, text);
  return made;
}

function describe() {
  const own = job(), {facts} = own;
  find("shown-name").textContent = own.result.name;
  const download = find("download");
  download.href = own.links.result;
  download.download = own.result.name;
  const file = find("map-file");
  file.hidden = !own.links.route_map;
  if (own.links.route_map) { file.href = own.links.route_map; file.download = `${own.name} route map.png`; }
  const share = `${Math.round(100 * facts.attention_share)} %`;
  find("share").textContent = `${share} of windows attended`;
  const rows = own.picture.film ? [
    row("Film", `${own.picture.width} × ${own.picture.height}, ${own.picture.film.codec}`),
    row("Result", `${own.result.width} × ${own.result.height}, ${facts.encoding.codec}, ${facts.frames} frames`),
    row("Windows attended", share),
  ] : [
    row("Picture", `${own.picture.width} × ${own.picture.height}`),
    row("Result", `${own.result.width} × ${own.result.height}`),
    row("Model", facts.model_size ? facts.model : "none: interpolated"),
    ...(facts.model_size ? [row("Windows attended", share)] : []),
  ];
  find("facts").replaceChildren(...rows, row("Took", time(own.finished - own.started)));
  const kept = own.picture.film ? "Everything was kept that the film carries: sound, subtitles, chapters, the time of every frame."
    : "Everything was kept that the picture carries: profile, metadata, depth.";
  const notes = own.notes.length ? own.notes : [kept];
  find("notes").replaceChildren(...notes.map((note) => {
    const made = document.createElement("li");
    made.textContent = note;
    made.classList.toggle("kept", !own.notes.length);
    return made;
  }));
}

export function openJob(id, focus = true) {
  const own = jobs.get(id);
  if (!own?.views.result) return close();
  const another = shown.id !== id;
  shown.id = id;
  find("welcome").hidden = true;
  stage.hidden = false;
  choose(id);
  listAgainst();
  describe();
  if (!another) return undefined;
  shown.playing = false;
  find("play").hidden = !own.picture.film;
  const round = Boolean(own.facts.sphere) && !own.facts.part;
  if (round && !sphere) sphere = new Sphere(globe, (ratio) => { if (shown.round) zoomed(ratio); });
  find("sphere").hidden = !round || !sphere.works;
  shown.round = round && sphere.works;
  find("sphere").ariaPressed = String(shown.round);
  if (focus) find("shown-name").focus({preventScroll: true});
  return show();
}

export function close() {
  if (!shown.id) return;
  shown.id = "";
  shown.playing = false;
  play();
  zoom.close();
  stage.hidden = true;
  find("welcome").hidden = false;
  choose("");
}

export function refresh() {
  if (!shown.id) return;
  const own = job();
  if (!own || !isOver(own)) { location.hash = ""; return; }
  const before = against.value;
  listAgainst();
  if (against.value !== before) show(true);
}

export function start() {
  slider.addEventListener("input", slide);
  against.addEventListener("change", () => show(true));
  find("modes").addEventListener("change", () => show(true));
  find("strength").addEventListener("input", (event) => zoom.strength(Number(event.target.value)));
  const toggleMap = () => { if (!find("map").disabled) { shown.map = !shown.map; map(); } };
  const toggleRound = () => {
    if (find("sphere").hidden) return;
    shown.round = !shown.round;
    find("sphere").ariaPressed = String(shown.round);
    find("legend").hidden = true;
    show();
  };
  const calls = {
    map: toggleMap, sphere: toggleRound, in: () => current().magnify(1.5), out: () => current().magnify(1 / 1.5),
    fit: () => current().fit(), full: () => zoom.full(), back: () => { location.hash = ""; },
    play: () => { shown.playing = !shown.playing; show(true); },
    again: () => again(shown.id, action(), values(Boolean(job().picture.film))).then(() => say("It is done again; see the list."))
      .catch((error) => say(error.message)),
  };
  for (const [id, call] of Object.entries(calls)) find(id).addEventListener("click", call);
  film.addEventListener("error", () => { if (film.hasAttribute("src")) { film.hidden = true; find("unplayable").hidden = false; } });
  const by = (amount) => { slider.value = Number(slider.value) + amount; slide(); };
  const keys = {
    "+": calls.in, "=": calls.in, "-": calls.out, "0": calls.fit, "1": calls.full, r: toggleMap, s: toggleRound,
    p: () => { if (!find("play").hidden) calls.play(); },
    ",": () => by(-2), ".": () => by(2), ArrowLeft: () => current().pan(-60, 0), ArrowRight: () => current().pan(60, 0),
    ArrowUp: () => current().pan(0, -60), ArrowDown: () => current().pan(0, 60),
  };
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { location.hash = ""; return; }
    const inside = [...panes, globe].includes(event.target);
    if (shown.playing && event.key !== "p") return;  // the film has its own keys
    const typing = event.target.matches("input, select");
    if (typing || (event.key.startsWith("Arrow") && !inside) || !keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
  });
  split.addEventListener("pointerdown", (event) => {
    split.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  split.addEventListener("pointermove", (event) => {
    if (!split.hasPointerCapture(event.pointerId)) return;
    const box = frame.getBoundingClientRect();
    slider.value = 100 * (event.clientX - box.left) / box.width;
    slide();
  });
}
