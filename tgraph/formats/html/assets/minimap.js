// A small picture of the whole scene with the window on it; a click or drag moves the window.

class Minimap {
  constructor(app, canvas) {
    this.app = app;
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    const move = event => {
      if (!event.buttons) return;
      const view = this.app.active,
        frame = canvas.getBoundingClientRect();
      const x = (event.clientX - frame.left) / this.k,
        y = (event.clientY - frame.top) / this.k;
      view.camera.x = x - view.width / 2 / view.camera.k;
      view.camera.y = y - view.height / 2 / view.camera.k;
      view.moved();
    };
    canvas.addEventListener("pointerdown", event => {
      canvas.setPointerCapture(event.pointerId);
      move(event);
    });
    canvas.addEventListener("pointermove", move);
  }

  draw() {
    const view = this.app.active,
      { scene, camera } = view,
      { theme } = this.app;
    const ratio = window.devicePixelRatio || 1,
      most = 150;
    this.k = Math.min(most / scene.w, most / scene.h);
    const w = Math.max(24, scene.w * this.k),
      hgt = Math.max(24, scene.h * this.k);
    const whole =
      camera.x <= 0 &&
      camera.y <= 0 &&
      camera.x + view.width / camera.k >= scene.w &&
      camera.y + view.height / camera.k >= scene.h;
    this.canvas.hidden = whole;
    if (whole) return;
    if (this.drawn !== scene || this.overlay !== this.app.overlay || this.theme !== theme.dark)
      this.paintScene(view, w, hgt, ratio);
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.context.drawImage(this.picture, 0, 0);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.context.strokeStyle = theme.colors.select;
    this.context.lineWidth = 1.5;
    const x0 = Math.max(1, camera.x * this.k),
      y0 = Math.max(1, camera.y * this.k);
    const x1 = Math.min(w - 1, (camera.x + view.width / camera.k) * this.k),
      y1 = Math.min(hgt - 1, (camera.y + view.height / camera.k) * this.k);
    this.context.strokeRect(x0, y0, Math.max(2, x1 - x0), Math.max(2, y1 - y0));
  }

  /** The boxes, which are drawn once a scene. */
  paintScene(view, w, hgt, ratio) {
    const { scene } = view,
      { theme } = this.app;
    this.picture = document.createElement("canvas");
    for (const canvas of [this.canvas, this.picture]) {
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(hgt * ratio);
    }
    this.canvas.style.width = `${w}px`;
    this.canvas.style.height = `${hgt}px`;
    const context = this.picture.getContext("2d"),
      look = view.look();
    context.setTransform(ratio * this.k, 0, 0, ratio * this.k, 0, 0);
    for (const box of scene.boxes) {
      const state =
        box.kind === "node"
          ? box.state
          : box.counts?.[ADDED]
            ? ADDED
            : box.counts?.[ERASED]
              ? ERASED
              : box.counts?.[REWIRED]
                ? REWIRED
                : SAME;
      context.fillStyle = box.open
        ? box.depth % 2
          ? theme.colors.scope0
          : theme.colors.scope1
        : (stateColor(theme.colors, state) ??
          look.fill(box) ??
          (box.kind === "node" ? theme.named(look.kind(box), 0.8) : theme.colors.wire));
      context.fillRect(box.x, box.y, Math.max(box.w, 1 / this.k), Math.max(box.h, 1 / this.k));
    }
    [this.drawn, this.overlay, this.theme] = [scene, this.app.overlay, theme.dark];
  }
}
