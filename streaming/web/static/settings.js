// Seed, negative prompt and length: of the stream that runs, or of the next one.

import { tell } from "./answer.js";
import { command } from "./api.js";
import { isBeginning } from "./beginning.js";
import { $, setText } from "./dom.js";
import { mayDirect, status, subscribe } from "./state.js";

// The settings of a new stream, as the server takes them.
export function newStreamSettings() {
  const [seed, seconds] = [$("seed").valueAsNumber, $("length").valueAsNumber];
  const negative = $("negative").value.trim();
  return {
    ...(Number.isNaN(seed) ? {} : { seed }),
    ...(Number.isNaN(seconds) ? {} : { seconds }),
    ...(negative ? { negative_prompt: negative } : {}),
  };
}

async function apply() {
  const seed = $("seed").valueAsNumber;
  const negative = $("negative").value.trim();
  const given = [];
  if (!Number.isNaN(seed) && seed !== status().seed) given.push(`/seed ${seed}`);
  if (!$("negative").disabled && $("negative").dataset.changed) given.push(`/negative ${negative}`);
  await tell(async () => {
    for (const line of given) await command(line.trim());
  }, given.length ? "The settings take effect with the next block." : "Nothing was changed.");
  delete $("negative").dataset.changed;
}

function render(now) {
  const begins = isBeginning();
  $("settings").hidden = !now.may_direct || !(begins || mayDirect());
  setText($("settings-for"), begins ? "of the new stream" : "of the stream");
  for (const id of ["length", "length-label"]) $(id).hidden = !begins;
  $("apply").hidden = begins;
  const unguided = now.guidance === 1;
  $("negative").disabled = unguided;
  $("negative-hint").hidden = !unguided;
  if (document.activeElement !== $("seed") && !begins && !$("seed").dataset.changed) {
    $("seed").value = now.seed ?? "";
  }
}

export function startSettings() {
  subscribe(render);
  for (const id of ["seed", "negative"]) {
    $(id).addEventListener("input", (event) => (event.target.dataset.changed = "yes"));
  }
  $("settings-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (isBeginning()) return;
    delete $("seed").dataset.changed;
    apply();
  });
}
