// The address of what the page shows, behind the #: #node=12&at=57. It can be sent, and written by hand.

/** What an address asks for. */
const readAddress = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

/** Put what the page shows into its address. */
function writeAddress(app) {
  const { graph, to, from, selection } = app,
    words = {};
  if (graph !== app.graphs[0].state) words.graph = graph.model.name;
  if (to) words.at = to;
  if (from && from !== to) words.from = from;
  if (selection?.node !== undefined) words.node = selection.node;
  else if (selection?.key?.startsWith("s:")) words.scope = selection.key.slice(2);
  if (app.overlay.id !== "kind") words.overlay = app.overlay.id;
  if (app.side) words.side = 1;
  const text = new URLSearchParams(words).toString();
  if (text !== location.hash.slice(1))
    window.history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

/** Go where the address says. What it does not name stays as it is at first. */
function followAddress(app) {
  const words = readAddress();
  const number = Object.keys(words).length ? app.graphs.findIndex(g => g.model.name === words.graph) : -1;
  if (number >= 0 && app.graphs[number] !== app.graph) app.openGraph(number);
  const time = name => Math.max(0, Math.min(app.graph.timeline.length, parseInt(words[name]) || 0));
  if (words.overlay) app.setOverlay(words.overlay);
  if (words.at !== undefined || words.from !== undefined) {
    app.basis = words.from === undefined ? "rewrite" : time("from") === 0 ? "traced" : "pass";
    app.go(words.from === undefined ? app.fromOf(time("at")) : time("from"), time("at"));
  }
  if (words.side) app.setSide(true);
  if (words.node !== undefined && app.graph.model.nodes[words.node]) app.reveal(Number(words.node));
  else if (words.scope) app.revealScope(words.scope);
  if (words.find) app.search.find(words.find);
}
