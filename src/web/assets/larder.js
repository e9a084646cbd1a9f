// Comfort only: every page works without this file.
(() => {
  const copyText = (element) => element.textContent.trim();

  for (const element of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) break;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(copyText(element));
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not copied";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    element.after(button);
  }

  // A second click must not send a form twice. Undone when the browser brings the page back from its memory.
  document.addEventListener("submit", (event) => {
    // A download leaves the page where it is, so its buttons must go on working.
    if (event.submitter?.hasAttribute("data-download")) return;
    for (const button of event.target.querySelectorAll("button")) {
      setTimeout(() => (button.disabled = true));
    }
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
})();
