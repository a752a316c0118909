// Draws a scene on a canvas. What is outside of the window is left out, and text that would be too small to read.

const MONO = '"DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace';
const READABLE = 4.5; // pixels: smaller text is not drawn

/**
 * look: {theme, fill(box) -> colour or null, note(box) -> text or null, selected, hovered: keys, related, matches: sets of keys}
 * motion: {share, old: places by key} while boxes move to their places.
 */
function paint(context, width, height, ratio, scene, camera, look, motion) {
  const { colors } = look.theme;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = colors.back;
  context.fillRect(0, 0, width, height);
  const { k } = camera;
  context.setTransform(ratio * k, 0, 0, ratio * k, -camera.x * k * ratio, -camera.y * k * ratio);
  const window = { x0: camera.x, y0: camera.y, x1: camera.x + width / k, y1: camera.y + height / k };
  const place = box => {
    const old = motion?.old.get(box.key);
    if (!old) return box;
    const s = motion.share;
    return {
      x: old.x + (box.x - old.x) * s,
      y: old.y + (box.y - old.y) * s,
      w: old.w + (box.w - old.w) * s,
      h: old.h + (box.h - old.h) * s,
    };
  };
  const shown = [];
  for (const box of scene.boxes) {
    const p = place(box);
    if (p.x > window.x1 || p.x + p.w < window.x0 || p.y > window.y1 || p.y + p.h < window.y0) continue;
    shown.push([box, p]);
  }
  for (const [box, p] of shown) if (box.open) paintOpen(context, box, p, k, look);
  context.globalAlpha = motion ? motion.share ** 2 : 1;
  paintWires(context, scene, window, k, look);
  context.globalAlpha = 1;
  for (const [box, p] of shown) if (!box.open) paintBox(context, box, p, k, look);
  for (const [box, p] of shown) if (box.open) paintTitle(context, box, p, k, look);
}

const stateColor = (colors, state) => [null, colors.added, colors.erased, colors.rewired][state ?? SAME];

function paintOpen(context, box, p, k, { theme: { colors } }) {
  context.fillStyle = box.depth % 2 ? colors.scope0 : colors.scope1;
  context.strokeStyle = colors.edge;
  context.lineWidth = 1 / Math.min(1, Math.max(k, 0.2));
  context.beginPath();
  context.roundRect(p.x, p.y, p.w, p.h, 9);
  context.fill();
  context.stroke();
}

function paintTitle(context, box, p, k, look) {
  const { colors } = look.theme;
  paintMark(context, box, p, k, look, 9);
  if (12 * k < READABLE) return;
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.font = `600 12px ${MONO}`;
  const note = look.note(box),
    back = box.depth % 2 ? colors.scope0 : colors.scope1;
  context.fillStyle = back; // over the wires
  context.fillRect(p.x + 8, p.y + 5, (box.title.length + 2) * BOLD, TITLE - 9);
  if (note) context.fillRect(p.x + p.w - 10 - note.length * BOLD, p.y + 5, note.length * BOLD, TITLE - 9);
  context.fillStyle = look.hovered === box.key ? colors.text : colors.quiet;
  context.fillText(`\u2212 ${box.title}`, p.x + 10, p.y + TITLE / 2 + 1);
  if (note) {
    context.textAlign = "right";
    context.fillText(note, p.x + p.w - 10, p.y + TITLE / 2 + 1);
  }
}

/** The outline of what is selected, belongs to it (dashed), was found, or is under the pointer. */
function paintMark(context, box, p, k, { theme: { colors }, selected, related, matches, hovered }, radius) {
  const belongs = related.has(box.key);
  const color =
    selected === box.key || belongs
      ? colors.select
      : matches.has(box.key)
        ? colors.match
        : hovered === box.key && !box.open
          ? colors.quiet
          : null;
  if (!color) return;
  context.strokeStyle = color;
  context.lineWidth = Math.max(2.5, 2 / k);
  context.setLineDash(belongs && selected !== box.key ? [8 / Math.min(1, k), 5 / Math.min(1, k)] : []);
  context.beginPath();
  context.roundRect(p.x - 2, p.y - 2, p.w + 4, p.h + 4, radius + 2);
  context.stroke();
  context.setLineDash([]);
}

