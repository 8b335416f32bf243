// Whether the box for prompts takes the next prompt of this stream or the first one of another.

import { isOver, status, update } from "./state.js";

let asksNew = false;

export const isBeginning = () => Boolean(status().may_begin) && (asksNew || isOver());

// Whether the user has asked for another stream next to the one shown.
export const isAskedFor = () => asksNew;

export function toggleAskedFor() {
  asksNew = !asksNew;
  update();
}
