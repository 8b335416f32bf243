// Asks the server for the status, once a second, or more often while an answer is awaited.

import { base, getJson } from "./api.js";
import { publish, update } from "./state.js";

const SECONDS = 1;
const SECONDS_IN_HASTE = 0.25;
let hasteUntil = 0;
let timer = 0;
let newest = 0; // number of the last request; the answers of earlier ones are dropped

// Ask at once, and more often for some seconds.
export function hurry(seconds = 10) {
  hasteUntil = Math.max(hasteUntil, performance.now() + seconds * 1000);
  newest += 1;
  clearTimeout(timer);
  timer = setTimeout(poll, 0);
}

async function poll() {
  const number = (newest += 1);
  let next = null;
  try {
    next = { ...(await getJson(`${base}status`, 4)), received: performance.now() };
  } catch {
    // the server does not answer
  }
  if (number !== newest) return; // the next one is under way
  clearTimeout(timer);
  timer = setTimeout(poll, (performance.now() < hasteUntil ? SECONDS_IN_HASTE : SECONDS) * 1000);
  if (next) publish(next);
  else update({ state: "disconnected" });
}

export function startPolling() {
  poll();
}
