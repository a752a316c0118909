// The camera of a picture: which part of the scene is on the canvas, and how large.

const SMALLEST = 0.01,
  LARGEST = 4;

class Camera {
  constructor() {
    this.x = 0; // what of the scene is at the left upper corner of the canvas
    this.y = 0;
    this.k = 1; // pixels on the screen for one of the scene
  }

  toScene(px, py) {
    return [this.x + px / this.k, this.y + py / this.k];
  }

  /** Zoom by a factor around a place on the canvas. */
  zoom(factor, px, py) {
    const k = Math.min(LARGEST, Math.max(SMALLEST, this.k * factor));
    this.x += px / this.k - px / k;
    this.y += py / this.k - py / k;
    this.k = k;
  }

  pan(dx, dy) {
    this.x -= dx / this.k;
    this.y -= dy / this.k;
  }

  /** Show a rectangle whole, in the middle, at most at `largest`. */
  fit({ x, y, w, h }, width, height, largest = 1.25, margin = 24) {
    const k = Math.min(largest, (width - 2 * margin) / Math.max(w, 1), (height - 2 * margin) / Math.max(h, 1));
    this.k = Math.min(LARGEST, Math.max(SMALLEST, k));
    this.x = x + w / 2 - width / 2 / this.k;
    this.y = y + h / 2 - height / 2 / this.k;
  }
}
