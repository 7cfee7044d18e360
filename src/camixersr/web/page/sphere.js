// A panorama from within: WebGL draws the sphere, two pictures of it cut at the slider, and fetches what is looked
// at in full detail when the view rests.
const VERTEX = `attribute vec2 at; varying vec2 place; void main() { place = at; gl_Position = vec4(at, 0., 1.); }`;
const FRAGMENT = `precision highp float;
varying vec2 place; uniform vec2 look, field; uniform float cut, two; uniform vec4 held;
uniform sampler2D wholes[2]; uniform sampler2D parts[2]; uniform vec4 part; uniform float close;
const float PI = 3.141592653589793;
void main() {
  vec3 ray = normalize(vec3(place.x * field.x, place.y * field.y, -1.));
  float c = cos(look.y), s = sin(look.y);
  ray = vec3(ray.x, c * ray.y - s * ray.z, s * ray.y + c * ray.z);
  float lon = atan(ray.x, -ray.z) + look.x, lat = asin(clamp(ray.y, -1., 1.));
  vec2 at = (vec2(fract(lon / (2. * PI) + .5), .5 - lat / PI) - held.xy) / held.zw;
  if (min(at.x, at.y) < 0. || max(at.x, at.y) > 1.) { gl_FragColor = vec4(.06, .05, .08, 1.); return; }
  bool before = two > .5 && place.x < cut;
  vec2 inside = (at - part.xy) / part.zw;
  if (close > .5 && inside.x > 0. && inside.x < 1. && inside.y > 0. && inside.y < 1.)
    gl_FragColor = before ? texture2D(parts[0], inside) : texture2D(parts[1], inside);
  else gl_FragColor = before ? texture2D(wholes[0], at) : texture2D(wholes[1], at);
}`;
const REST = 250, NARROW = 0.15, WIDE = 2.2;  // milliseconds; radians

function compile(gl, kind, text) {
  const shader = gl.createShader(kind);
  gl.shaderSource(shader, text);
  gl.compileShader(shader);
  if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
  return shader;
}

