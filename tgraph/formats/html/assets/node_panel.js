// The details of a node: operands, readers, lines, costs, history, kernels, values.

function nodeDetails(app, id) {
  const { model } = app.graph,
    node = model.nodes[id],
    view = app.active,
    { scene } = view;
  const reads = scene.shown.reads.get(id) ?? scene.before.get(id) ?? [];
  const valueLink = v => {
    const leaf = model.leaves[leafOf(v)],
      name = breakable(model.valueName(v));
    if (nodeOf(v) >= 0) return nodeLink(app, nodeOf(v), model.valueName(v));
    if (leaf?.kind !== "parameter") return h("code", {}, name);
    return h(
      "button.link",
      { title: "all that reads it", onclick: () => app.search.find(`param:${leaf.name}`) },
      h("code", {}, name),
    );
  };
  const nameOf = i =>
    reads.length > node.operandNames.length && i >= node.operandNames.length - 1
      ? `${node.operandNames.at(-1)}[${i - node.operandNames.length + 1}]`
      : node.operandNames[i];
  const operands = reads.map((v, i) =>
    v === null ? null : row(nameOf(i), valueLink(v), " ", h("span.type", {}, model.valueType(v))),
  );
  const readers = scene.nodes.filter(n => (scene.shown.reads.get(n) ?? []).some(v => nodeOf(v) === id));
  const outputs = scene.shown.outputs.filter(([, v]) => nodeOf(v) === id).map(([name]) => name);
  const state = ["", "added", "erased", "rewired"][scene.stateOf(id)];
  const flops = app.graph.cost(id, "flops"),
    bytes = app.graph.cost(id, "bytes");
  const numbers = app.overlays
    .filter(o => o.numbers && !["flops", "bytes"].includes(o.id))
    .map(o => [o, o.valueOf(id, view.time)]);
  return [
    h(
      "h2",
      {},
      h("i.dot", { style: `background:${app.theme.named(node.category)}` }),
      node.title,
      h("span.quiet", {}, ` #${id}`),
      state ? h(`span.state.${state}`, {}, state) : null,
    ),
    h("p.quiet", {}, node.called >= 0 ? "A call of a function." : node.summary),
    h(
      "dl",
      {},
      operands,
      row(
        node.types.length > 1 ? "results" : "result",
        node.types.map(t => h("div.type", {}, t)),
      ),
      node.attributes ? row("attributes", h("code", {}, node.attributes)) : null,
      row(
        "read by",
        readers.map(n => h("div", {}, nodeLink(app, n))),
        outputs.map(o => h("div", {}, "output ", h("code", {}, o))),
        readers.length || outputs.length ? null : "nothing",
      ),
      node.scopes.length
        ? row(
            node.scopes.length > 1 ? "scopes" : "scope",
            node.scopes.map(s => h("div", {}, h("button.link", { onclick: () => app.revealScope(s) }, breakable(s)))),
          )
        : null,
      node.lines.length
        ? row(
            node.lines.length > 1 ? "lines" : "line",
            node.lines.map(l => h("div", {}, h("code", {}, `${l.file}:${l.line}`), l.code ? h("pre.line", {}, l.code) : null)),
          )
        : null,
      row("FLOPs", flops ? h("span", {}, short(flops), h("span.quiet", {}, `  ${node.flops}`)) : "0"),
      row("bytes", h("span", {}, short(bytes, "B"), h("span.quiet", {}, `  ${node.bytes}`))),
      numbers.filter(([, v]) => Number.isFinite(v)).map(([o, v]) => row(o.title, o.show(v))),
    ),
    historyOf(app, id),
    statisticsOf(model, id),
    headsOf(app, node),
    kernelsOf(app, id),
  ];
}

const nodeLink = (app, id, text = null) =>
  h(
    "button.link",
    { onclick: () => app.reveal(id) },
    text ?? `${app.graph.model.nodes[id].title} #${id}`,
    h("span.quiet", {}, " ", shortPath(app.graph.model.nodes[id].path)),
  );

const SHOWN = 6; // of the nodes that one comes from, or became

