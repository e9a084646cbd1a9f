// Run in a page: what keeps people from using it, as a list of texts.
const found = [];
const told = (element) => element.outerHTML.slice(0, 120);

// What scrolls must be reachable by keyboard, or hold something that is.
const reachable = "a[href], button:enabled, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
for (const element of document.querySelectorAll("body *")) {
  if (!element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const down = element.scrollHeight > element.clientHeight + 1 && /auto|scroll/.test(style.overflowY);
  const across = element.scrollWidth > element.clientWidth + 1 && /auto|scroll/.test(style.overflowX);
  if ((down || across) && element.tabIndex < 0 && !element.querySelector(reachable)) {
    found.push("scrolls, and no key reaches it: " + told(element));
  }
}

// Landmarks of one kind must have names of their own.
const nameOf = (element) => {
  const ids = (element.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean);
  const labels = ids.map((id) => document.getElementById(id)?.textContent.trim() || "");
  return labels.join(" ") || element.ariaLabel || "";
};
const landmarks = new Map();
for (const element of document.querySelectorAll("header, main, nav, aside, footer, section, form, [role=region]")) {
  const name = nameOf(element);
  const tag = element.localName;
  const inside = element.parentElement.closest("main, section, article, aside, nav");
  if (["section", "form"].includes(tag) && !name) continue;
  if (["header", "footer"].includes(tag) && inside) continue;
  const key = `${tag === "section" ? "region" : tag} "${name}"`;
  if (landmarks.has(key)) found.push("two landmarks are called " + key);
  landmarks.set(key, element);
}

// A link within a text must differ by more than its colour.
for (const link of document.querySelectorAll("p a[href], li a[href], dd a[href], td a[href], th a[href]")) {
  if (link.closest("h1, h2, h3, h4")) continue;
  const style = getComputedStyle(link);
  const around = link.closest("p, li, dd, td, th").textContent.replace(link.textContent, "").trim();
  const plain = style.textDecorationLine === "none" && style.borderBottomStyle === "none" && style.display === "inline";
  if (around && plain) found.push("a link in a text that only its colour shows: " + told(link));
}
return found;
