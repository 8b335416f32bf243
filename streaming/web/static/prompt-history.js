// The prompts that were sent from this browser, which the arrow keys bring back.

const KEPT = 50;
const sent = read();
let place = sent.length;

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem("prompts"));
    return Array.isArray(kept) ? kept.filter((text) => typeof text === "string") : [];
  } catch {
    return [];
  }
}

export function remember(text) {
  sent.push(text);
  sent.splice(0, sent.length - KEPT);
  localStorage.setItem("prompts", JSON.stringify(sent));
  place = sent.length;
}

// The prompt `step` places later; null where there is none. After the last one comes "".
export function recall(step) {
  const next = place + step;
  if (next < 0 || next > sent.length) return null;
  place = next;
  return sent[place] ?? "";
}
