// Copying, choosing, closing, and keys: / finds, j and k go from row to row, Escape closes. All else works without it.
"use strict";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button && button.classList.contains("copy")) {
    const text = "copyBefore" in button.dataset ? button.previousElementSibling.textContent : button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }
  if (button && "close" in button.dataset) closeDrawer();
});

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-chooses]");
  if (!form) return;
  const boxes = [...form.querySelectorAll('input[name="delivery"]')];
  if ("all" in event.target.dataset) boxes.forEach((box) => { box.checked = event.target.checked; });
  const chosen = boxes.filter((box) => box.checked).length;
  const button = form.querySelector("[data-needs-choice]");
  button.disabled = chosen === 0;
  button.textContent = chosen ? `Send ${chosen} again` : "Send the chosen ones again";
});

let opener = null;

function closeDrawer() {
  document.getElementById("drawer").replaceChildren();
  if (opener && document.contains(opener)) opener.focus();
}

document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.target.id === "drawer") opener = event.detail.elt;
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id === "drawer") event.detail.target.querySelector("[data-close]")?.focus();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") closeDrawer();
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === "/") {
    const found = document.querySelector("[data-find]");
    if (found) { event.preventDefault(); found.focus(); }
  }
  if (event.key === "j" || event.key === "k") {
    const rows = [...document.querySelectorAll("a.row")];
    const at = rows.indexOf(document.activeElement);
    const next = rows[event.key === "j" ? at + 1 : Math.max(0, at - 1)];
    if (next) { event.preventDefault(); next.focus(); }
  }
});

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-needs-choice]").forEach((button) => { button.disabled = true; });
});
