// The pipeline: the list of passes, and the slider over all of their rewrites.

class Stages {
  constructor(app) {
    this.app = app;
    this.list = byId("passes");
    this.slider = byId("slider");
    this.slider.addEventListener("input", () => app.goStep(Number(this.slider.value)));
    byId("previous").addEventListener("click", () => app.step(-1));
    byId("next").addEventListener("click", () => app.step(1));
    byId("play").addEventListener("click", () => this.play());
    byId("basis").addEventListener("change", event => app.setBasis(event.target.value));
  }

  /** Start or stop going through the rewrites. */
  play() {
    if (this.timer) {
      clearInterval(this.timer);
      this.timer = 0;
    } else {
      if (this.app.to === this.app.graph.timeline.length) this.app.goStep(0);
      this.timer = setInterval(() => {
        this.app.step(1);
        if (this.app.to === this.app.graph.timeline.length) this.play();
      }, 900);
    }
    byId("play").textContent = this.timer ? "II" : "\u25b6";
    byId("play").setAttribute("aria-label", this.timer ? "pause" : "play");
  }

  /** The list and the slider of a graph. */
  fill() {
    const { model, timeline } = this.app.graph,
      any = model.stages.length > 0;
    document.body.classList.toggle("no-passes", !any);
    this.slider.max = timeline.length;
    const ticks = timeline.starts.filter((s, i) => model.stages[i].steps.length);
    this.slider.style.setProperty("--ticks", ticks.map(s => `${(100 * s) / Math.max(1, timeline.length)}%`).join(","));
    this.list.replaceChildren(
      this.item(-1, "as traced", `${model.first.size} nodes`, true),
      ...model.stages.map((stage, i) => this.item(i, bare(stage.name), this.summary(stage), stage.changed)),
    );
    this.update();
  }

  summary(stage) {
    const change = stage.changed ? `${stage.before} \u2192 ${stage.after}` : "";
    return [stage.steps.length ? `${stage.steps.length}\u00d7` : "", change, duration(stage.seconds)]
      .filter(Boolean)
      .join("  ");
  }

  item(number, name, summary, changed) {
    return h(
      "li",
      { "data-stage": number, class: changed ? "" : "idle" },
      h("button", { onclick: () => this.app.goStage(number) }, h("span", {}, name), h("small", {}, summary)),
      h("div.more", {}),
    );
  }

  /** After the position changed: the slider, what it says, and the details of the pass. */
  update() {
    const { app } = this,
      { model, timeline } = app.graph,
      { to } = app;
    const number = app.stage ?? timeline.stageAt(to);
    this.slider.value = to;
    this.slider.setAttribute("aria-valuetext", timeline.nameOf(to));
    byId("basis").value = app.basis;
    const step = to > 0 ? timeline.steps[to - 1] : null,
      stage = model.stages[number];
    const atEnd = stage && timeline.endOf(number) === to && (app.basis === "pass" || !stage.steps.length);
    if (app.side) byId("where").replaceChildren(h("b", {}, `${timeline.nameOf(app.from)} \u2194 ${timeline.nameOf(to)}`));
    else
      byId("where").replaceChildren(
        h("b", {}, number < 0 ? "as traced" : bare(stage.name)),
        " ",
        h(
          "span.quiet",
          {},
          step && step.stage === number && !atEnd
            ? `rewrite ${step.index + 1} of ${stage.steps.length}`
            : stage
              ? counted(stage.steps.length, "rewrite")
              : `${model.first.size} nodes`,
        ),
      );
    byId("rule").textContent = app.side
      ? ""
      : step && step.stage === number && !atEnd
        ? step.rule || "(what the pass does beside its rules)"
        : stage && atEnd
          ? rulesOf(stage)
          : "";
    byId("rule").title = byId("rule").textContent;
    byId("previous").disabled = to === 0;
    byId("next").disabled = to === timeline.length;
    const { added, erased, rewired } = app.active.scene.changes;
    byId("changes").replaceChildren(
      ...[
        ["+", added, "added"],
        ["\u2212", erased, "erased"],
        ["~", rewired, "rewired"],
      ]
        .filter(([, set]) => set.size)
        .map(([sign, set, name]) =>
          h(
            `button.state.${name}`,
            { title: `${set.size} ${name}; show the first`, onclick: () => app.showFirst(set) },
            `${sign}${set.size} ${name}`,
          ),
        ),
    );
    for (const item of this.list.children) {
      const own = Number(item.dataset.stage) === number;
      item.classList.toggle("on", own);
      item.firstChild.setAttribute("aria-current", own ? "step" : "false");
      const more = item.lastChild;
      more.replaceChildren(...(own && stage ? this.details(stage, number) : []));
      if (own) item.scrollIntoView({ block: "nearest" });
    }
  }

  details(stage, number) {
    const { app } = this,
      { timeline } = app.graph,
      rules = new Map();
    stage.steps.forEach((step, i) => rules.set(step.rule, [...(rules.get(step.rule) ?? []), timeline.starts[number] + i + 1]));
    return [
      h("p.quiet", {}, `${stage.about} `, h("em", {}, stage.effect)),
      stage.name !== bare(stage.name) ? h("p.quiet", {}, h("code", {}, stage.name)) : null,
      rules.size
        ? h(
            "ul.rules",
            {},
            [...rules].map(([rule, times]) =>
              h(
                "li",
                {},
                h("small", {}, `${times.length}\u00d7`),
                h(
                  "button.link.rule",
                  { onclick: () => app.goStep(times.find(t => t > app.to) ?? times[0]) },
                  rule || "(beside its rules)",
                ),
              ),
            ),
          )
        : null,
      stage.misses.length
        ? h(
            "details",
            {},
            h("summary", {}, `why not more: ${counted(stage.misses.length, "near miss")}`),
            stage.misses.map(m =>
              h(
                "div.miss",
                {},
                h("div.rule", {}, m.rule),
                `${counted(m.matched, "node")} matched from `,
                nodeLink(app, m.root),
                `, then ${m.reason}`,
                m.at === null ? null : [" at ", nodeLink(app, m.at)],
              ),
            ),
          )
        : null,
    ].filter(Boolean);
  }
}

/** The rules of a pass in one line. */
function rulesOf(stage) {
  const counts = new Map();
  for (const { rule } of stage.steps) counts.set(rule, (counts.get(rule) ?? 0) + 1);
  return (
    [...counts].map(([rule, n]) => `${n}\u00d7 ${rule || "(beside its rules)"}`).join("   ") ||
    (stage.changed ? "" : "changed nothing")
  );
}
