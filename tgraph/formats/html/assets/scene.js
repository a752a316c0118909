// What a picture shows: boxes for nodes and closed scopes within boxes for open scopes, and the wires between them.

const PADDING = 14,
  TITLE = 26; // around the content of an open scope; height of its title
const LINE = 15,
  LETTER = 6.75,
  BOLD = 7.4; // of the fonts in painter.js
const SAME = 0,
  ADDED = 1,
  ERASED = 2,
  REWIRED = 3;

class Scene {
  /**
   * The graph of `timeline` after `to` steps, with what went and came since `from`.
   * open: paths of open scopes. tree: of the model's scopes. side: "left" shows the graph after `from` steps and what will go,
   * "right" the one after `to` steps and what came, "only" both in one.
   */
  constructor(timeline, tree, from, to, open, side = "only") {
    this.timeline = timeline;
    this.model = timeline.model;
    this.tree = tree;
    this.open = open;
    this.from = from;
    this.to = to;
    this.side = side;
    this.before = timeline.stateAt(from).reads;
    this.after = timeline.stateAt(to).reads;
    this.shown = timeline.stateAt(side === "left" ? from : to);
    this.changes = timeline.difference(from, to);
    this.boxes = [];
    this.wires = [];
    this.byKey = new Map();
    this.next = new Map(); // box key -> keys of the boxes that read it
    this.previous = new Map();
    this.nodes = this.inOrder();
    this.makeBoxes();
    this.connect();
    const deadline = performance.now() + 900;
    this.place(this.root, deadline);
    this.settle(this.root, 0, 0, 0);
    this.w = this.root.w;
    this.h = this.root.h;
  }

  /** All nodes of the picture, operands before readers, those that are gone last. */
  inOrder() {
    const { reads, outputs } = this.shown,
      done = new Set(),
      order = [];
    const visit = start => {
      const stack = [[start, 0]];
      while (stack.length) {
        const top = stack.at(-1),
          [node, i] = top,
          operands = reads.get(node) ?? [];
        if (i === 0 && done.has(node)) {
          stack.pop();
        } else if (i < operands.length) {
          top[1]++;
          const operand = nodeOf(operands[i]);
          if (operand >= 0 && !done.has(operand) && reads.has(operand)) stack.push([operand, 0]);
          if (i === 0) done.add(node);
        } else {
          done.add(node);
          order.push(node);
          stack.pop();
        }
      }
    };
    for (const [, value] of outputs) if (nodeOf(value) >= 0) visit(nodeOf(value));
    for (const node of reads.keys()) if (!done.has(node)) visit(node);
    return this.side === "only" ? [...order, ...this.changes.erased] : order;
  }

  /** Whether a node of the picture is no longer there. */
  isGhost(node) {
    return !this.shown.reads.has(node);
  }

  stateOf(node) {
    const { added, erased, rewired } = this.changes;
    return erased.has(node) ? ERASED : added.has(node) ? ADDED : rewired.has(node) ? REWIRED : SAME;
  }

  // Boxes

  makeBoxes() {
    const count = new Map();
    for (const node of this.nodes) {
      for (let s = this.tree.of[node]; s; s = s.parent) count.set(s, (count.get(s) ?? 0) + 1);
    }
    this.root = {
      key: "",
      kind: "scope",
      open: true,
      scope: this.tree.root,
      children: [],
      nodes: [],
      title: "",
      lines: [],
      parent: null,
    };
    this.byKey.set("", this.root);
    this.boxOf = new Map(); // the box that shows a node
    this.model.leaves.forEach((leaf, i) => {
      if (leaf.kind === "input" || leaf.kind === "state") {
        this.add({ key: `i${i}`, kind: "input", leaf: i, nodes: [], title: leaf.name, lines: [leaf.type] }, this.root);
      }
    });
    for (const node of this.nodes) {
      let parent = this.root,
        box = null;
      const chain = [];
      for (let s = this.tree.of[node]; s.parent; s = s.parent) chain.unshift(s);
      for (const scope of chain) {
        if (count.get(scope) === 1) break; // a scope of a single node is that node
        const key = `s:${scope.path}`;
        let own = this.byKey.get(key);
        if (!own) own = this.add(this.scopeBox(scope, key), parent);
        if (!own.open) {
          box = own;
          break;
        }
        own.nodes.push(node);
        parent = own;
      }
      box ??= this.add(this.nodeBox(node), parent);
      box.nodes.push(node);
      this.boxOf.set(node, box);
    }
    this.shown.outputs.forEach(([name, value]) => {
      this.add(
        { key: `o:${name}`, kind: "output", nodes: [], title: name, lines: [this.model.valueType(value)], value },
        this.root,
      );
    });
    const ranks = new Map(this.nodes.map((node, i) => [node, i]));
    for (const box of this.byKey.values()) {
      if (box === this.root) continue;
      box.rank =
        box.kind === "output" ? Infinity : box.nodes.reduce((sum, n) => sum + ranks.get(n), 0) / (box.nodes.length || 1);
      this.measure(box);
    }
  }

