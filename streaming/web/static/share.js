// Addresses at which other devices reach this page, with QR codes, for watching and for directing.

import { base, getJson } from "./api.js";
import { showDialog } from "./dialogs.js";
import { $, make } from "./dom.js";

const MODULE = 8; // pixels of the drawing
const COPIED_SECONDS = 2;
const ROLES = {
  view: ["To watch", "Anyone with this address can watch."],
  direct: ["To direct", "Anyone with this address can also write prompts and end streams."],
};

// A QR code as an image; always dark on white, as cameras expect.
function qrCode({ size, path }, label) {
  const canvas = make("canvas", { className: "qr", width: size * MODULE, height: size * MODULE });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(MODULE, MODULE);
  context.fillStyle = "#000";
  context.fill(new Path2D(path));
  return canvas;
}

async function copy(box, button) {
  try {
    await navigator.clipboard.writeText(box.value);
  } catch {
    box.select(); // without https there is no clipboard interface
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), COPIED_SECONDS * 1000);
}

function address({ role, url }) {
  const label = `Address ${ROLES[role][0].toLowerCase()}`;
  const box = make("input", { type: "text", readOnly: true, value: url, "aria-label": label });
  box.addEventListener("focus", () => box.select());
  const button = make("button", { type: "button", autofocus: role === "view", "aria-label": `Copy the address ${ROLES[role][0].toLowerCase()}` }, "Copy");
  button.addEventListener("click", () => copy(box, button));
  return make("div", { className: "address" }, box, button);
}

function card(link) {
  const [title, hint] = ROLES[link.role];
  return make(
    "section",
    {},
    make("h3", {}, title),
    qrCode(link.qr, `QR code of the address ${title.toLowerCase()}`),
    make("p", { className: "hint" }, hint),
    address(link),
  );
}

const TITLE = "Share this page";

function addresses(links) {
  const origin = new URL(links[0].url).origin;
  const isFirst = (link) => new URL(link.url).origin === origin;
  const all = [make("div", { className: "cards" }, ...links.filter(isFirst).map(card))];
  const others = links.filter((link) => !isFirst(link));
  if (others.length) {
    all.push(
      make("details", {}, make("summary", {}, "Other addresses of this machine"),
        ...others.flatMap((link) => [make("p", { className: "hint" }, ROLES[link.role][0]), address(link)])),
    );
  }
  return all;
}

// The addresses, or why there are none.
function content({ links, note }) {
  const close = make("button", { type: "button" }, "Close");
  close.addEventListener("click", () => close.closest("dialog").close(""));
  return make(
    "div",
    { className: "share" },
    make("h2", {}, TITLE),
    ...(links.length ? addresses(links) : [make("p", { className: "hint" }, note)]),
    make("div", { className: "buttons" }, close),
  );
}

export async function startShare() {
  let answer;
  try {
    answer = await getJson(`${base}share`);
  } catch {
    return; // the button stays hidden
  }
  $("share").hidden = false;
  $("share").addEventListener("click", () => showDialog(content(answer), TITLE));
}
