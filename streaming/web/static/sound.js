// The sound of the stream, where it has some: off at first, as browsers ask of a page that plays.

import { $ } from "./dom.js";
import { video } from "./stage.js";
import { status, subscribe } from "./state.js";

export const hasSound = () => Boolean(status().mime?.includes("mp4a"));

export function toggleSound() {
  if (hasSound()) video.muted = !video.muted;
}

function render() {
  const words = video.muted ? "Turn the sound on" : "Turn the sound off";
  $("sound").hidden = !hasSound();
  $("sound").dataset.icon = video.muted ? "muted" : "loud";
  $("sound").setAttribute("aria-label", words);
  $("sound").title = `${words} (M)`;
}

export function startSound() {
  subscribe(render);
  video.addEventListener("volumechange", render);
  $("sound").addEventListener("click", toggleSound);
}
