// The form: made of what the service says of its options, the ones of the command line.
const form = document.getElementById("options"), SAVED = "camixersr-options";
const SIZES = ["model", "scale", "fit", "width", "height", "megapixels", "at_most", "name", "alpha", "projection"];
const LABELS = {
  model: "Model", scale: "Scale", fit: "Or fit into", attention_ratio: "Attention", format: "Format",
  quality: "Quality", "film-format": "Container", "film-crf": "Quality (CRF)",
};
const AUTOMATIC = {
  model: "automatic", scale: "4", fit: "such as 3840x2160", format: "as the picture", quality: "95",
  "film-format": "as the film", "film-crf": "16 to 24", "film-start": "0:00:00", "film-end": "to its end",
  "film-preview": "the whole film",
};
const CLOCKS = ["film-start", "film-end"];  // hours:minutes:seconds
let described = [], ofFilms = [], models = [];  // an option's key is its name in the form

const words = (name) => name.replaceAll("_", "-");
const label = ({key, name}) => LABELS[key] || (words(name)[0].toUpperCase() + words(name).slice(1)).replaceAll("-", " ");

function element(kind, attributes = {}, ...children) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, ""); else if (value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function choices(option, entries) {
  return element("select", {name: option.key, multiple: option.several, size: option.several ? entries.length : 1},
    ...entries.map(([value, text]) => element("option", {value}, text)));
}

function control(option) {
  if (option.name === "model") {
    return choices(option, [["", AUTOMATIC.model], ...models
      .filter((each) => each.action === action()).map((each) => [each.name, each.name])]);
  }
  if (option.name === "attention_ratio") {
    const made = element("input", {type: "range", name: option.key, min: 0, max: 1, step: 0.05, value: 0.5});
    made.dataset.automatic = "";  // until somebody moves it
    return made;
  }
  const [kind] = option.kinds;
  if (option.choices.length && !option.kinds.length) {
    const empty = option.default === null ? [["", AUTOMATIC[option.key] || "automatic"]] : [];
    return choices(option, [...empty, ...option.choices.map((each) => [each, each])]);
  }
  if (kind === "boolean" && option.default === null) {
    return choices(option, [["", "automatic"], ["true", "yes"], ["false", "no"]]);
  }
  if (kind === "boolean") return element("input", {type: "checkbox", name: option.key});
  const number = !CLOCKS.includes(option.key) && !option.choices.length && !option.kinds.includes("string");
  return element("input", {
    name: option.key, type: number ? "number" : "text", step: kind === "number" ? "any" : "1",
    placeholder: AUTOMATIC[option.key] || (option.default === null ? "automatic" : String(option.default)),
  });
}

function field(option, simple) {
  const made = control(option), check = made.type === "checkbox";
  const about = element("span", {class: "about", id: `about-${option.key}`}, option.about);
  const title = element("b", {}, label(option));
  const slides = made.type === "range", wide = slides || option.name === "model";
  made.setAttribute("aria-describedby", about.id);
  const all = element("label", {class: `field${check ? " check" : ""}${wide ? " wide" : ""}`});
  if (slides) {
    const output = element("output", {}, "");
    title.append(output);
    const say = () => output.replaceChildren(
      "automatic" in made.dataset ? "as the model recommends" : `${Math.round(100 * made.value)} %`);
    made.addEventListener("input", () => { delete made.dataset.automatic; say(); });
    made.addEventListener("filled", say);
    say();
    all.append(title, made, element("span", {class: "ends", "aria-hidden": "true"},
      element("span", {}, "fastest"), element("span", {}, "finest")));
  } else if (check) all.append(made, title);
  else all.append(title, made);
  if (simple) about.classList.add("hidden");
  else if (option.key !== "film-format") title.append(element("code", {}, `--${words(option.name)}`));
  all.append(about);
  return all;
}

export const action = () => new FormData(form).get("action");

function filled(options, name) {
  const found = {};
  for (const option of options) {
    const made = form.elements[option.key];
    if (!made || made.closest("[hidden]")) continue;
    if (made.type === "checkbox") { if (made.checked) found[option[name]] = true; continue; }
    if ("automatic" in made.dataset) continue;
    const text = option.several ? [...made.selectedOptions].map((each) => each.value).join() : made.value.trim();
    if (text === "" || text === String(option.default)) continue;
    found[option[name]] = made.type === "range" ? Number(text) : text;
  }
  return found;
}

// What was filled in for a picture or a film, in JSON's own types; the service checks it.
export const values = (isFilm) => filled(isFilm ? ofFilms : described, "name");
const all = () => filled([...new Set([...described, ...ofFilms])], "key");

function suit() {
  const restoring = action() === "restore";
  for (const name of SIZES.slice(1)) {
    const made = form.elements[name];
    if (made) made.closest(".field").hidden = restoring;
  }
  const model = form.elements.model, before = model.value;
  model.replaceChildren(...control(described.find((each) => each.name === "model")).children);
  model.value = [...model.options].some((each) => each.value === before) ? before : "";
}

function save() {
  const kept = {action: action(), ...all()};
  localStorage.setItem(SAVED, JSON.stringify(kept));
  document.getElementById("defaults").hidden = Object.keys(all()).length === 0 && kept.action === "upscale";
}

function fill(kept) {
  form.reset();
  for (const [name, value] of Object.entries(kept)) {
    const made = form.elements[name];
    if (!made) continue;
    if (made.type === "checkbox") made.checked = value === true;
    else if (made.multiple) for (const each of made.options) each.selected = String(value).split(",").includes(each.value);
    else made.value = String(value);
  }
  const slider = form.elements.attention_ratio;
  if ("attention_ratio" in kept) delete slider.dataset.automatic; else slider.dataset.automatic = "";
  slider.dispatchEvent(new Event("filled"));
  suit();
}

export function show(options, filmOptions, there) {
  described = options.map((each) => ({...each, key: each.name}));
  models = there;
  const simple = document.getElementById("simple"), folded = document.getElementById("folded");
  const [first, ...groups] = [...new Set(described.map((each) => each.group))];
  const both = filmOptions.filter((each) => [first, ...groups].includes(each.group)).map((each) => each.name);
  const own = filmOptions.filter((each) => !both.includes(each.name)).map((each) => ({...each, key: `film-${each.name}`}));
  ofFilms = [...described.filter((each) => both.includes(each.name)), ...own];
  groups.push(...new Set(own.map((each) => each.group)));
  simple.replaceChildren(...described.filter((each) => each.group === first).map((each) => field(each, true)));
  folded.replaceChildren(...groups.map((group) => element("fieldset", {}, element("legend", {}, group),
    ...[...described, ...own].filter((each) => each.group === group).map((each) => field(each, false)))));
  let kept = {};
  try { kept = JSON.parse(localStorage.getItem(SAVED)) || {}; } catch { /* as if nothing were kept */ }
  fill(kept);
  save();
  form.addEventListener("input", () => { suit(); save(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("defaults").addEventListener("click", () => { fill({}); save(); });
}