function paintBox(context, box, p, k, look) {
  const { theme } = look,
    { colors } = theme;
  const change = box.kind === "node" ? stateColor(colors, box.state) : null;
  const ghost = box.state === ERASED || (box.counts && box.counts[ERASED] === box.nodes.length);
  const fill = look.fill(box);
  const round = { input: 13, output: 13, scope: 8 }[box.kind] ?? 5;
  context.globalAlpha = look.faded(box) ? 0.4 : 1;
  context.fillStyle = fill ?? colors.node;
  context.strokeStyle = change ?? (box.kind === "input" ? colors.input : box.kind === "output" ? colors.output : colors.wire);
  context.lineWidth = change ? Math.max(2, 1.4 / k) : 1 / Math.max(k, 0.35);
  if (14 * k < READABLE) {
    // far away: a plain rectangle
    const inside = box.counts
      ? stateColor(
          colors,
          [ADDED, ERASED, REWIRED].find(state => box.counts[state]),
        )
      : null;
    context.fillStyle = change ?? inside ?? fill ?? (box.kind === "node" ? theme.named(look.kind(box), 0.75) : colors.wire);
    context.fillRect(p.x, p.y, p.w, p.h);
    if (box.kind === "scope") paintKinds(context, box, p, theme);
  } else {
    if (ghost) context.setLineDash([5, 4]);
    context.beginPath();
    context.roundRect(p.x, p.y, p.w, p.h, round);
    context.fill();
    if (change) {
      context.fillStyle = change;
      context.globalAlpha *= 0.14;
      context.fill();
      context.globalAlpha = look.faded(box) ? 0.4 : 1;
    }
    context.stroke();
    context.setLineDash([]);
    if (box.kind === "node") {
      context.fillStyle = theme.named(look.kind(box));
      context.fillRect(p.x + 0.5, p.y + 4, 4, p.h - 8);
    }
    if (box.kind === "scope") paintKinds(context, box, p, theme);
    paintText(context, box, p, k, look, ghost);
  }
  context.globalAlpha = 1;
  paintMark(context, box, p, k, look, round);
}

/** What a closed scope holds, as a strip of the colours of its kinds of ops. */
function paintKinds(context, box, p, theme) {
  const total = box.kinds.reduce((sum, [, n]) => sum + n, 0) || 1;
  let x = p.x + 8;
  for (const [kind, n] of box.kinds) {
    const w = ((p.w - 16) * n) / total;
    context.fillStyle = theme.named(kind, 0.8);
    context.fillRect(x, p.y + p.h - 9, w, 4);
    x += w;
  }
}

function paintText(context, box, p, k, look, ghost) {
  const { colors } = look.theme,
    middle = p.x + p.w / 2,
    filled = look.filled(box);
  let y = p.y + 13;
  context.textBaseline = "middle";
  context.font = `600 12.5px ${MONO}`;
  context.fillStyle = filled ?? (ghost ? colors.erased : colors.text);
  if (box.kind === "scope") {
    context.textAlign = "left";
    context.fillText(`+ ${box.title}`, p.x + 10, y);
    context.textAlign = "right";
    context.font = `11px ${MONO}`;
    context.fillStyle = filled ?? colors.quiet;
    context.fillText(look.note(box) ?? box.lines[0], p.x + p.w - 10, y);
    paintCounts(context, box, p, colors);
    return;
  }
  context.textAlign = "center";
  context.fillText(box.title, middle, y);
  if (11 * k < READABLE) return;
  context.font = `11px ${MONO}`;
  context.fillStyle = filled ?? colors.quiet;
  for (const line of box.lines) context.fillText(line, middle, (y += LINE));
  if (box.weights) {
    context.fillStyle = filled ?? colors.weight;
    context.fillText(box.weights, middle, y + LINE);
  }
}

