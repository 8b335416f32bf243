// The newest status of the stream, published to every module of the page.

const listeners = new Set();
let received = { state: "connecting" }; // from the server
let changed = {}; // fields as the user has changed them, until the server has answered
let current = received;

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
  received = status;
  current = { ...received, ...changed };
  for (const listener of listeners) listener(current);
}

// Publish the newest status with other fields.
export const update = (fields = {}) => publish({ ...received, ...fields });

// Show fields as the user has changed them, whatever the server says meanwhile. Returns what ends
// that, to be called with the fields of its answer; without any they become what they were.
export function change(fields) {
  changed = fields;
  update();
  return (answer = {}) => {
    if (changed !== fields) return; // changed again meanwhile
    changed = {};
    update(answer);
  };
}
