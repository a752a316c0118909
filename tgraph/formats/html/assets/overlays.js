// Overlays: what boxes are coloured by, with a legend and a list of the nodes that have most of it.
// An overlay has an id, a title, and either kind(node), a name, or the numbers that NumberOverlay takes.

/** All overlays that a graph has. */
function overlaysOf(app, graph) {
  const { model } = graph,
    found = [{ id: "kind", title: "kind of op", kind: node => model.nodes[node].category }];
  const costs = { flops: ["FLOPs", "floating-point operations"], bytes: ["bytes", "read and written, each operand once"] };
  for (const [id, [title, what]] of Object.entries(costs)) {
    found.push(
      new NumberOverlay(graph, {
        id,
        title,
        unit: id === "bytes" ? "B" : "",
        sums: true,
        valueOf: node => graph.cost(node, id),
        note: () => `at ${sizesText(app.sizes, model)}; ${what}`,
      }),
    );
  }
  for (const [id, entry] of Object.entries(model.overlays)) found.push(measured(graph, id, entry));
  found.push({ id: "dtype", title: "element type", kind: node => dtypeOf(model.nodes[node]) });
  for (const overlay of found) {
    overlay.fill ??= (box, view, theme) => (box.kind === "node" ? theme.named(overlay.kind(box.node), 0.28) : null);
    overlay.label ??= () => null;
  }
  return found;
}

const dtypeOf = node => node.types[0]?.match(/^\w+/)?.[0] ?? "";
const sizesText = (sizes, model) =>
  Object.keys(model.symbols)
    .map(s => `${s}=${sizes[s] ?? "?"}`)
    .join(", ") || "static sizes";

/** Numbers of the document, of nodes of the first or of the last graph; those of other stages follow from what became what. */
function measured(graph, id, entry) {
  const { timeline, model } = graph,
    values = new Map(entry.values),
    { sums } = entry,
    home = entry.at === "first" ? 0 : timeline.length,
    known = new Map([[home, values]]); // by time
  const at = time => {
    if (!known.has(time)) known.set(time, sums ? shareOut(graph, values, time) : carried(graph, values, home, time));
    return known.get(time);
  };
  const elsewhere = sums
    ? "here a node has a share, by FLOPs, of what its kernel takes: an estimate"
    : `here of what a node ${home ? "became" : "came from"}`;
  return new NumberOverlay(graph, {
    id,
    title: entry.title,
    unit: entry.unit,
    sums,
    valueOf: (node, time) => at(time).get(node),
    note: time => [entry.note, time === home || !model.stages.length ? "" : elsewhere].filter(Boolean).join("; "),
  });
}

/** Each number of the last graph, shared by the nodes that it came from: those whose op its kernel has, by FLOPs. */
function shareOut(graph, values, time) {
  const { timeline, model } = graph,
    found = new Map();
  for (const [node, value] of values) {
    const origins = timeline.follow([node], timeline.length, time).filter(n => model.nodes[n].category !== "weights");
    const called = model.nodes[node].called,
      ops = called >= 0 ? graph.app.functionOps(called) : new Set([model.nodes[node].op]);
    const own = origins.filter(n => ops.has(model.nodes[n].op)),
      among = own.length ? own : origins;
    const weights = among.map(n => graph.cost(n, "flops") || 0),
      total = weights.reduce((a, b) => a + b, 0);
    among.forEach((n, i) => found.set(n, (found.get(n) ?? 0) + value * (total ? weights[i] / total : 1 / among.length)));
  }
  return found;
}

/** For each node the largest of the numbers of what it became, or came from. */
function carried(graph, values, home, time) {
  const found = new Map();
  for (const [node, value] of values) {
    for (const n of graph.timeline.follow([node], home, time)) found.set(n, Math.max(found.get(n) ?? -Infinity, value));
  }
  return found;
}

class NumberOverlay {
  constructor(graph, { id, title, unit, sums, valueOf, note }) {
    Object.assign(this, { graph, id, title, unit, sums, valueOf, note });
    this.numbers = true;
  }

  /** The number of a box: of a node, or of all nodes in a scope. */
  of(box, view) {
    const values = box.nodes.map(n => (view.scene.isGhost(n) ? undefined : this.valueOf(n, view.time))).filter(Number.isFinite);
    if (!values.length) return undefined;
    return this.sums ? values.reduce((a, b) => a + b, 0) : Math.max(...values);
  }

