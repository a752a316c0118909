// Sizes: integer expressions over named dims, such as 3072*B*S or (S+1)//2, as the document writes them.

/** The value of an expression at sizes; NaN where a dim has none. */
function evaluate(expression, sizes) {
  const tokens = expression.match(/[A-Za-z_]\w*|\d+|\/\/|[-+*()]/g) ?? [];
  let at = 0;
  const atom = () => {
    const token = tokens[at++];
    if (token === "(") {
      const inner = sum();
      at++;
      return inner;
    }
    if (token === "-") return -product();
    return /^\d/.test(token) ? Number(token) : (sizes[token] ?? NaN);
  };
  const product = () => {
    let value = atom();
    while (tokens[at] === "*" || tokens[at] === "//") {
      value = tokens[at++] === "*" ? value * atom() : Math.floor(value / atom());
    }
    return value;
  };
  const sum = () => {
    let value = product();
    while (tokens[at] === "+" || tokens[at] === "-") value = tokens[at++] === "+" ? value + product() : value - product();
    return value;
  };
  return tokens.length ? sum() : NaN;
}

/** A count with a unit, in three digits: 1.23 G. */
function short(number, unit = "") {
  if (!Number.isFinite(number)) return "?";
  const size = Math.abs(number),
    steps = [
      [1e12, "T"],
      [1e9, "G"],
      [1e6, "M"],
      [1e3, "k"],
    ];
  const [scale, letter] = steps.find(([s]) => size >= s) ?? [1, ""];
  const value = number / scale;
  const digits =
    size < 1e-2 && size > 0 ? value.toExponential(1) : Number.isInteger(value) ? String(value) : value.toPrecision(3);
  return `${digits} ${letter}${unit}`.trim();
}