/** In the corner of a closed scope, how many of its nodes changed: +3 −4 ~1. */
function paintCounts(context, box, p, colors) {
  const [, added, erased, rewired] = box.counts;
  const parts = [
    [added, "+", colors.added],
    [erased, "\u2212", colors.erased],
    [rewired, "~", colors.rewired],
  ].filter(([n]) => n);
  if (!parts.length) return;
  context.font = `600 11px ${MONO}`;
  const width = parts.reduce((sum, [n]) => sum + (String(n).length + 1) * LETTER + 6, 6);
  let x = p.x + p.w - 4;
  context.fillStyle = colors.back;
  context.strokeStyle = parts[0][2];
  context.lineWidth = 1.2;
  context.beginPath();
  context.roundRect(x - 6, p.y - 10, width, 17, 8);
  context.fill();
  context.stroke();
  context.textAlign = "left";
  for (const [n, sign, color] of parts) {
    context.fillStyle = color;
    context.fillText(`${sign}${n}`, x, p.y - 1);
    x += (String(n).length + 1) * LETTER + 6;
  }
}

/** Wires by colour, in as few strokes as there are colours. */
function paintWires(context, scene, window, k, look) {
  const { colors } = look.theme;
  const paths = new Map(); // style -> [path, arrows]
  const margin = 40;
  for (const wire of scene.wires) {
    if (wire.bottom < window.y0 - margin || wire.top > window.y1 + margin) continue;
    if (Math.max(wire.x0, wire.x1) < window.x0 - margin || Math.min(wire.x0, wire.x1) > window.x1 + margin) continue;
    const chosen =
      wire.key === look.selected ||
      (wire.head && wire.head.key === look.selected) ||
      (look.selectedInputs.has(wire.key) && !wire.head);
    const style = wire.state === SAME ? (chosen ? 4 : 0) : wire.state;
    if (!paths.has(style)) paths.set(style, [new Path2D(), []]);
    const [path, arrows] = paths.get(style);
    path.moveTo(wire.x0, wire.y0);
    if (k < 0.12) {
      // far away nobody sees a curve
      path.lineTo(wire.x0, wire.y1);
      path.lineTo(wire.x1, wire.y2);
      path.lineTo(wire.x1, wire.y3);
    } else if (wire.back) {
      const out = Math.max(wire.x0, wire.x1) + 90;
      path.bezierCurveTo(out, wire.y0 + 60, out, wire.y3 - 60, wire.x1, wire.y3);
    } else {
      const middle = (wire.y1 + wire.y2) / 2;
      path.lineTo(wire.x0, wire.y1);
      path.bezierCurveTo(wire.x0, middle, wire.x1, middle, wire.x1, wire.y2);
      path.lineTo(wire.x1, wire.y3);
    }
    if (wire.arrow) arrows.push(wire);
  }
  for (const style of [...paths.keys()].sort()) {
    const [path, arrows] = paths.get(style);
    const color = [colors.wire, colors.added, colors.erased, colors.rewired, colors.select][style];
    context.strokeStyle = context.fillStyle = color;
    context.lineWidth = (style ? 2 : 1.2) / Math.min(1, Math.max(k, 0.25));
    context.setLineDash(style === ERASED ? [6, 4] : []);
    context.stroke(path);
    if (k < 0.3) continue;
    context.setLineDash([]);
    context.beginPath();
    for (const { x1, y3 } of arrows) {
      context.moveTo(x1, y3);
      context.lineTo(x1 - 3.6, y3 - 7);
      context.lineTo(x1 + 3.6, y3 - 7);
    }
    context.fill();
  }
  context.setLineDash([]);
}