  /** The numbers of the boxes of a picture, and the largest, which has the strongest colour. */
  in(view) {
    this.cache ??= new WeakMap();
    let found = this.cache.get(view.scene);
    if (found?.sizes !== this.graph.app.sizes) {
      const known = new Map(view.scene.boxes.map(box => [box.key, this.of(box, view)]));
      const closed = view.scene.boxes
        .filter(b => !b.open)
        .map(b => known.get(b.key))
        .filter(Number.isFinite);
      found = { sizes: this.graph.app.sizes, known, largest: Math.max(0, ...closed) };
      this.cache.set(view.scene, found);
    }
    return found;
  }

  share(box, view) {
    const { known, largest: most } = this.in(view),
      value = known.get(box.key);
    return !most || !Number.isFinite(value) ? undefined : this.id === "error" ? scaled(value, most) : value / most;
  }

  fill(box, view, theme) {
    const share = this.share(box, view);
    return share === undefined ? null : theme.heat(share);
  }

  strong(box, view) {
    return this.share(box, view) !== undefined;
  }

  label(box, view) {
    const value = this.in(view).known.get(box.key);
    return Number.isFinite(value) ? this.show(value) : null;
  }

  show(value) {
    return this.id === "error"
      ? value.toExponential(1)
      : this.unit === "\u00b5s"
        ? duration(value / 1e6)
        : short(value, this.unit);
  }

  /** The nodes that have most of it: [node, value]. */
  top(view, count = 25) {
    const rows = view.scene.nodes.filter(n => !view.scene.isGhost(n)).map(n => [n, this.valueOf(n, view.time)]);
    return rows
      .filter(([, v]) => v > 0)
      .sort((a, b) => b[1] - a[1])
      .slice(0, count);
  }

  /** The sum over all nodes that are there. */
  total(view) {
    return view.scene.nodes.reduce((sum, n) => sum + (view.scene.isGhost(n) ? 0 : this.valueOf(n, view.time) || 0), 0);
  }
}

/** Errors differ by powers of ten: the share of the largest on a scale of six of them. */
const scaled = (value, most) => (value <= 0 ? 0 : Math.max(0, 1 + Math.log10(value / most) / 6));

/** The legend and the list of an overlay. */
function overlayPanel(app) {
  const { overlay, active: view } = app;
  if (!overlay.numbers) {
    const counts = new Map();
    for (const n of view.scene.nodes) {
      if (!view.scene.isGhost(n)) counts.set(overlay.kind(n), (counts.get(overlay.kind(n)) ?? 0) + 1);
    }
    return h(
      "div.legend",
      {},
      [...counts]
        .sort((a, b) => b[1] - a[1])
        .map(([kind, n]) =>
          h(
            "button.kind",
            {
              title: `show the nodes: ${kind}`,
              onclick: () => app.search.find(overlay.id === "dtype" ? `type:${kind}` : `kind:${kind}`),
            },
            h("i", { style: `background:${app.theme.named(kind)}` }),
            kind || "none",
            h("b", {}, n),
          ),
        ),
    );
  }
  const most = overlay.in(view).largest,
    total = overlay.total(view);
  const steps = [0, 0.25, 0.5, 0.75, 1].map(s => app.theme.heat(s)).join(",");
  return [
    h(
      "div.scale",
      { role: "img", "aria-label": `from ${overlay.id === "error" ? "a millionth of it" : "0"} to ${overlay.show(most)}` },
      h("span", {}, overlay.id === "error" ? overlay.show(most / 1e6) : "0"),
      h("i", { style: `background:linear-gradient(90deg,${steps})` }),
      h("span", {}, overlay.show(most)),
    ),
    h("p.quiet", {}, overlay.sums ? `${overlay.show(total)} in all; ` : "", overlay.note(view.time)),
    h(
      "ol.top",
      {},
      overlay
        .top(view)
        .map(([n, value]) =>
          h(
            "li",
            {},
            h(
              "button.link",
              { onclick: () => app.reveal(n) },
              h("span", {}, nodeTitle(view.scene.model.nodes[n])),
              h("b", {}, overlay.show(value)),
              overlay.sums ? h("em", {}, `${((100 * value) / total).toFixed(1)} %`) : null,
            ),
          ),
        ),
    ),
  ];
}

/** The title of a node with the end of its scope, from the number of its layer on. */
const nodeTitle = node => `${node.title}  ${shortPath(node.path)}`.trim();

function shortPath(path) {
  const parts = path.split("."),
    layer = parts.findLastIndex(p => /^\d/.test(p));
  return parts.slice(layer > 0 ? layer - 1 : -3).join(".");
}
