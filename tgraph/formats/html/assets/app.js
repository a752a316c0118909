// The page as a whole: what is shown, and what follows when that changes. `explorer` is it, for the console and for programs.

/** A graph or function with all that is known of it while the page is open. */
class GraphState {
  constructor(app, model) {
    this.app = app;
    this.model = model;
    this.timeline = new Timeline(model);
    this.tree = new ScopeTree(model);
    this.first = this.tree.openAtFirst(model.first);
    this.open = new Set(this.first);
    this.followed = new Set(); // scopes that are open only for the rewrite that is shown
    this.costs = new Map();
  }

  /** The paths of all open scopes. */
  get shownOpen() {
    return new Set([...this.open, ...this.followed]);
  }

  /** The FLOPs or bytes of a node at the sizes of the page. */
  cost(node, what) {
    if (this.sizes !== this.app.sizes) [this.costs, this.sizes] = [new Map(), this.app.sizes];
    const expression = this.model.nodes[node][what];
    if (!this.costs.has(expression)) this.costs.set(expression, evaluate(expression, this.app.sizes));
    return this.costs.get(expression);
  }
}

class App extends Opening {
  constructor(data) {
    super();
    this.data = data;
    this.theme = new Theme();
    this.sizes = { ...data.sizes };
    const models = data.graphs.map(entry => new Model(data, entry));
    this.functions = data.functions.map(entry => new Model(data, entry, true));
    this.graphs = [...models, ...this.functions].map(model => ({ model, state: null }));
    this.basis = "rewrite";
    this.from = this.to = 0;
    this.selection = null;
    this.side = false;
    this.fade = false;
    this.following = true;
    this.right = new View(this, byId("right"), "only");
    this.left = new View(this, byId("left"), "left");
    this.active = this.right;
    this.minimap = new Minimap(this, byId("minimap"));
    this.stages = new Stages(this);
    this.search = new Search(this);
    this.fillChooser();
    this.openGraph(0);
    this.connect();
    listenToKeys(this);
    followAddress(this);
    this.started = true;
    writeAddress(this);
  }

  // Graphs

  get graph() {
    return this.graphs[this.number].state;
  }

  fillChooser() {
    const chooser = byId("graphs"),
      option = ({ model }, i) => h("option", { value: i }, model.isFunction ? `$${model.name}` : model.name);
    const count = this.data.graphs.length;
    chooser.replaceChildren(...this.graphs.slice(0, count).map(option));
    if (this.functions.length)
      chooser.append(
        h(
          "optgroup",
          { label: "functions" },
          this.graphs.slice(count).map((g, i) => option(g, i + count)),
        ),
      );
    chooser.addEventListener("change", () => this.openGraph(Number(chooser.value)));
    byId("chooser").hidden = this.graphs.length < 2;
    document.querySelector("h1").hidden = this.graphs.length > 1 && this.data.title === this.graphs[0].model.name;
  }

  openGraph(number) {
    this.number = number;
    const chosen = this.graphs[number];
    chosen.state ??= new GraphState(this, chosen.model);
    byId("graphs").value = number;
    this.overlays = overlaysOf(this, this.graph);
    this.overlay = this.overlays.find(o => o.id === this.overlay?.id) ?? this.overlays[0];
    byId("overlay").replaceChildren(...this.overlays.map(o => h("option", { value: o.id }, o.title)));
    byId("overlay").value = this.overlay.id;
    this.selection = null;
    this.stage = null;
    [this.from, this.to] = [0, 0];
    const places = [[-1, "as traced"], ...this.graph.model.stages.map((s, i) => [i, bare(s.name), s.changed])].filter(
      ([i, , changed]) => i < 0 || changed,
    );
    for (const id of ["left-stage", "right-stage"])
      byId(id).replaceChildren(
        ...places.map(([i, name]) => h("option", { value: this.graph.timeline.endOf(i) }, i < 0 ? name : `after ${name}`)),
      );
    this.search.hits = [];
    this.search.nodes = new Set();
    this.rebuild();
    this.stages.fill();
    this.refresh();
  }

  /** The model of a function, by its number in the document. */
  functionModel(called) {
    return this.functions[called];
  }

