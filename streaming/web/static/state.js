// The newest status of the stream, published to every module of the page.

const listeners = new Set();
let current = { state: "connecting" };

// States in which another stream may begin here.
const OVER = ["empty", "finished", "cancelled", "failed"];

// The last status; `state` is "connecting" before the first one and "disconnected" without answers.
export const status = () => current;

export const isOver = () => OVER.includes(current.state);
const isRunning = () => ["starting", "running", "paused"].includes(current.state);
export const mayDirect = () => Boolean(current.may_direct) && isRunning();

// Call `listener` with the status now and whenever a new one arrives; returns what ends that.
export function subscribe(listener) {
  listeners.add(listener);
  listener(current);
  return () => listeners.delete(listener);
}

export function publish(status) {
  current = status;
  for (const listener of listeners) listener(current);
}
