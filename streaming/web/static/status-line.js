// The line of figures, the state in usual words, the title, and the notice of the server.

import { $, setText } from "./dom.js";
import { bytes, clock } from "./format.js";
import { subscribe } from "./state.js";

const WORDS = {
  empty: "waiting",
  queued: "in the queue",
  running: "live",
};

// A sentence with the words that the model does not know, of the prompts from now on.
function unknownWords({ unknown_words: found = {} }) {
  const words = new Set(Object.values(found).flatMap((each) => each.map(({ word }) => word)));
  return words.size ? `This model does not know: ${[...words].join(", ")}.` : "";
}

function render(now) {
  document.body.dataset.state = now.state;
  setText($("state"), WORDS[now.state] ?? now.state);
  setText($("title"), now.title || "sana-stream");
  document.title = now.title || "sana-stream";
  document.querySelector("footer").hidden = !now.blocks;
  if (!now.mime) return; // it has not begun
  const total = now.total_seconds === null ? "" : ` of ${clock(now.total_seconds)}`;
  setText($("speed"), now.blocks ? `${now.speed.toFixed(2)} × real time` : "–");
  setText($("made"), clock(now.seconds) + total);
  setText($("memory"), now.blocks ? bytes(now.memory_bytes) : "–");
  $("memory").title = now.blocks ? `peak ${bytes(now.peak_memory_bytes)}` : "";
  setText($("viewers"), String(now.viewers));
  setText($("notice"), now.notice || unknownWords(now));
}

export function startStatusLine() {
  subscribe(render);
}