  add(box, parent) {
    box.parent = parent;
    parent.children.push(box);
    this.byKey.set(box.key, box);
    return box;
  }

  scopeBox(scope, key) {
    return {
      key,
      kind: "scope",
      scope,
      open: this.open.has(scope.path),
      children: [],
      nodes: [],
      title: this.tree.titleOf(scope),
      lines: [],
    };
  }

  nodeBox(id) {
    const node = this.model.nodes[id],
      reads = this.shown.reads.get(id) ?? this.before.get(id) ?? [];
    const leaves = reads.map(v => this.model.leaves[leafOf(v)]).filter(Boolean);
    const scalars = leaves.filter(l => l.kind === "constant").map(l => l.detail);
    const parameters = leaves.filter(l => l.kind === "parameter").map(l => "@" + relative(l.name, node.path));
    const lines = [[...scalars, node.attributes].filter(Boolean).join(", "), node.types.join(", ")];
    return {
      key: `n${id}`,
      kind: "node",
      node: id,
      nodes: [],
      title: node.title,
      lines: lines.filter(Boolean).map(l => clip(l, 40)),
      weights: parameters.length ? clip(parameters.join(" "), 40) : "",
      state: this.stateOf(id),
    };
  }

  measure(box) {
    if (box.kind === "scope") {
      this.describeScope(box);
      if (box.open) return;
    }
    box.title = clip(box.title, 44);
    if (box.kind === "scope") {
      // title and count side by side
      box.w = Math.max(170, (box.title.length + 2) * BOLD + box.lines[0].length * LETTER + 34);
      box.h = LINE + 18;
      return;
    }
    box.w = Math.max(44, box.title.length * BOLD, ...[...box.lines, box.weights ?? ""].map(l => l.length * LETTER)) + 20;
    box.h = LINE * (1 + box.lines.length + (box.weights ? 1 : 0)) + 11;
  }

