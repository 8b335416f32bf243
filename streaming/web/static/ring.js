// The ring that fills while the next block is made.

import { $ } from "./dom.js";
import { status, subscribe } from "./state.js";

const NEARLY = 0.97; // how full it gets before the block is there

function progress() {
  const { state, block_seconds: expected, since_block_seconds: since, received } = status();
  if (state !== "running" || !expected) return null;
  const elapsed = since + (performance.now() - received) / 1000;
  return Math.min(NEARLY, elapsed / expected);
}

function draw() {
  const ring = $("ring");
  const part = progress();
  ring.classList.toggle("unknown", part === null);
  ring.style.setProperty("--part", part ?? 0.25);
  if (part === null) ring.removeAttribute("aria-valuenow");
  else ring.setAttribute("aria-valuenow", Math.round(part * 100));
}

export function startRing() {
  subscribe(({ state }) => {
    $("ring").toggleAttribute("hidden", !["starting", "running"].includes(state));
  });
  setInterval(draw, 100);
}