  /** The names of the ops in a function. */
  functionOps(called) {
    return (this.functions[called].ops ??= new Set(this.functions[called].nodes.map(n => n.op)));
  }

  // Looks

  setOverlay(id) {
    this.overlay = this.overlays.find(o => o.id === id) ?? this.overlay;
    byId("overlay").value = this.overlay.id;
    this.refresh();
  }

  nextOverlay() {
    this.setOverlay(this.overlays[(this.overlays.indexOf(this.overlay) + 1) % this.overlays.length].id);
  }

  setSize(name, size) {
    if (!(size >= 0)) return;
    this.sizes = { ...this.sizes, [name]: size };
    this.refresh();
  }

  toggleFollowing() {
    this.following = !this.following;
    byId("follow").setAttribute("aria-pressed", this.following);
    this.go(this.from, this.to);
  }

  toggleFade() {
    this.fade = !this.fade;
    byId("fade").setAttribute("aria-pressed", this.fade);
    this.redraw();
  }

  setTheme(dark) {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    this.theme.read();
    this.minimap.drawn = null;
    this.refresh();
  }

  /** Save what the active picture shows as a file. */
  savePicture() {
    this.active.drawNow();
    this.active.canvas.toBlob(blob => {
      const link = h("a", { href: URL.createObjectURL(blob), download: `${this.graph.model.name}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }

  zoom(factor) {
    this.active.camera.zoom(factor, this.active.width / 2, this.active.height / 2);
    this.active.moved();
  }

  /** The keys of the boxes that hold a hit of the search. */
  matchKeys(view) {
    return new Set([...this.search.nodes].map(n => view.scene.boxOf.get(n)?.key));
  }

  hovered(view, key) {
    const box = view.scene.byKey.get(key),
      node = box?.kind === "node" ? view.scene.model.nodes[box.node] : null;
    view.canvas.title = node
      ? [
          node.title,
          node.attributes,
          node.types.join(", "),
          node.path,
          ...node.lines.slice(0, 1).map(l => `${l.file}:${l.line}`),
        ]
          .filter(Boolean)
          .join("\n")
      : box?.kind === "scope"
        ? box.scope.path
        : "";
  }

  redraw() {
    this.right.draw();
    if (this.side) this.left.draw();
  }

  /** After anything changed but the places of boxes. */
  refresh() {
    this.relate();
    showPanel(this);
    this.redraw();
    if (this.started) writeAddress(this);
  }

  connect() {
    const press = (id, action) => byId(id).addEventListener("click", action);
    press("fit", () => this.active.fit());
    press("in", () => this.zoom(1.3));
    press("out", () => this.zoom(1 / 1.3));
    press("split", () => this.setSide(!this.side));
    press("follow", () => this.toggleFollowing());
    press("fade", () => this.toggleFade());
    press("expand", () => this.openAll(this.graph.tree.root));
    press("collapse", () => this.closeAll());
    press("save", () => this.savePicture());
    press("theme", () => this.setTheme(!this.theme.dark));
    press("keys-button", () => byId("help").showModal());
    press("list-button", () => {
      document.body.classList.toggle("list");
      document.body.classList.remove("sheet");
    });
    press("details-button", () => {
      document.body.classList.toggle("sheet");
      document.body.classList.remove("list");
    });
    byId("overlay").addEventListener("change", event => this.setOverlay(event.target.value));
    byId("left-stage").addEventListener("change", event => this.go(Number(event.target.value), this.to));
    byId("right-stage").addEventListener("change", event => {
      this.stage = null;
      this.go(this.from, Number(event.target.value));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.theme.read();
      this.minimap.drawn = null;
      this.refresh();
    });
    window.addEventListener("hashchange", () => followAddress(this));
  }
}

(async () => {
  const data = JSON.parse(await unpack(byId("data").textContent));
  document.title = `${data.title} \u00b7 tgraph`;
  window.explorer = new App(data);
  byId("loading").remove();
})().catch(error => {
  byId("loading").textContent = `This page could not be shown: ${error.message}. It needs a browser of 2023 or later.`;
  throw error;
});
