// A picture for the prompt: a new stream begins with it, a running one cuts to it.

import { say } from "./answer.js";
import { getJson, root } from "./api.js";
import { isBeginning } from "./beginning.js";
import { $, make, setText } from "./dom.js";
import { mayDirect, subscribe } from "./state.js";

const BYTES = 16 * 2 ** 20 - 2 ** 16; // as the server takes
const PREVIEW = 96; // pixels
let file = null;
let taken = true; // whether the model takes pictures

// The picture that goes with the next prompt, or null.
export const attached = () => file;

export function detach() {
  file = null;
  show();
}

function attach(given) {
  if (!given) return;
  if (given.size > BYTES) {
    say("A picture has at most 16 MB: make it smaller.", true);
    return;
  }
  file = given;
  say("");
  show();
}

async function show() {
  const chip = $("picture-chip");
  chip.hidden = !file;
  setText($("picture-name"), file?.name ?? "");
  $("picture-choose").hidden = Boolean(file);
  $("picture-preview").hidden = true;
  if (!file) {
    $("picture-file").value = ""; // the same file may be chosen again
    return;
  }
  const shown = file;
  try {
    const bitmap = await createImageBitmap(file);
    if (file === shown) draw(bitmap);
  } catch {
    // the server may read what this browser cannot
  }
}

function draw(bitmap) {
  const canvas = $("picture-preview");
  const scale = Math.min(1, PREVIEW / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  canvas.hidden = false;
}

const imageOf = (data) => [...(data?.files ?? [])].find((each) => each.type.startsWith("image/"));

function render() {
  $("picture").hidden = !taken || !(isBeginning() || mayDirect());
  setText($("picture-what"), isBeginning() ? "The video begins with" : "The video cuts to");
}

function acceptDrops() {
  const target = document.body;
  target.addEventListener("dragover", (event) => {
    if (!$("picture").hidden && event.dataTransfer.types.includes("Files")) event.preventDefault();
  });
  target.addEventListener("drop", (event) => {
    if ($("picture").hidden || !event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    attach(imageOf(event.dataTransfer));
  });
  $("prompt").addEventListener("paste", (event) => {
    const image = imageOf(event.clipboardData);
    if ($("picture").hidden || !image) return;
    event.preventDefault();
    attach(image);
  });
}

export async function startPicture() {
  const input = make("input", { id: "picture-file", type: "file", accept: "image/*", hidden: true });
  const choose = make("button", { id: "picture-choose", type: "button" }, "Add a picture");
  const remove = make("button", { type: "button", className: "icon", "aria-label": "Remove the picture" }, "×");
  const chip = make(
    "p",
    { id: "picture-chip", hidden: true },
    make("canvas", { id: "picture-preview", hidden: true }),
    make("span", {}, make("span", { id: "picture-what" }), " ", make("b", { id: "picture-name" })),
    remove,
  );
  $("picture").append(input, choose, chip);
  choose.addEventListener("click", () => input.click());
  input.addEventListener("change", () => attach(input.files[0]));
  remove.addEventListener("click", () => {
    detach();
    choose.focus();
  });
  acceptDrops();
  subscribe(render);
  try {
    ({ takes_pictures: taken } = await getJson(`${root}examples`));
    render();
  } catch {
    // the server refuses a picture that the model does not take
  }
}
