// Follows the log of an app, and posts the sign-on form by itself. Every page works without this file.
"use strict";

const KEPT_LINES = 2000;

function lineElement(line) {
  const row = document.createElement("p");
  const time = document.createElement("time");
  const label = document.createElement("b");
  const text = document.createElement("span");
  time.textContent = line.time;
  label.textContent = line.label;
  label.className = line.kind;
  text.textContent = line.text;
  row.append(time, " ", label, " ", text);
  return row;
}

function follow(log) {
  const live = document.querySelector("[data-live]");
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const toEnd = () => { log.scrollTop = log.scrollHeight; };
  // Stays at the end until the reader scrolls away from it.
  let atTail = true;
  log.onscroll = () => { atTail = atEnd(); };
  new ResizeObserver(() => { if (atTail) toEnd(); }).observe(log);
  const source = new EventSource(log.dataset.stream);
  source.onopen = () => { live.hidden = false; };
  source.onerror = () => { live.hidden = true; };
  source.onmessage = (event) => {
    log.append(lineElement(JSON.parse(event.data)));
    while (log.childElementCount > KEPT_LINES) log.firstElementChild.remove();
    if (atTail) toEnd();
  };
  source.addEventListener("release", () => {
    document.getElementById("stale").hidden = false;
  });
}

const log = document.querySelector("[data-stream]");
if (log) follow(log);

const signOn = document.querySelector("form[data-auto-submit]");
if (signOn) signOn.submit();
