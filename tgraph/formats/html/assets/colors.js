// Colours: of the theme, of kinds of ops, and of numbers. They are read from the style sheet, so that both themes have their own.

class Theme {
  constructor() {
    this.read();
  }

  read() {
    const style = getComputedStyle(document.documentElement);
    const color = name => style.getPropertyValue(`--${name}`).trim();
    this.colors = {};
    for (const name of [
      "back",
      "text",
      "quiet",
      "edge",
      "panel",
      "node",
      "scope0",
      "scope1",
      "wire",
      "added",
      "erased",
      "rewired",
      "select",
      "match",
      "weight",
      "input",
      "output",
      "heat",
    ])
      this.colors[name] = color(name);
    this.dark = color("dark") === "1";
  }

  /** The colour of a kind of op, or of another name, always the same one. */
  named(name, strength = 1) {
    const hue = HUES[name] ?? [...name].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 360, 7);
    const saturation = name === "view" || name === "other" ? 10 : 62;
    return this.dark ? `hsl(${hue} ${saturation}% 62% / ${strength})` : `hsl(${hue} ${saturation}% 46% / ${strength})`;
  }

  /** The colour of a share between 0 and 1: the more, the stronger. */
  heat(share) {
    const s = Math.max(0, Math.min(1, share));
    return this.dark
      ? `hsl(${44 - 30 * s} ${25 + 50 * s}% ${17 + 25 * s}%)`
      : `hsl(${48 - 30 * s} ${60 + 32 * s}% ${97 - 31 * s}%)`;
  }
}

const HUES = {
  attention: 285,
  product: 215,
  lookup: 165,
  weights: 35,
  view: 220,
  reduction: 190,
  recurrence: 320,
  "row-wise": 140,
  elementwise: 95,
  kernel: 205,
  other: 220,
  f32: 215,
  f16: 35,
  bf16: 15,
  f64: 265,
  i8: 140,
  u8: 160,
  i32: 95,
  i64: 110,
  bool: 320,
};