  /** The text of a scope's box, and how many of its nodes changed. */
  describeScope(box) {
    const kinds = new Map();
    let dead = 0;
    box.counts = [0, 0, 0, 0];
    for (const id of box.nodes) {
      box.counts[this.stateOf(id)]++;
      const kind = this.model.nodes[id].category;
      if (this.isGhost(id)) dead++;
      else kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
    box.kinds = [...kinds].sort((a, b) => b[1] - a[1]);
    box.lines = [counted(box.nodes.length - dead, "node")];
  }

  // Wires

  connect() {
    const signals = new Map(); // level -> key -> signal
    const signal = (level, key, source, state) => {
      if (!signals.has(level)) signals.set(level, new Map());
      const own = signals.get(level);
      if (!own.has(key)) own.set(key, { key, source: source.key, state, tail: null, heads: new Set(), leaves: false });
      return own.get(key);
    };
    const edge = (source, reader, state) => {
      if (!source || !reader || source === reader) return;
      link(this.next, source.key, reader.key);
      link(this.previous, reader.key, source.key);
      const key = state === SAME ? source.key : `${source.key}|${state}`;
      const up = ancestry(source),
        down = ancestry(reader);
      let common = 0; // how many levels around both
      while (up[common + 1] && up[common + 1] === down[common + 1] && up[common + 1].open) common++;
      for (let i = common + 1; i < up.length - 1; i++) {
        // out of the scopes that only the source is in
        const out = signal(up[i], key, source, state);
        out.tail = up[i + 1];
        out.leaves = true;
      }
      const here = signal(up[common], key, source, state);
      here.tail = up[common + 1];
      here.heads.add(down[common + 1]);
      for (let i = common + 1; i < down.length - 1; i++) signal(down[i], key, source, state).heads.add(down[i + 1]);
    };
    const boxAt = value => {
      const leaf = this.model.leaves[leafOf(value)];
      return leaf ? this.byKey.get(`i${leafOf(value)}`) : this.boxOf.get(nodeOf(value));
    };
    for (const id of this.nodes) {
      const now = this.shown.reads.get(id),
        other = (this.side === "left" ? this.after : this.before).get(id);
      const mark = this.side === "left" ? ERASED : ADDED,
        differs = this.from !== this.to;
      now?.forEach((value, i) =>
        edge(boxAt(value), this.boxOf.get(id), differs && !(other && sameValue(value, other[i])) ? mark : SAME),
      );
      if (this.side === "only") {
        // what was read before
        other?.forEach((value, i) => {
          if (!now || !sameValue(value, now[i])) edge(boxAt(value), this.boxOf.get(id), ERASED);
        });
      }
    }
    for (const [name, value] of this.shown.outputs) edge(boxAt(value), this.byKey.get(`o:${name}`), SAME);
    this.signals = signals;
  }

  // Places

  /** Lay out an open box's content, the innermost first, and so its size. */
  place(box, deadline) {
    for (const child of box.children) if (child.open) this.place(child, deadline);
    const level = arrange(
      box.children,
      [...(this.signals.get(box)?.values() ?? [])].map(s => ({ ...s, heads: [...s.heads] })),
      deadline,
    );
    const top = box === this.root ? PADDING : TITLE + PADDING / 2;
    const width = Math.max(level.w, box.title.length * BOLD + 60);
    const left = PADDING + (width - level.w) / 2;
    box.w = width + 2 * PADDING;
    box.h = level.h + top + PADDING;
    box.inner = { left, top };
    box.entries = new Map([...level.entries].map(([key, x]) => [key, x + left]));
    box.exits = new Map([...level.exits].map(([key, x]) => [key, x + left]));
    for (const child of box.children) {
      child.x += left;
      child.y += top;
    }
    box.inside = level.wires;
    for (const wire of box.inside) {
      const enters = level.entries.has(wire.signal.key) && wire.y0 === 0,
        leaves = level.exits.has(wire.signal.key) && !wire.head && wire.y3 === level.h;
      for (const y of ["y0", "y1", "y2", "y3"]) wire[y] += top;
      wire.x0 += left;
      wire.x1 += left;
      if (box !== this.root && enters) wire.y0 = 0;
      if (box !== this.root && leaves) wire.y3 = box.h;
    }
  }

  /** Absolute places of a box and all in it. */
  settle(box, x, y, depth) {
    box.x = (box.x ?? 0) + x;
    box.y = (box.y ?? 0) + y;
    box.depth = depth;
    if (box !== this.root) this.boxes.push(box);
    for (const wire of box.inside ?? []) {
      for (const name of ["y0", "y1", "y2", "y3"]) wire[name] += box.y;
      wire.x0 += box.x;
      wire.x1 += box.x;
      wire.state = wire.signal.state;
      wire.key = wire.signal.source;
      wire.top = Math.min(wire.y0, wire.y3);
      wire.bottom = Math.max(wire.y0, wire.y3);
      this.wires.push(wire);
    }
    for (const child of box.children ?? []) this.settle(child, box.x, box.y, depth + 1);
  }

  /** The innermost box at a place. */
  at(x, y) {
    let found = null;
    for (const box of this.boxes) {
      // outer boxes come first
      if (x >= box.x && x <= box.x + box.w && y >= box.y && y <= box.y + box.h) found = box;
    }
    return found;
  }
}

/** A parameter's name as it is within a scope. */
const relative = (name, path) =>
  path && name.startsWith(path + ".") ? name.slice(path.length + 1) : name.split(".").slice(-2).join(".");

/** The boxes around a box from the outermost on, and the box itself. */
function ancestry(box) {
  const found = [];
  for (let b = box; b; b = b.parent) found.unshift(b);
  return found;
}

function link(map, from, to) {
  if (!map.has(from)) map.set(from, new Set());
  map.get(from).add(to);
}
