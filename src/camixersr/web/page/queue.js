// The list: uploads under way, which live here, and jobs, which live in the service.
import {again, remove, Refused, upload} from "./api.js";
import {action, values} from "./options.js";

const list = document.getElementById("list"), said = document.getElementById("said");
const template = document.getElementById("item");
const AT_ONCE = 3;  // uploads
const FILM = /\.(mkv|mp4|m4v|mov|webm|avi|mpe?g|m?ts|m2ts|wmv|flv|mxf|ogv|vob|3gp)$/i;
export const jobs = new Map();
const uploads = [], rows = new Map(), newest = (one, other) => other.created - one.created;
let open = () => {}, chosen = "";

export const say = (text) => said.replaceChildren(text);
export const whenOpened = (call) => { open = call; };
export const isOver = (job) => ["done", "failed", "cancelled"].includes(job.state);

const isFilm = (file) => file.type.startsWith("video/") || FILM.test(file.name);

export function time(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
export function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function row(key) {
  if (!rows.has(key)) {
    const made = template.content.firstElementChild.cloneNode(true);
    const [picture, name, what, bar, state, acts] = ["img", ".name", ".what", "progress", ".state", ".acts"]
      .map((each) => made.querySelector(each));
    rows.set(key, {made, picture, name, what, bar, state, acts, show: made.querySelector(".show"), drawn: ""});
  }
  return rows.get(key);
}

function button(sign, label, call) {
  const made = document.createElement("button");
  made.type = "button";
  made.title = made.ariaLabel = label;
  made.append(sign);
  made.addEventListener("click", call);
  return made;
}

function put(at, {kind, name, what, state, progress, acts, openable, label}) {
  at.made.className = `item ${kind}`;
  at.name.textContent = at.show.title = name;
  at.what.textContent = what;
  at.state.textContent = state;
  at.bar.hidden = progress === null;
  if (progress !== null) { at.bar.value = progress; at.bar.ariaLabel = `${name}: ${label}`; }
  at.show.disabled = !openable;
  at.show.ariaLabel = openable ? `View ${name}` : name;
  const signature = `${kind} ${acts.map((each) => each.title)}`;
  if (at.drawn !== signature) { at.acts.replaceChildren(...acts); at.drawn = signature; }
}

function described(job) {
  const {width, height, film} = job.picture, result = job.result;
  if (result) return `${width} × ${height} → ${result.width} × ${result.height}`;
  const length = film?.seconds ? time(film.seconds) : "";
  const options = Object.entries(job.options).map(([name, value]) => `${name.replaceAll("_", "-")} ${value}`);
  return [`${width} × ${height}`, length, job.action === "restore" ? "restore" : "", ...options].filter(Boolean).join(", ");
}

function told(job) {
  if (job.state === "queued") return job.position ? `Waits; ${job.position} before it` : "Waits";
  if (job.state === "running") {
    if (job.cancelling) return "Being cancelled";
    const {percent, frames, remaining_seconds: rest, remark} = job.progress;
    const done = frames?.total ? `Frame ${Math.min(frames.total, frames.done + 1)} of ${frames.total}` : `${Math.round(percent)} %`;
    return [done, rest === null ? remark : `about ${time(rest)} left`].filter(Boolean).join(", ");
  }
  if (job.state === "done") return `Done in ${time(job.finished - job.started)}, ${size(job.result.bytes)}`;
  return job.state === "failed" ? job.error : "Cancelled";
}

function drawJob(job) {
  const at = row(job.id);
  const refused = (error) => say(`${job.name}: ${error.message}`);
  const acts = [];
  if (!isOver(job)) {
    if (!job.cancelling) acts.push(button("✕", `Cancel ${job.name}`, () => remove(job.id).catch(refused)));
  } else {
    if (job.state === "done") {
      const link = document.createElement("a");
      link.className = "button";
      link.href = job.links.result;
      link.download = job.result.name;
      link.title = link.ariaLabel = `Download ${job.result.name}`;
      link.append("↓");
      acts.push(link);
    } else {
      acts.push(button("↻", `Try ${job.name} again`, () => again(job.id, job.action, job.options)
        .then(() => remove(job.id)).catch(refused)));
    }
    acts.push(button("✕", `Remove ${job.name}`, () => remove(job.id).catch(refused)));
  }
  put(at, {
    kind: job.state + (job.id === chosen ? " chosen" : ""), name: job.name, what: described(job), state: told(job),
    progress: job.state === "running" ? job.progress.percent : null, label: told(job), acts,
    openable: job.state === "done" && Boolean(job.views.result),
  });
  if (!at.picture.src) at.picture.src = job.links.thumbnail;
  at.show.onclick = () => open(job.id);
  return at.made;
}

function drawUpload(each) {
  const at = row(each.key);
  const acts = each.error ? [
    button("↻", `Send ${each.file.name} again`, () => { each.error = ""; each.state = "waits"; send(); }),
    button("✕", `Remove ${each.file.name}`, () => drop(each)),
  ] : [button("✕", `Cancel ${each.file.name}`, () => drop(each))];
  const sending = each.state === "sending";
  put(at, {
    kind: each.error ? "failed" : "queued", name: each.file.name, what: size(each.file.size), acts,
    state: each.error || (sending ? `Sending, ${Math.round(100 * each.share)} %` : "Waits to be sent"),
    progress: sending ? 100 * each.share : null, label: "sending", openable: false,
  });
  return at.made;
}

function drop(each) {
  uploads.splice(uploads.indexOf(each), 1);
  each.stop.abort();
  send();
}

let drawing = false;
export function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; drawNow(); });
}

