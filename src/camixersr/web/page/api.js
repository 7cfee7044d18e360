// How the page talks to the service: requests, uploads with progress, news.
const API = "/api/v1";

export class Refused extends Error {
  constructor(status, detail, wait) { super(detail); this.status = status; this.wait = wait; }
}

async function refusal(answer) {
  let detail = `The service answered ${answer.status}.`;
  try { detail = (await answer.json()).detail || detail; } catch { /* no problem document */ }
  return new Refused(answer.status, detail, Number(answer.headers.get("retry-after")) || 0);
}

export async function ask(path, init = {}) {
  const answer = await fetch(API + path, init);
  if (!answer.ok) throw await refusal(answer);
  return answer.status === 204 ? null : answer.json();
}

export const again = (id, action, options) => ask(`/jobs/${id}/again`, {
  method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify({action, options}),
});
export const remove = (id) => ask(`/jobs/${id}`, {method: "DELETE"});

export const enter = (token) => fetch(`${API}/session`, {
  method: "POST", headers: {authorization: `Bearer ${token}`},
}).then((answer) => answer.ok);

// XMLHttpRequest, since fetch does not tell how far an upload is
export function upload(file, action, options, told, stop) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(), form = new FormData();
    form.append("action", action);
    form.append("options", JSON.stringify(options));
    form.append("file", file, file.name);
    request.open("POST", `${API}/jobs`);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && told(event.loaded / event.total);
    request.onload = () => request.status === 202 ? resolve(request.response) : reject(new Refused(
      request.status, request.response?.detail || `The service answered ${request.status}.`,
      Number(request.getResponseHeader("retry-after")) || 0));
    request.onerror = () => reject(new Refused(0, "The service cannot be reached."));
    request.onabort = () => reject(new Refused(-1, "Cancelled."));
    stop.onabort = () => request.abort();
    request.send(form);
  });
}

// Jobs as they are, and every change; after a break it goes on by itself.
export function listen({jobs, job, gone, up, locked}) {
  const source = new EventSource(`${API}/events`);
  source.addEventListener("jobs", (event) => jobs(JSON.parse(event.data).jobs));
  source.addEventListener("job", (event) => job(JSON.parse(event.data)));
  source.addEventListener("gone", (event) => gone(JSON.parse(event.data).id));
  source.onopen = () => up(true);
  source.onerror = async () => {
    up(false);
    if (source.readyState !== EventSource.CLOSED) return;
    const answer = await fetch(`${API}/models`).catch(() => null);
    if (answer?.status === 401) locked();
    else setTimeout(() => listen({jobs, job, gone, up, locked}), 2000);
  };
}