async function picture(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

export class Sphere {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.look = [0, 0];
    this.angle = 1.3;
    this.split = 0.5;
    const gl = this.gl = canvas.getContext("webgl", {preserveDrawingBuffer: true, antialias: false});
    if (!gl) return;
    const program = gl.createProgram();
    gl.attachShader(program, compile(gl, gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(program, compile(gl, gl.FRAGMENT_SHADER, FRAGMENT));
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 3, -1, -1, 3]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(gl.getAttribLocation(program, "at"));
    gl.vertexAttribPointer(gl.getAttribLocation(program, "at"), 2, gl.FLOAT, false, 0, 0);
    this.place = (name) => gl.getUniformLocation(program, name);
    gl.uniform1iv(this.place("wholes"), [0, 1]);
    gl.uniform1iv(this.place("parts"), [2, 3]);
    this.textures = [0, 1, 2, 3].map((number) => {
      const texture = gl.createTexture();
      gl.activeTexture(gl.TEXTURE0 + number);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, 1, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, new Uint8Array(3));
      for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_MAG_FILTER, gl.LINEAR],
        [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) {
        gl.texParameteri(gl.TEXTURE_2D, name, value);
      }
      return texture;
    });
    this.listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  get works() { return Boolean(this.gl); }

  fill(number, image) {
    const {gl} = this;
    gl.activeTexture(gl.TEXTURE0 + number);
    gl.bindTexture(gl.TEXTURE_2D, this.textures[number]);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
  }

  crop(source, [x, y, width, height], longest) {
    return `/api/v1/jobs/${source.job.id}/crop/${source.layer}?${new URLSearchParams({x, y, width, height, longest})}`;
  }

  // each is {job, layer, view}; before may be null
  async show(after, before, keepPlace) {
    this.sources = [before, after];
    this.shown = {};
    const own = this.shown, {across, top, down} = after.job.facts.sphere;
    this.held = [(1 - across) / 2, top, across, down];  // of the sphere: left, top, width, height
    if (!keepPlace) { this.look = [0, 0]; this.angle = 1.3; }
    this.close = null;
    const most = Math.min(4096, this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE));
    for (const longest of [1024, most]) {  // at once, and then in full
      const images = await Promise.all(this.sources.map((each) => each
        && picture(this.crop(each, [0, 0, each.view.width, each.view.height], longest))));
      if (own !== this.shown) return;
      images.forEach((image, number) => image && this.fill(number, image));
      this.draw();
    }
  }

  slide(split) { this.split = split; this.draw(); }
  magnify(factor) { this.angle = Math.min(WIDE, Math.max(NARROW, this.angle / factor)); this.draw(); }
  turn(across, down) {
    this.look = [(this.look[0] + across) % (2 * Math.PI),
      Math.min(Math.PI / 2, Math.max(-Math.PI / 2, this.look[1] + down))];
    this.draw();
  }
  pan(across, down) {
    const pixel = this.angle / this.canvas.clientWidth;
    this.turn(across * pixel, -down * pixel);
  }
  fit() { this.look = [0, 0]; this.angle = 1.3; this.draw(); }

  field() {
    const across = Math.tan(this.angle / 2);
    return [across, across * this.canvas.clientHeight / Math.max(1, this.canvas.clientWidth)];
  }

  draw() {
    const {gl, canvas} = this;
    if (!this.sources || !canvas.clientWidth) return;
    const dense = Math.min(2, devicePixelRatio);
    canvas.width = canvas.clientWidth * dense;
    canvas.height = canvas.clientHeight * dense;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.uniform2fv(this.place("look"), this.look);
    gl.uniform2fv(this.place("field"), this.field());
    gl.uniform1f(this.place("cut"), 2 * this.split - 1);
    gl.uniform4fv(this.place("held"), this.held);
    gl.uniform1f(this.place("two"), this.sources[0] ? 1 : 0);
    gl.uniform4fv(this.place("part"), this.close || [0, 0, 1, 1]);
    gl.uniform1f(this.place("close"), this.close ? 1 : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    const {view} = this.sources[1];
    this.changed(canvas.width / (this.angle / (2 * Math.PI * this.held[2]) * view.width));
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.detail(), REST);
  }

  // The part that is looked at, in fractions of the picture, if it does not cross the seam.
  region() {
    const [fx, fy] = this.field(), [c, s] = [Math.cos(this.look[1]), Math.sin(this.look[1])];
    let [left, right, top, bottom] = [9, -9, 9, -9];
    for (let step = 0; step <= 8; step += 1) {
      for (let other = 0; other <= 8; other += 1) {
        const ray = [(step / 4 - 1) * fx, (other / 4 - 1) * fy, -1], length = Math.hypot(...ray);
        const [x, y, z] = [ray[0], c * ray[1] - s * ray[2], s * ray[1] + c * ray[2]];
        const lon = Math.atan2(x, -z) / (2 * Math.PI), at = .5 - Math.asin(y / length) / Math.PI;
        [left, right] = [Math.min(left, lon), Math.max(right, lon)];
        [top, bottom] = [Math.min(top, at), Math.max(bottom, at)];
      }
    }
    const middle = (((this.look[0] / (2 * Math.PI) + .5) % 1) + 1) % 1;
    if (middle + left < 0 || middle + right > 1 || right - left > 0.5) return null;
    const [x, y, width, height] = this.held, within = (value) => Math.min(1, Math.max(0, value));
    const [x0, x1] = [left, right].map((each) => within((middle + each - x) / width));
    const [y0, y1] = [top, bottom].map((each) => within((each - y) / height));
    return x1 > x0 && y1 > y0 ? [x0, y0, x1 - x0, y1 - y0] : null;
  }

  async detail() {
    const region = this.region(), own = this.shown, [, after] = this.sources;
    if (this.canvas.hidden || !region || region.join() === this.close?.join()) return;
    if (after.view.width <= 4096) return;  // all of it is there
    const look = this.look.join() + this.angle;
    const parts = this.sources.map((each) => each && [
      Math.floor(region[0] * each.view.width), Math.floor(region[1] * each.view.height),
      Math.max(1, Math.floor(region[2] * each.view.width)), Math.max(1, Math.floor(region[3] * each.view.height)),
    ]);
    const images = await Promise.all(parts.map((part, number) => part
      && picture(this.crop(this.sources[number], part, 2048)))).catch(() => null);
    if (!images || own !== this.shown || look !== this.look.join() + this.angle) return;
    images.forEach((image, number) => image && this.fill(2 + number, image));
    this.close = region;
    this.draw();
  }

  listen() {
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.magnify(Math.exp(-event.deltaY / 500));
    }, {passive: false});
    const fingers = new Map();
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, event);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      if (fingers.size === 2) {
        const [one, other] = [...fingers.values()];
        const apart = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
        const before = apart(one, other);
        fingers.set(event.pointerId, event);
        const [now, also] = [...fingers.values()];
        if (before > 0) this.magnify(apart(now, also) / before);
        return;
      }
      this.pan(last.clientX - event.clientX, last.clientY - event.clientY);
      fingers.set(event.pointerId, event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }
  }
}