function drawNow() {
  const all = [...jobs.values()];
  const under = all.filter((job) => !isOver(job)), over = all.filter(isOver).sort(newest);
  const made = [...under.map(drawJob), ...uploads.map(drawUpload), ...over.map(drawJob)];
  made.forEach((each, place) => {
    if (list.children[place] !== each) list.insertBefore(each, list.children[place] || null);
  });
  while (list.children.length > made.length) list.lastElementChild.remove();
  const known = new Set([...jobs.keys(), ...uploads.map((each) => each.key)]);
  for (const key of rows.keys()) if (!known.has(key)) rows.delete(key);
  const done = over.filter((job) => job.state === "done");
  document.body.classList.toggle("some", made.length > 0);
  document.getElementById("drop-title").textContent = made.length ? "Drop more" : "Drop pictures or films here";
  document.getElementById("empty").hidden = made.length > 0;
  document.getElementById("count").textContent = made.length ? `${done.length} of ${made.length} done` : "";
  document.getElementById("clear").hidden = over.length === 0;
  const zip = document.getElementById("zip");
  zip.hidden = done.length === 0;
  document.title = under.length ? `(${done.length}/${made.length}) camixersr` : "camixersr";
}

export function choose(id) { chosen = id; draw(); }

export function take(job) {
  const before = jobs.get(job.id);
  jobs.set(job.id, job);
  if (before && before.state !== job.state && isOver(job)) {
    say(`${job.name}: ${job.state === "done" ? "done" : told(job)}`);
  }
  draw();
}

export function takeAll(found) {
  jobs.clear();
  for (const job of found) jobs.set(job.id, job);
  draw();
}

export function forget(id) { jobs.delete(id); draw(); }

export function clear() {
  for (const job of jobs.values()) if (isOver(job)) remove(job.id).catch(() => {});
}

export function add(files) {
  const kind = action();
  for (const file of files) {
    const options = values(isFilm(file));
    uploads.push({
      key: crypto.randomUUID ? crypto.randomUUID() : String(Math.random()), file, options, kind, state: "waits", share: 0, error: "",
      stop: {abort() { this.onabort?.(); }},
    });
  }
  if (files.length) say(`${files.length} ${files.length === 1 ? "file is" : "files are"} sent`);
  send();
}

function send() {
  draw();
  const next = uploads.find((each) => each.state === "waits" && !each.error);
  if (!next || uploads.filter((each) => each.state === "sending").length >= AT_ONCE) return;
  next.state = "sending";
  upload(next.file, next.kind, next.options, (share) => { next.share = share; draw(); }, next.stop)
    .then((job) => { uploads.splice(uploads.indexOf(next), 1); if (!jobs.has(job.id)) take(job); })
    .catch((error) => {
      if (!(error instanceof Refused) || error.status === -1) return;
      next.state = "waits";
      if (error.status === 429 || error.status === 503) {  // its turn comes
        next.state = "later";
        setTimeout(() => { next.state = "waits"; send(); }, 1000 * Math.max(1, error.wait));
      } else { next.error = error.message; say(`${next.file.name}: ${error.message}`); }
    })
    .finally(send);
  send();
}
