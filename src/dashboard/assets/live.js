// Renews what is marked with data-live. The server says that something has changed (/live); then the page is read
// again, and each part that differs takes the place of the one of the same id. Without this script, reload.
"use strict";

const PACE = 1000; // ms between two readings at least
const REST = 10; // times what the last reading took, before the next: of a slow server's time we want little
const LONGEST = 300000; // but no longer: the machine may have slept meanwhile
const RETRY = 10000; // where the stream was refused
const LATER = 4000; // figures are kept on the server for up to 3 s: one more reading after the last change
const TELL = 10000; // a screen reader is told no more often
const SLOW = 15000; // what changes without an event; a part may say with data-every that it is sooner

let isReading = false;
let isDue = false;
let nextAt = 0; // by performance.now()
let later = 0;
let toldAt = 0;
let stream = null;
let wasLost = false;
const sent = new Map(); // each part as the server wrote it: on the page it is changed, by localize() for one

function find(root, id) {
  return root.getElementById(id);
}

// Which element in a part has the focus: by its id, or by what it links to.
function focusIn(part) {
  const element = document.activeElement;
  if (!element || !part.contains(element)) return null;
  if (element.id) return "#" + CSS.escape(element.id);
  const href = element.getAttribute("href");
  return href ? '[href="' + CSS.escape(href) + '"]' : null;
}

function renew(part, fresh) {
  const text = fresh.innerHTML;
  if (sent.get(part.id) === text) return;
  if (part.getAttribute("role") === "status") {
    if (Date.now() - toldAt < TELL) return;
    toldAt = Date.now();
  }
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed && part.contains(selection.anchorNode)) return; // somebody is copying
  const focused = focusIn(part);
  const rows = new Map();
  part.querySelectorAll("tr[id]").forEach((row) => rows.set(row.id, row.textContent));
  const open = new Set();
  part.querySelectorAll("details[open]").forEach((details) => open.add(details.id));
  const left = new Map();
  part.querySelectorAll(".scroll").forEach((scroll, index) => left.set(index, scroll.scrollLeft));
  part.replaceChildren(...fresh.childNodes);
  sent.set(part.id, text);
  part.querySelectorAll("tr[id]").forEach((row) => {
    if (rows.size > 0 && rows.get(row.id) !== row.textContent) row.classList.add("fresh");
  });
  part.querySelectorAll("details").forEach((details) => { details.open = open.has(details.id); });
  part.querySelectorAll(".scroll").forEach((scroll, index) => { scroll.scrollLeft = left.get(index) || 0; });
  localize(part);
  if (focused) {
    const element = part.querySelector(focused);
    if (element) element.focus({ preventScroll: true });
  }
}

// The time of the reader's own zone, on demand.
function localize(root) {
  root.querySelectorAll("time[datetime]").forEach((time) => {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) time.title = at.toLocaleString() + " (" + time.dateTime + ")";
  });
}

function say(text) {
  const state = document.getElementById("live-state");
  if (!state) return;
  state.textContent = text;
  state.hidden = text === "";
}

async function read() {
  if (isReading || document.hidden) {
    isDue = true;
    return;
  }
  isReading = true;
  isDue = false;
  const began = performance.now();
  try {
    // Nobody has opened the page: that is what X-Pingbox-Live says.
    const reply = await fetch(location.href, { headers: { accept: "text/html", "x-pingbox-live": "1" } });
    if (reply.redirected) {
      // The session is over. A reload would ask whether to send the form again where the page is what came of one.
      if (new URL(reply.url).pathname === "/sign-in") location.assign(reply.url);
      return;
    }
    if (reply.ok) {
      const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
      document.querySelectorAll("[data-live]").forEach((part) => {
        const other = find(fresh, part.id);
        if (other) renew(part, other);
      });
    }
  } catch {
    // The stream says so, too.
  } finally {
    isReading = false;
    const now = performance.now();
    const took = now - began;
    nextAt = now + Math.max(PACE - took, Math.min(REST * took, LONGEST));
  }
  if (isDue) soon();
}

function soon() {
  clearTimeout(soon.timer);
  soon.timer = setTimeout(read, Math.max(0, nextAt - performance.now()));
}

function changed() {
  soon();
  clearTimeout(later);
  later = setTimeout(soon, LATER);
}

// A browser has six connections to us: a page that nobody looks at holds none.
function listen() {
  if (stream || document.hidden) return;
  stream = new EventSource("/live");
  stream.addEventListener("change", changed);
  stream.addEventListener("open", () => {
    say("");
    if (wasLost) changed();
    wasLost = false;
  });
  stream.addEventListener("error", () => {
    wasLost = true;
    say("Not connected to pingbox: what you see may be old.");
    if (!stream || stream.readyState !== EventSource.CLOSED) return;
    stream = null;
    setTimeout(() => {
      listen();
      changed(); // which finds out if the session is over
    }, RETRY);
  });
}

function leave() {
  if (stream) stream.close();
  stream = null;
}

document.querySelectorAll("[data-live]").forEach((part) => sent.set(part.id, part.innerHTML));
localize(document);
document.querySelectorAll("[data-select]").forEach((input) => {
  input.addEventListener("focus", () => input.select());
});
if (document.querySelector("[data-live]")) {
  listen();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      leave();
    } else {
      listen();
      changed();
    }
  });
  addEventListener("pagehide", leave);
  addEventListener("pageshow", listen);
  const every = document.querySelector("[data-every]");
  setInterval(() => {
    if (!document.hidden) soon();
  }, every ? Number(every.dataset.every) : SLOW);
}
