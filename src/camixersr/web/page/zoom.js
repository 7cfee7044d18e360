// Deep zoom: two pictures on top of each other, the upper one cut at the slider; or beside each other.
/* global OpenSeadragon */
const TILE = 512;

export function tiles(job, layer, view) {
  return {
    width: view.width, height: view.height, tileSize: TILE, tileOverlap: 0, minLevel: 0, maxLevel: view.levels - 1,
    getTileUrl: (level, x, y) => `/api/v1/jobs/${job.id}/tiles/${layer}/${level}/${x}/${y}`,
  };
}

// OpenSeadragon would add an inline style, which the page forbids; style.css has it
const style = document.createElement("style");
style.setAttribute("data-openseadragon-mobile-css", "true");
document.head.append(style);

function make(pane) {
  const viewer = new OpenSeadragon.Viewer({
    element: pane, drawer: "canvas", showNavigationControl: false, crossOriginPolicy: false, animationTime: 0.35,
    maxZoomPixelRatio: 16, minZoomImageRatio: 0.6, visibilityRatio: 0.3, immediateRender: true, blendTime: 0,
    gestureSettingsMouse: {clickToZoom: false, dblClickToZoom: true}, keyboardNavEnabled: false, preload: true,
  });
  viewer.canvas.tabIndex = -1;  // the pane around it has the focus
  viewer.canvas.removeAttribute("role");
  return viewer;
}

const add = (viewer, tileSource, more = {}) => new Promise((resolve, reject) => viewer.addTiledImage({
  tileSource, x: 0, y: 0, width: 1, ...more,
  success: (event) => resolve(event.item), error: (event) => reject(new Error(event.message)),
}));

export class Zoom {
  constructor(one, two, changed) {
    this.panes = [one, two];
    this.changed = changed;
    this.viewers = [];
    this.split = 0.5;
    this.layer = null;
  }

  // after and before are {source}; beside: two panes instead of a slider
  async show(after, before, beside, keepPlace) {
    const place = keepPlace && this.viewers[0]?.world.getItemCount() ? this.viewers[0].viewport.getBounds() : null;
    this.close();
    const own = this.shown = {};
    this.panes[1].hidden = !(beside && before);
    const [main, other] = [make(this.panes[0]), beside && before ? make(this.panes[1]) : null];
    this.viewers = other ? [main, other] : [main];
    this.before = this.layer = this.cut = this.smooth = null;
    this.width = after.source.width;
    if (other) {
      await Promise.all([add(main, before.source), add(other, after.source)]);
      this.follow(main, other);
      this.follow(other, main);
      this.front = other;
    } else {
      await add(main, after.source);
      if (before) this.before = await add(main, before.source);
      this.front = main;
    }
    if (own !== this.shown) return;
    for (const viewer of this.viewers) {
      for (const event of ["animation", "resize", "open", "viewport-change"]) {
        viewer.addHandler(event, () => this.draw());
      }
    }
    if (place) main.viewport.fitBounds(place, true); else this.fit(true);
    this.draw();
  }

  follow(one, other) {
    one.addHandler("viewport-change", () => {
      if (this.leading && this.leading !== one) return;
      this.leading = one;
      other.viewport.zoomTo(one.viewport.getZoom(), null, true);
      other.viewport.panTo(one.viewport.getCenter(), true);
      this.leading = null;
    });
  }

  async map(source, opacity) {
    if (this.layer) { this.front.world.removeItem(this.layer); this.layer = null; }
    if (!source) return;
    const front = this.front;
    const layer = await add(front, {type: "image", url: source.url, buildPyramid: false},
      {width: source.width / this.width, opacity});
    if (front === this.front && !this.layer) { this.layer = layer; this.draw(); } else front.world.removeItem(layer);
  }

  strength(opacity) { this.layer?.setOpacity(opacity); }

  slide(split) { this.split = split; this.draw(); }

  draw() {
    const [viewer] = this.viewers;
    if (!viewer?.world.getItemCount()) return;
    const zoom = this.ratio();
    if (this.smooth !== zoom < 2) {
      this.smooth = zoom < 2;
      for (const each of this.viewers) each.drawer.setImageSmoothingEnabled(this.smooth);
    }
    if (this.before) {
      const at = viewer.viewport.pointFromPixel(new OpenSeadragon.Point(this.split * viewer.container.clientWidth, 0)).x;
      const {x, y} = this.before.getContentSize(), cut = Math.min(x, Math.max(0, at * x));
      if (cut !== this.cut) {
        this.cut = cut;
        this.before.setClip(new OpenSeadragon.Rect(0, 0, Math.max(1e-3, cut), y));  // an empty one is none
        this.before.setOpacity(cut > 0 ? 1 : 0);
      }
    }
    this.changed(zoom);
  }

  ratio() {
    const item = this.front.world.getItemAt(0);
    return item.viewportToImageZoom(this.front.viewport.getZoom(true));
  }

  fit(now = false) { this.viewers[0]?.viewport.goHome(now); }
  full() { const [viewer] = this.viewers; viewer.viewport.zoomTo(this.front.world.getItemAt(0).imageToViewportZoom(1)); }
  magnify(factor) { const {viewport} = this.viewers[0]; viewport.zoomBy(factor); viewport.applyConstraints(); }
  pan(across, down) {
    const {viewport} = this.viewers[0];
    viewport.panBy(viewport.deltaPointsFromPixels(new OpenSeadragon.Point(across, down)));
    viewport.applyConstraints();
  }

  close() {
    for (const viewer of this.viewers) viewer.destroy();
    this.viewers = [];
    for (const pane of this.panes) pane.replaceChildren();
    this.shown = null;
  }
}
