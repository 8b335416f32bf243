// Dialogs of the page: a question with two answers, and elements shown as a dialog.

import { $, make } from "./dom.js";

// Ask a question; resolves to whether it was confirmed.
export function confirmed({ title, text = "", yes = "OK", no = "Cancel", danger = false }) {
  const confirm = make("button", { type: "submit", value: "yes" }, yes);
  confirm.className = danger ? "danger" : "primary";
  const cancel = make("button", { type: "submit", value: "no" }, no);
  const buttons = make("div", { className: "buttons" }, cancel, confirm);
  const form = make("form", { method: "dialog" }, make("h2", {}, title));
  if (text) form.append(make("p", {}, text));
  form.append(buttons);
  return showDialog(form, title).then((value) => value === "yes");
}

// Show an element as a modal dialog; resolves to its return value when it is closed.
export function showDialog(content, label) {
  const dialog = make("dialog", { "aria-label": label }, content);
  $("dialogs").append(dialog);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(""); // the backdrop
  });
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(dialog.returnValue);
    });
    dialog.showModal();
  });
}
