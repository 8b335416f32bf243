// Asks the server for the status, once a second, or more often while an answer is awaited.

import { base, getJson } from "./api.js";
import { publish, status } from "./state.js";

const SECONDS = 1;
const SECONDS_IN_HASTE = 0.25;
let hasteUntil = 0;
let timer = 0;

// Ask at once, and more often for some seconds.
export function hurry(seconds = 10) {
  hasteUntil = Math.max(hasteUntil, performance.now() + seconds * 1000);
  clearTimeout(timer);
  timer = setTimeout(poll, 0);
}

async function poll() {
  let next;
  try {
    next = { ...(await getJson(`${base}status`, 4)), received: performance.now() };
  } catch {
    next = { ...status(), state: "disconnected" };
  }
  clearTimeout(timer);
  timer = setTimeout(poll, (performance.now() < hasteUntil ? SECONDS_IN_HASTE : SECONDS) * 1000);
  publish(next);
}

export function startPolling() {
  poll();
}
