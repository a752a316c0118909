// Search: by op, scope, parameter, type, source line or rule; Enter goes from hit to hit.

const FIELDS = {
  // what may stand before a colon, and the texts of a node that it looks at
  op: n => [n.op, n.title],
  scope: n => n.scopes.concat(n.path),
  type: n => n.types,
  kind: n => [n.category],
  attr: n => [n.attributes],
  line: n => n.lines.map(l => `${l.file}:${l.line} ${l.code}`),
};

class Search {
  constructor(app) {
    this.app = app;
    this.field = byId("search");
    this.list = byId("hits");
    this.hits = [];
    this.field.addEventListener("input", () => this.update());
    this.field.addEventListener("keydown", event => {
      if (event.key === "Enter") this.next(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape") this.clear();
      else return;
      event.preventDefault();
    });
    this.field.addEventListener("focus", () => {
      this.list.hidden = !this.field.value;
    });
    document.addEventListener("pointerdown", event => {
      if (!event.target.closest("#finder")) this.list.hidden = true;
    });
  }

  find(text) {
    this.field.value = text;
    this.update();
    this.next(1);
  }

  clear() {
    this.field.value = "";
    this.update();
    this.app.active.canvas.focus();
  }

  /** All hits for a text: {node} or {time, rule}. */
  of(text) {
    const { model, timeline } = this.app.graph,
      { scene } = this.app.active;
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    const parameters = n =>
      (scene.shown.reads.get(n.id) ?? [])
        .map(v => model.leaves[leafOf(v)])
        .filter(Boolean)
        .map(l => l.name || l.detail);
    const fits = (node, word) => {
      const [, field, rest] = word.match(/^(\w+):(.*)$/) ?? [];
      const texts =
        field === "param"
          ? parameters(node)
          : field === "node"
            ? []
            : FIELDS[field]
              ? FIELDS[field](node)
              : [node.title, node.op, node.path, ...node.types, ...parameters(node), `#${node.id}`];
      const wanted = FIELDS[field] || field === "param" ? rest : word;
      return texts.some(t => t.toLowerCase().includes(wanted));
    };
    const rank = node =>
      words.some(w => node.title.toLowerCase() === w) ? 0 : words.some(w => node.title.toLowerCase().includes(w)) ? 1 : 2;
    const nodes = words[0].startsWith("rule:")
      ? []
      : scene.nodes
          .map(n => model.nodes[n])
          .filter(n => words.every(w => fits(n, w)))
          .map((n, i) => [n, i])
          .sort((a, b) => rank(a[0]) - rank(b[0]) || a[1] - b[1])
          .map(([n]) => ({ node: n.id }));
    const wanted = text
      .toLowerCase()
      .replace(/^rule:\s*/, "")
      .trim();
    const rules = timeline.steps.flatMap((s, i) =>
      s.rule.toLowerCase().includes(wanted) || (words[0].startsWith("rule:") && model.stages[s.stage].name.includes(wanted))
        ? [{ time: i + 1, rule: s.rule }]
        : [],
    );
    return [...nodes, ...rules];
  }

  update() {
    this.hits = this.of(this.field.value);
    this.at = -1;
    this.nodes = new Set(this.hits.filter(hit => hit.node !== undefined).map(hit => hit.node));
    this.show();
    this.app.redraw();
  }

  show() {
    const { model, timeline } = this.app.graph;
    const from = Math.max(0, Math.min(this.at - 5, this.hits.length - 14));
    this.list.hidden = !this.field.value;
    byId("count").textContent = this.field.value
      ? `${this.at < 0 ? "" : `${this.at + 1} of `}${counted(this.hits.length, "hit")}`
      : "";
    this.list.replaceChildren(
      ...this.hits.slice(from, from + 14).map((hit, i) =>
        h(
          "li",
          { class: from + i === this.at ? "on" : "" },
          h(
            "button",
            {
              onclick: () => {
                this.at = from + i - 1;
                this.next(1);
                this.list.hidden = true;
              },
            },
            hit.node !== undefined
              ? [
                  h("i.dot", { style: `background:${this.app.theme.named(model.nodes[hit.node].category)}` }),
                  nodeTitle(model.nodes[hit.node]),
                ]
              : [h("b", {}, bare(model.stages[timeline.steps[hit.time - 1].stage].name)), ` ${hit.rule}`],
          ),
        ),
      ),
      this.hits.length
        ? h("li.quiet", {}, "Enter: next, Shift+Enter: previous")
        : h("li.quiet", {}, "nothing here; try op: scope: type: param: rule: line: kind:"),
    );
  }

  next(step) {
    if (!this.hits.length) return;
    this.at = this.at < 0 && step < 0 ? this.hits.length - 1 : (this.at + step + this.hits.length) % this.hits.length;
    const hit = this.hits[this.at];
    if (hit.node !== undefined) this.app.reveal(hit.node);
    else this.app.goStep(hit.time);
    this.show();
  }
}
