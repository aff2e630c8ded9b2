// What the pages do beyond links and forms: the search key, the live switch, upload progress, times that age.
// Everything works without it.

const button = document.querySelector("[data-live]");
const word = document.querySelector("[data-live-word]");
const parts = () => document.querySelectorAll("[data-live-part]");
let paused = false;
let lastNews = Date.now();

function tell(state, text) {
  if (!button) return;
  button.dataset.state = state;
  word.textContent = text;
}

function clock() {
  return new Date(lastNews).toISOString().slice(11, 19);
}

if (button && parts().length) {
  button.hidden = false;
  tell("live", "Live");
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(!paused));
    if (paused) tell("paused", `Paused ${clock()} UTC`);
    else location.reload();
  });
}

const isLive = (element) => element instanceof Element && element.hasAttribute("data-live-part");

// While paused, while the tab is hidden, or while a button of the part has the keyboard, what is shown stays.
document.addEventListener("htmx:before:request", (event) => {
  const source = event.detail?.ctx?.sourceElement ?? event.target;
  if (isLive(source) && !source.hasAttribute("hx-sse:connect") && (paused || document.hidden)) event.preventDefault();
});
document.addEventListener("htmx:sse:before:message", (event) => {
  if (paused) event.preventDefault();
});

function fresh() {
  lastNews = Date.now();
  if (!paused) tell("live", "Live");
}
function stale() {
  if (!paused) tell("stale", `Data from ${clock()} UTC`);
}
document.addEventListener("htmx:sse:after:message", fresh);
document.addEventListener("htmx:sse:after:connection", fresh);
document.addEventListener("htmx:sse:error", stale);
document.addEventListener("htmx:sse:close", stale);
document.addEventListener("htmx:error", stale);
document.addEventListener("htmx:after:request", (event) => {
  const ctx = event.detail?.ctx;
  if (!isLive(ctx?.sourceElement)) return;
  if (ctx.response?.raw?.ok) fresh();
  else stale();
});

// A screen reader hears how a rollout stands at most every ten seconds.
const slow = document.querySelector("[data-slow-status]");
if (slow) {
  setInterval(() => {
    const line = document.querySelector("[data-status-line]")?.dataset.statusLine;
    if (line && slow.textContent !== line) slow.textContent = line;
  }, 10_000);
}

// What a form has done is told once: not again on reload, and not for longer than it takes to read.
const notice = document.querySelector(".notice");
if (notice) {
  const here = new URL(location.href);
  here.searchParams.delete("notice");
  history.replaceState(history.state, "", here);
  setTimeout(() => notice.remove(), 8000);
}

// "/" goes to the search field, unless something is being typed.
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const field = document.querySelector("[data-find]");
    if (field) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  }
  if (event.key === "Escape") {
    for (const open of document.querySelectorAll("details.confirm[open]")) open.open = false;
  }
});

// A click elsewhere closes a confirmation.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.confirm[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});

// An upload shows how far it is; the answer is the page a plain form would have led to.
for (const form of document.querySelectorAll("form[data-upload]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const progress = form.querySelector("progress");
    const send = form.querySelector("button");
    const request = new XMLHttpRequest();
    progress.hidden = false;
    send.disabled = true;
    request.upload.addEventListener("progress", (step) => {
      if (step.lengthComputable) progress.value = (100 * step.loaded) / step.total;
    });
    request.upload.addEventListener("load", () => progress.removeAttribute("value"));
    request.addEventListener("load", () => {
      if (request.status < 400) {
        location.assign(request.responseURL);
        return;
      }
      const answer = new DOMParser().parseFromString(request.responseText, "text/html").querySelector("main");
      if (!answer) form.submit();
      else {
        document.querySelector("main").replaceWith(answer);
        answer.focus();
        answer.querySelector("form[data-upload]")?.removeAttribute("data-upload");
      }
    });
    request.addEventListener("error", () => form.submit());
    request.open("POST", form.action);
    request.send(new FormData(form));
  });
}

// A form that has been sent cannot be sent twice by a second click.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented) return;
  const sent = event.target;
  if (sent.method !== "post") return;
  if (sent.dataset.sent) event.preventDefault();
  sent.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
