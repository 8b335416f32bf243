// The card for a moment of the past: rewind to it, branch from it, use its prompt again.

import { branchFrom } from "./branch.js";
import { placeCard } from "./card.js";
import { compose } from "./composer.js";
import { rewindTo } from "./controls.js";
import { $, make } from "./dom.js";
import { clock } from "./format.js";
import { isOver, mayDirect, status } from "./state.js";

const card = $("moment");

// Why the stream cannot be rewound to a time; "" where it can.
function obstacle(time) {
  const { left_out: leftOut, fps, seconds, history_seconds: kept } = status();
  const frame = time * fps;
  if (leftOut.some(([begin, end]) => begin < frame && frame < end)) {
    return "The stream was rewound past this part.";
  }
  const left = leftOut
    .filter(([begin]) => begin >= frame)
    .reduce((sum, [begin, end]) => sum + end - begin, 0);
  const back = seconds - time - left / fps;
  return back > kept ? `The stream can be rewound by ${Math.round(kept)} seconds at most.` : "";
}

function button(words, action, properties = {}) {
  const element = make("button", { type: "button", ...properties }, words);
  element.addEventListener("click", () => {
    card.hidePopover();
    action();
  });
  return element;
}

// Open the card for a time, with the prompt that was shown then; `point` is in the window.
export function showMoment(time, prompt, point) {
  const now = status();
  const content = [make("h3", { id: "moment-time" }, clock(time))];
  if (prompt) content.push(make("p", { className: "prompt" }, prompt));
  if (mayDirect()) {
    const why = obstacle(time);
    content.push(button("Rewind to here", () => rewindTo(time), { disabled: Boolean(why) }));
    if (why) content.push(make("p", { className: "hint" }, why));
  }
  if (now.may_begin && now.may_download) {
    content.push(
      isOver()
        ? button("Branch from the end as a new stream", () => branchFrom(null))
        : button("Branch from here as a new stream", () => branchFrom(time)),
    );
  }
  if (now.may_direct && prompt) content.push(button("Use this prompt again", () => compose(prompt)));
  if (content.length === 1) return;
  card.replaceChildren(...content);
  placeCard(card, point.x, point.top, point.bottom);
}
