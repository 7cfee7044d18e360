// The page's beginning: what is dropped or chosen goes into the queue, what the service tells is drawn.
import {ask, enter, listen} from "./api.js";
import {show as showOptions} from "./options.js";
import {add, clear, forget, say, take, takeAll, whenOpened} from "./queue.js";
import {close, openJob, refresh, start as startViewer} from "./viewer.js";

const find = (id) => document.getElementById(id);
const KNOWN = /\.(png|jpe?g|webp|tiff?|avif|gif|bmp|hei[cf]|p[gpn]m|tga|jp2|dng|cr[23]|nef|arw|orf|rw2|raf|mkv|mp4|m4v|mov|webm|avi|mpe?g|m?ts|m2ts|wmv|flv)$/i;

function route(focus = true) {
  const id = new URLSearchParams(location.hash.slice(1)).get("job");
  if (id) openJob(id, focus); else close();
}

function told(isUp) {
  find("line").classList.toggle("up", isUp);
  find("line-text").textContent = isUp ? "Connected" : "Reconnecting";
}

async function askForToken(wrong = false) {
  find("enter-wrong").textContent = wrong ? "That is not a token of this service." : "";
  if (!find("enter").open) find("enter").showModal();
}

async function begin() {
  let options = [], films = [], models = [];
  try {
    [{options, film_options: films}, {models}] = await Promise.all([ask("/options"), ask("/models")]);
    for (let tries = 0; !models.length && tries < 120; tries += 1) {
      find("line-text").textContent = "Loading the models";
      await new Promise((done) => { setTimeout(done, 500); });
      ({models} = await ask("/models"));
    }
  } catch (error) {
    if (error.status === 401) { askForToken(); return; }
    find("line-text").textContent = "The service cannot be reached";
    setTimeout(begin, 2000);
    return;
  }
  showOptions(options, films, models);
  listen({
    jobs: (found) => { takeAll(found); route(false); refresh(); },
    job: (job) => { take(job); refresh(); },
    gone: (id) => { forget(id); refresh(); },
    up: told,
    locked: askForToken,
  });
}

async function within(entry) {
  if (entry.isFile) {
    return KNOWN.test(entry.name) ? [await new Promise((resolve, reject) => { entry.file(resolve, reject); })] : [];
  }
  const reader = entry.createReader(), found = [];
  for (;;) {  // a hundred at a time
    const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!some.length) break;
    found.push(...some);
  }
  found.sort((one, other) => one.name.localeCompare(other.name));
  return (await Promise.all(found.filter((each) => !each.name.startsWith(".")).map(within))).flat();
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((each) => each.webkitGetAsEntry?.()).filter(Boolean);
  const folders = entries.some((each) => each.isDirectory), named = [...transfer.files];
  const files = folders ? (await Promise.all(entries.map(within))).flat() : named;
  if (!files.length) say("There is no picture or film in what was dropped.");
  add(files);
}

for (const [button, input] of [["choose", "files"], ["choose-folder", "folder"]]) {
  find(button).addEventListener("click", () => find(input).click());
  find(input).addEventListener("change", () => {
    const files = [...find(input).files];
    add(input === "folder" ? files.filter((each) => KNOWN.test(each.name)) : files);
    find(input).value = "";
  });
}
addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  dropped(event.dataTransfer);
});
addEventListener("paste", (event) => add([...event.clipboardData.files]));
find("clear").addEventListener("click", clear);
find("enter-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!await enter(find("token").value.trim())) { askForToken(true); return; }
  find("enter").close();
  begin();
});
whenOpened((id) => {
  if (location.hash === `#job=${id}`) route(); else location.hash = `job=${id}`;
});
addEventListener("hashchange", () => route());
startViewer();
begin();
