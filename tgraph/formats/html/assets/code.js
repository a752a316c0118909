// Functions that `call` nodes apply, as text, and the code that was made of them.

/** The body of a function, one line a node, with values named as in the text form. */
function bodyOf(model) {
  const names = new Map();
  let next = 0;
  const value = v => {
    const leaf = model.leaves[leafOf(v)];
    if (leaf) return model.valueName(v);
    if (v === null) return "none";
    return names.get(nodeOf(v)) + (Array.isArray(v) ? `.${v[1]}` : "");
  };
  const lines = [...model.first].map(([id, reads]) => {
    const node = model.nodes[id],
      name = `%${next++}`;
    names.set(id, name);
    const inside = [...reads.map(value), node.attributes].filter(Boolean).join(", ");
    return `${name} = ${node.title}(${inside}) : ${node.types.join(", ")}`;
  });
  return [...lines, `return ${model.outputs.map(([, v]) => value(v)).join(", ")}`].join("\n");
}

/** The section of a kernel: what it computes, what was chosen for it, its code at each level. */
function kernelSection(app, called) {
  const model = app.functionModel(called),
    { kernel, code } = model.entry;
  const shown = h("pre.code", { tabindex: 0 });
  const levels = Object.entries(code ?? {});
  const buttons = levels.map(([level, packed]) =>
    h(
      "button",
      {
        "aria-pressed": "false",
        onclick: async event => {
          for (const b of buttons) b.setAttribute("aria-pressed", b === event.target);
          shown.textContent = await unpack(packed);
          shown.hidden = false;
        },
      },
      level,
    ),
  );
  shown.hidden = true;
  return h(
    "section",
    {},
    h("h3", {}, `Kernel $${model.name}`),
    kernel
      ? h(
          "p.quiet",
          {},
          [
            kernel.family && `about ${kernel.family}`,
            kernel.chosen,
            `called ${kernel.calls} ${kernel.calls === 1 ? "time" : "times"}`,
          ]
            .filter(Boolean)
            .join("; "),
        )
      : null,
    h("pre.code", { tabindex: 0, "aria-label": "what the function computes" }, bodyOf(model)),
    h(
      "div.row",
      {},
      h("button", { onclick: () => app.openGraph(app.graphs.findIndex(g => g.model === model)) }, "open as a graph"),
      buttons,
    ),
    shown,
  );
}
