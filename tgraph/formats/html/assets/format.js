// Elements of the page, and numbers as people read them.

/** An element: h("button.quiet", {title, onclick}, "text", another, null). */
function h(what, attributes = {}, ...content) {
  const [name, ...classes] = what.split(".");
  const made = document.createElement(name || "div");
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(
    ...content
      .flat(Infinity)
      .filter(c => c !== null && c !== undefined && c !== false)
      .map(c => (typeof c === "number" ? String(c) : c)),
  );
  return made;
}

const byId = id => document.getElementById(id);

/** "1 node", "3 nodes", "2 passes". */
const counted = (number, word) => `${number} ${word}${number === 1 ? "" : word.endsWith("s") ? "es" : "s"}`;

/** Seconds as people read them. */
const duration = seconds =>
  seconds >= 1
    ? `${seconds.toPrecision(3)} s`
    : seconds >= 1e-3
      ? `${(seconds * 1e3).toPrecision(3)} ms`
      : `${Math.round(seconds * 1e6)} \u00b5s`;

/** Text that may break after its dots. */
const breakable = text =>
  text
    .split(/(?<=[./])/)
    .flatMap(part => [h("wbr"), part])
    .slice(1);

const clip = (text, length) => (text.length <= length ? text : text.slice(0, length - 1) + "\u2026");
