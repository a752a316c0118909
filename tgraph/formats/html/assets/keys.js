// The keyboard. KEYS is also what the help shows.

const KEYS = [
  ["/", "search"],
  ["arrows", "to the node that reads, is read, or stands beside"],
  ["Enter", "open or close the scope; details of a node"],
  ["Backspace", "close the scope around"],
  [", and .", "previous and next rewrite"],
  ["[ and ]", "previous and next pass that changed something"],
  ["space", "play the rewrites"],
  ["+ and \u2212", "zoom"],
  ["f", "fit all into the window"],
  ["z", "zoom to the selected"],
  ["s", "two stages side by side"],
  ["o", "next colouring"],
  ["x", "fade what did not change"],
  ["w", "open what a rewrite changes, or leave all as it is"],
  ["e and c", "open all scopes; the first picture"],
  ["p", "save the picture as PNG"],
  ["t", "dark or light"],
  ["Esc", "close, select nothing"],
  ["?", "these keys"],
];

function listenToKeys(app) {
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
    const onButton = event.target.closest("button, summary, pre");
    const view = app.active,
      arrows = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right" };
    if (onButton && (event.key === "Enter" || event.key === " ")) return;
    const actions = {
      "/": () => byId("search").focus(),
      "?": () => byId("help").showModal(),
      Escape: () => app.escape(),
      Enter: () => app.enter(),
      Backspace: () => app.closeAround(),
      ",": () => app.step(-1),
      ".": () => app.step(1),
      "[": () => app.stepStage(-1),
      "]": () => app.stepStage(1),
      " ": () => app.stages.play(),
      "+": () => app.zoom(1.3),
      "=": () => app.zoom(1.3),
      "-": () => app.zoom(1 / 1.3),
      f: () => view.fit(),
      z: () => app.showSelected(),
      s: () => app.setSide(!app.side),
      o: () => app.nextOverlay(),
      x: () => app.toggleFade(),
      w: () => app.toggleFollowing(),
      e: () => app.openAll(app.graph.tree.root),
      c: () => app.closeAll(),
      t: () => app.setTheme(!app.theme.dark),
      p: () => app.savePicture(),
    };
    if (arrows[event.key] && !onButton) app.walk(arrows[event.key]);
    else if (actions[event.key]) actions[event.key]();
    else return;
    event.preventDefault();
  });
  byId("keys").replaceChildren(...KEYS.flatMap(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)]));
}
