// The line under the box for prompts that says what became of a request.

import { $, setText } from "./dom.js";
import { hurry } from "./poll.js";

export function say(text, bad = false) {
  $("answer").className = bad ? "bad" : "";
  setText($("answer"), text);
}

export const isBad = () => $("answer").className === "bad";

// Run a request; says what became of it and returns the answer, or null after an error.
export async function tell(action, done) {
  try {
    const answer = await action();
    say(done);
    hurry();
    return answer ?? {};
  } catch (error) {
    say(`Not sent: ${error.message}`, true);
    return null;
  }
}
