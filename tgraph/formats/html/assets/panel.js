// The panel at the side: details of what is selected, or an overview of the graph.

/** Fill the panel. */
function showPanel(app) {
  const panel = byId("panel-content"),
    { selection } = app;
  const content =
    selection?.node !== undefined
      ? nodeDetails(app, selection.node)
      : selection?.key
        ? boxDetails(app, selection.key)
        : overview(app);
  panel.replaceChildren(
    ...[content].flat(Infinity).filter(Boolean),
    h("section", {}, h("h3", {}, `Colours: ${app.overlay.title}`), overlayPanel(app)),
  );
}

const row = (name, ...content) => h("div.field", {}, h("dt", {}, name), h("dd", {}, ...content));

function overview(app) {
  const { model, timeline } = app.graph,
    view = app.active;
  const count = time => timeline.stateAt(time).reads.size;
  const inputs = model.leaves.filter(l => l.kind === "input" || l.kind === "state");
  const parameters = model.leaves.filter(l => l.kind === "parameter");
  const changed = model.stages.filter(s => s.changed).length;
  const cost = what => view.scene.nodes.reduce((sum, n) => sum + (view.scene.isGhost(n) ? 0 : app.graph.cost(n, what) || 0), 0);
  return [
    h("h2", {}, model.isFunction ? `function $${model.name}` : model.name),
    h(
      "dl",
      {},
      row(
        "nodes",
        `${count(0)} as traced`,
        model.stages.length
          ? `, ${count(timeline.length)} after ${counted(model.stages.length, "pass")} (${changed} changed something)`
          : "",
      ),
      row(
        "inputs",
        inputs.map(i => h("div", {}, h("code", {}, `${i.name}: ${i.type}`), i.kind === "state" ? " (state)" : "")),
      ),
      row(
        "outputs",
        timeline.stateAt(view.time).outputs.map(([name, v]) => h("div", {}, h("code", {}, `${name}: ${model.valueType(v)}`))),
      ),
      parameters.length ? row("parameters", String(parameters.length)) : null,
      model.entry.constraints.length
        ? row(
            "where",
            model.entry.constraints.map(c => h("div", {}, h("code", {}, c))),
          )
        : null,
      Object.keys(model.symbols).length ? row("sizes", sizeInputs(app)) : null,
      row("cost", `${short(cost("flops"), "FLOP")}, ${short(cost("bytes"), "B")}`),
    ),
    model.entry.apart?.length
      ? h(
          "section",
          {},
          h("h3", {}, "Fused"),
          model.entry.apart.map(line => h("p", { class: line.includes(" apart: ") ? "miss" : "" }, line)),
        )
      : null,
    h(
      "p.quiet",
      {},
      "Click a box to open it, a node for its details. ",
      h("kbd", {}, "/"),
      " searches, ",
      h("kbd", {}, "?"),
      " lists the keys.",
    ),
  ];
}

/** Fields for the sizes of dims: costs follow at once. */
function sizeInputs(app) {
  return h(
    "span.sizes",
    {},
    Object.entries(app.graph.model.symbols).map(([name, [low, high]]) =>
      h(
        "label",
        {},
        `${name} = `,
        h("input", {
          type: "number",
          min: low,
          max: high,
          value: app.sizes[name] ?? "",
          "aria-label": `size of ${name}`,
          onchange: event => app.setSize(name, Number(event.target.value)),
        }),
      ),
    ),
  );
}

function boxDetails(app, key) {
  const view = app.active,
    box = view.scene.byKey.get(key),
    { model } = app.graph;
  if (!box) return overview(app);
  if (box.kind !== "scope") {
    const readers = [...(view.scene.next.get(key) ?? [])].flatMap(k =>
      view.scene.byKey.get(k)?.kind === "node" ? [view.scene.byKey.get(k).node] : [],
    );
    return [
      h("h2", {}, `${box.kind} ${box.title}`),
      h(
        "dl",
        {},
        row("type", h("span.type", {}, box.lines[0])),
        readers.length
          ? row(
              "read by",
              readers.slice(0, 30).map(n => h("div", {}, nodeLink(app, n))),
            )
          : null,
        box.kind === "output" && nodeOf(box.value) >= 0 ? row("value of", nodeLink(app, nodeOf(box.value))) : null,
      ),
    ];
  }
  const nodes = box.nodes.filter(n => !view.scene.isGhost(n)),
    ops = new Map();
  for (const n of nodes) ops.set(model.nodes[n].title, (ops.get(model.nodes[n].title) ?? 0) + 1);
  const sum = what => nodes.reduce((total, n) => total + (app.graph.cost(n, what) || 0), 0);
  const parameters = new Set(
    nodes.flatMap(n =>
      (view.scene.shown.reads.get(n) ?? [])
        .map(v => model.leaves[leafOf(v)])
        .filter(l => l?.kind === "parameter")
        .map(l => l.name),
    ),
  );
  return [
    h("h2", {}, breakable(box.scope.path || model.name)),
    h(
      "div.row",
      {},
      h("button", { onclick: () => app.toggle(box, view) }, box.open ? "close" : "open"),
      h("button", { onclick: () => app.openAll(box.scope) }, "open all in it"),
      h("button", { onclick: () => view.show(view.scene.byKey.get(key)) }, "show"),
    ),
    h(
      "dl",
      {},
      row("nodes", String(nodes.length)),
      row(
        "ops",
        [...ops].sort((a, b) => b[1] - a[1]).map(([op, n]) => h("div", {}, `${n} `, h("code", {}, op))),
      ),
      parameters.size ? row("parameters", String(parameters.size)) : null,
      row("FLOPs", short(sum("flops"))),
      row("bytes", short(sum("bytes"), "B")),
      app.overlays
        .filter(o => o.numbers && !["flops", "bytes"].includes(o.id))
        .map(o => [o, o.of(box, view)])
        .filter(([, v]) => Number.isFinite(v))
        .map(([o, v]) => row(o.title, o.show(v))),
    ),
  ];
}