/** Where a node comes from and what it became, as links to other stages. */
function historyOf(app, id) {
  const { model, timeline } = app.graph;
  if (!model.stages.length) return null;
  const time = timeline.aliveNear(id, app.active.time);
  const from = timeline.follow([id], time, 0).filter(n => n !== id),
    to = timeline.follow([id], time, timeline.length).filter(n => n !== id);
  const jump = (nodes, at) =>
    nodes
      .slice(0, SHOWN)
      .map(n => h("div", {}, h("button.link", { onclick: () => app.reveal(n, at) }, nodeTitle(model.nodes[n]))))
      .concat(nodes.length > SHOWN ? h("div.quiet", {}, `and ${nodes.length - SHOWN} more`) : []);
  const events = timeline
    .eventsOf(id)
    .map(([t, kind]) =>
      h(
        "div",
        {},
        kind,
        " by ",
        h("button.link", { onclick: () => app.goStep(t) }, `${bare(model.stages[timeline.steps[t - 1].stage].name)}`),
        timeline.steps[t - 1].rule ? h("div.rule", {}, timeline.steps[t - 1].rule) : null,
      ),
    );
  return h(
    "section",
    {},
    h("h3", {}, "History"),
    h(
      "dl",
      {},
      from.length
        ? row("comes from", jump(from, 0))
        : row("comes from", model.first.has(id) ? "it was traced" : "nothing traced"),
      events.length ? row("rewrites", events) : row("rewrites", "none touched it"),
      to.length ? row("became", jump(to, timeline.length)) : null,
    ),
  );
}

/** The kernels that a node is in. */
function kernelsOf(app, id) {
  const { model, timeline } = app.graph;
  if (model.nodes[id].called >= 0) return kernelSection(app, model.nodes[id].called);
  const time = timeline.aliveNear(id, app.active.time);
  const kernels = timeline.follow([id], time, timeline.length).filter(n => model.nodes[n].called >= 0);
  return kernels.length
    ? h(
        "section",
        {},
        h("h3", {}, "In the kernel"),
        kernels.slice(0, 8).map(n =>
          h(
            "div",
            {},
            h(
              "button.link",
              {
                onclick: () => app.reveal(n, timeline.length),
              },
              nodeTitle(model.nodes[n]),
            ),
          ),
        ),
      )
    : null;
}

function statisticsOf(model, id) {
  const found = model.statistics.get(id);
  return found
    ? h(
        "section",
        {},
        h("h3", {}, "Values"),
        h(
          "dl",
          {},
          Object.entries(found).map(([name, value]) => row(name, String(value))),
        ),
      )
    : null;
}

/** Small pictures of what an attention looks at, a square a head. */
function headsOf(app, node) {
  const attends =
    node.category === "attention" ||
    (node.called >= 0 && app.functionModel(node.called).nodes.some(n => n.category === "attention"));
  const names = node.scopes.concat(node.path).map(s => s.replace(/\W+/g, ".").replace(/^\.|\.$/g, ""));
  const found = attends && app.graph.model.heads.find(e => names.includes(e.scope));
  if (!found) return null;
  const [heads, queries, keys] = found.shape,
    bytes = Uint8Array.from(atob(found.weights), c => c.charCodeAt(0));
  const pictures = Array.from({ length: heads }, (_, head) => {
    const canvas = h("canvas.head", {
      width: keys,
      height: queries,
      role: "img",
      "aria-label": `weights of head ${head}`,
      title: `head ${head}`,
    });
    const context = canvas.getContext("2d"),
      image = context.createImageData(keys, queries);
    for (let i = 0; i < queries * keys; i++) {
      image.data.set([37, 99, 200, 255 * Math.sqrt(bytes[head * queries * keys + i] / 255)], 4 * i);
    }
    context.putImageData(image, 0, 0);
    return canvas;
  });
  return h(
    "section",
    {},
    h("h3", {}, "Attention"),
    h("p.quiet", {}, `queries from top to bottom, keys from left to right, ${queries} \u00d7 ${keys}`),
    h("div.heads", {}, pictures),
  );
}
