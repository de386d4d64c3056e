// Slices of a packed scene, drawn in the page: nbs/viewing/50_slices.ipynb says what is in a scene and what its parts are called.
// In a notebook this is an anywidget; in a page without Python `standalone` adds the controls. In both, what is on the screen
// follows from a scene and from the values of a `model` (get, set, save_changes, on, off), and from nothing else.

const VALUES = ['plane', 'axial', 'coronal', 'sagittal', 'sequence', 'overlay', 'structure', 'opacity', 'outlines', 'window', 'level'];
const STYLE = `
.mriseg-slices { max-width: 100%; font: 13px/1.4 system-ui, sans-serif; color: inherit }
.mriseg-slices canvas { display: block; margin: 0; padding: 0; border: 0 }
.mriseg-slices .strip { width: 100%; height: 18px; cursor: pointer; background: rgba(128, 128, 128, 0.18); border-radius: 3px }
.mriseg-slices .picture { position: relative; max-width: 100%; margin-top: 4px; line-height: 0; background: #000; touch-action: pan-y }
.mriseg-slices .slice { max-width: 100%; margin: auto; cursor: crosshair; outline: none }
.mriseg-slices .slice:focus-visible { outline: 2px solid #4ea8ff; outline-offset: -2px }
.mriseg-slices .side { position: absolute; color: #fff; font: 600 14px/1 system-ui, sans-serif; text-shadow: 0 0 3px #000; pointer-events: none }
.mriseg-slices .side.left { left: 6px; top: 50%; transform: translateY(-50%) }
.mriseg-slices .side.right { right: 6px; top: 50%; transform: translateY(-50%) }
.mriseg-slices .side.top { top: 6px; left: 50%; transform: translateX(-50%) }
.mriseg-slices .side.bottom { bottom: 6px; left: 50%; transform: translateX(-50%) }
.mriseg-slices .legend { min-height: 1.4em; margin-top: 4px }
.mriseg-slices .legend span { margin-right: 1em; white-space: nowrap }
.mriseg-slices .legend i { display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.35em; border: 1px solid rgba(128, 128, 128, 0.6) }
.mriseg-slices .readout { min-height: 2.8em; font-variant-numeric: tabular-nums }
.mriseg-controls { max-width: 100%; display: flex; flex-wrap: wrap; gap: 0.3em 0.9em; align-items: center; margin-bottom: 4px }
.mriseg-controls { font: 13px/1.4 system-ui, sans-serif; color: inherit }
.mriseg-controls label { display: inline-flex; gap: 0.35em; align-items: center; white-space: nowrap }
.mriseg-controls .long { flex: 1 0 100%; margin: 0; width: 100% }
.mriseg-controls select, .mriseg-controls button { font: inherit; color: inherit; padding: 1px 6px; border-radius: 3px }
.mriseg-controls select, .mriseg-controls button { background: rgba(128, 128, 128, 0.18); border: 1px solid rgba(128, 128, 128, 0.5) }
.mriseg-controls option { color: #000; background: #fff }
.mriseg-controls input[type=range] { width: 6em; accent-color: #ff9f1c }`;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const picked = (list, number) => list[clamp(number, 0, list.length - 1)]; // a new case may have fewer to pick from
const rgb = colour => [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16));
const make = (tag, names, parent) => { const made = Object.assign(document.createElement(tag), names); parent.append(made); return made; };

// --- A scene: the length of a header, the header as JSON, then one byte per voxel and layer, the first axis fastest

function unpack(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true), begin = 4 + length;
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, begin)));
  const size = header.shape[0]*header.shape[1]*header.shape[2];
  const layers = header.layers.map((_, n) => bytes.subarray(begin + n*size, begin + (n + 1)*size));
  const layer = (kind, name = '') => layers[header.layers.findIndex(one => one[0] === kind && one[1] === name)];
  return {header, layer, palette: header.palette.map(rgb), colours: header.structures.map(one => rgb(one.colour)),
          errors: Object.fromEntries(Object.entries(header.error_colours).map(([name, colour]) => [name, rgb(colour)]))};
}

// --- One slice: the voxel under each pixel, counted from the upper left of the picture

// A place is an index of the whole volume stored as RAS, as a slider shows it; an index counts what was packed, from 0
const placeOf = ({origin, every}, axis, index) => origin[axis] + index*every[axis];
const indexOf = ({origin, every, shape}, axis, place) => clamp(Math.floor((place - origin[axis])/every[axis]), 0, shape[axis] - 1);

function cut(scene, model) {
  const {shape, planes} = scene.header, plane = picked(planes, model.get('plane'));
  const strides = [1, shape[0], shape[0]*shape[1]], [a, b] = [0, 1, 2].filter(axis => axis !== plane.cut);
  const index = indexOf(scene.header, plane.cut, model.get(plane.name)), base = index*strides[plane.cut];
  const voxel = (x, y) => { const at = [0, 0, 0]; at[plane.cut] = index; at[a] = shape[a] - 1 - x; at[b] = shape[b] - 1 - y; return at; };
  return {plane, a, b, index, voxel, width: shape[a], height: shape[b],
          at: (x, y) => base + (shape[a] - 1 - x)*strides[a] + (shape[b] - 1 - y)*strides[b]};
}

const chosen = (scene, model) => { // the structures asked for, by number; the first choice is all of them
  const number = clamp(model.get('structure'), 0, scene.header.structures.length) - 1;
  return scene.header.structures.map((_, n) => n).filter(n => number < 0 || n === number);
};

// What covers a voxel: a function from its number to a colour, or to undefined
function cover(scene, model) {
  const {header} = scene, overlay = picked(header.overlays, model.get('overlay'));
  const numbers = chosen(scene, model), bits = numbers.reduce((sum, n) => sum | 1 << n, 0);
  if (overlay === 'prediction' || overlay === 'truth') {
    const layer = scene.layer(overlay);
    return at => { const found = layer[at] & bits; return found ? scene.colours[31 - Math.clz32(found)] : undefined; };
  }
  if (overlay === 'errors') {
    const known = bits & header.known.errors, [predicted, truth, missed, invented] = ['prediction', 'truth', 'missed', 'invented'].map(kind => scene.layer(kind));
    const {errors} = scene; // where voxels were packed as blocks, what is missed and invented is a layer of its own
    const lost = missed ? at => missed[at] & known : at => truth[at] & ~predicted[at] & known;
    const extra = invented ? at => invented[at] & known : at => predicted[at] & ~truth[at] & known;
    return at => lost(at) ? errors.missed : extra(at) ? errors.invented : predicted[at] & known ? errors.agreed : undefined;
  }
  if (overlay === 'nothing') return () => undefined;
  const layers = numbers.map(n => scene.layer(overlay, header.structures[n].name)).filter(Boolean); // not every structure need have a map
  return at => { let most = 0; for (const layer of layers) if (layer[at] > most) most = layer[at]; return most >= header.faintest ? scene.palette[most] : undefined; };
}

function pixels(scene, model) { // what the picture shows, without outlines
  const {header} = scene, slice = cut(scene, model), paint = cover(scene, model), share = model.get('opacity')/100;
  const grey = scene.layer('sequence', picked(header.sequences, model.get('sequence')).name);
  const steps = header.white/100, span = Math.max(model.get('window'), 1)*steps, low = model.get('level')*steps - span/2;
  const image = new ImageData(slice.width, slice.height), data = image.data;
  for (let y = 0, o = 0; y < slice.height; y++) for (let x = 0; x < slice.width; x++, o += 4) {
    const at = slice.at(x, y), value = clamp((grey[at] - low)*255/span, 0, 255), colour = paint(at);
    for (let c = 0; c < 3; c++) data[o + c] = colour ? value*(1 - share) + colour[c]*share : value;
    data[o + 3] = 255;
  }
  return image;
}

function outlines(scene, model) { // [{colour, edges}], edges as x0, y0, x1, y1 in pixels of the slice
  const slice = cut(scene, model), found = [];
  if (model.get('outlines')) for (const kind of ['prediction', 'truth']) {
    const layer = scene.layer(kind);
    if (!layer) continue;
    for (const n of chosen(scene, model)) {
      const inside = (x, y) => x >= 0 && y >= 0 && x < slice.width && y < slice.height && layer[slice.at(x, y)] >> n & 1, edges = [];
      for (let y = 0; y < slice.height; y++) for (let x = 0; x < slice.width; x++) if (inside(x, y)) {
        if (!inside(x - 1, y)) edges.push([x, y, x, y + 1]);
        if (!inside(x + 1, y)) edges.push([x + 1, y, x + 1, y + 1]);
        if (!inside(x, y - 1)) edges.push([x, y, x + 1, y]);
        if (!inside(x, y + 1)) edges.push([x, y + 1, x + 1, y + 1]);
      }
      if (edges.length) found.push({colour: kind === 'truth' ? scene.header.truth_colour : scene.header.structures[n].colour, edges});
    }
  }
  return found;
}

// --- On the screen

const native = document.createElement('canvas'); // a slice at one pixel per voxel, before it is enlarged

function drawPicture(canvas, scene, model) {
  const {spacing, scale} = scene.header, slice = cut(scene, model), sharp = window.devicePixelRatio || 1;
  const width = Math.round(slice.width*spacing[slice.a]*scale), height = Math.round(slice.height*spacing[slice.b]*scale);
  Object.assign(native, {width: slice.width, height: slice.height});
  native.getContext('2d', {willReadFrequently: true}).putImageData(pixels(scene, model), 0, 0);
  const wanted = {width: Math.round(width*sharp), height: Math.round(height*sharp)};
  if (canvas.width !== wanted.width || canvas.height !== wanted.height) {
    Object.assign(canvas, wanted);
    Object.assign(canvas.style, {width: `${width}px`, aspectRatio: `${width} / ${height}`});
  }
  const pen = canvas.getContext('2d', {willReadFrequently: true}), fx = canvas.width/slice.width, fy = canvas.height/slice.height;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(native, 0, 0, canvas.width, canvas.height);
  pen.lineWidth = 1.5*sharp;
  for (const {colour, edges} of outlines(scene, model)) {
    pen.strokeStyle = colour;
    pen.beginPath();
    for (const [x0, y0, x1, y1] of edges) { pen.moveTo(x0*fx, y0*fy); pen.lineTo(x1*fx, y1*fy); }
    pen.stroke();
  }
  pen.fillStyle = '#ffd60a'; // marks at the edges: where the other two planes cut this one
  for (const plane of scene.header.planes) if (plane !== slice.plane) {
    const axis = plane.cut, place = scene.header.shape[axis] - indexOf(scene.header, axis, model.get(plane.name)) - 0.5, long = 8*sharp, thick = 2*sharp;
    if (axis === slice.a) for (const y of [0, canvas.height - long]) pen.fillRect(place*fx - thick/2, y, thick, long);
    else for (const x of [0, canvas.width - long]) pen.fillRect(x, place*fy - thick/2, long, thick);
  }
}

function drawStrip(canvas, scene, model) { // a column per slice: above what is there, below what is wrong
  const {header} = scene, {plane, index} = cut(scene, model), sharp = window.devicePixelRatio || 1;
  const counts = picked(header.counts[plane.name], model.get('structure'));
  Object.assign(canvas, {width: Math.round((canvas.clientWidth || header.width)*sharp), height: Math.round(18*sharp)});
  const pen = canvas.getContext('2d'), step = canvas.width/header.shape[plane.cut];
  for (const [row, [kind, colour]] of Object.entries(header.strip_colours).entries()) {
    const most = Math.max(...counts[kind], 1);
    pen.fillStyle = colour;
    counts[kind].forEach((count, k) => {
      if (!count) return;
      pen.globalAlpha = 0.35 + 0.65*count/most;
      pen.fillRect(k*step, row*canvas.height/3 + 1, Math.max(step, 1), canvas.height/3 - 2);
    });
  }
  Object.assign(pen, {globalAlpha: 1, strokeStyle: '#000', fillStyle: '#fff', lineWidth: sharp});
  pen.fillRect((index + 0.5)*step - 1.5*sharp, 0, 3*sharp, canvas.height);
  pen.strokeRect((index + 0.5)*step - 1.5*sharp, 0, 3*sharp, canvas.height);
}

function showLegend(element, scene, model) {
  const {header} = scene, overlay = picked(header.overlays, model.get('overlay')), entries = [];
  const several = header.structures.length > 1, known = kind => chosen(scene, model).filter(n => header.known[kind] >> n & 1);
  const masks = (kind, text) => known(kind).forEach(n => entries.push([header.structures[n].colour, text + (several ? ` ${header.structures[n].name}` : '')]));
  if (overlay === 'errors') entries.push(...Object.entries(header.error_colours).map(([name, colour]) => [colour, name]));
  else if (overlay in header.ranges) entries.push([`linear-gradient(90deg, ${header.palette.filter((_, n) => n % 51 === 0).join(', ')})`, `${overlay} 0 to ${header.ranges[overlay]}`]);
  else if (overlay !== 'nothing') masks(overlay, overlay);
  if (model.get('outlines') && overlay !== 'prediction') masks('prediction', 'outline: prediction');
  if (model.get('outlines') && known('truth').length) entries.push([header.truth_colour, 'outline: truth']);
  element.replaceChildren();
  for (const [colour, text] of entries) {
    const entry = make('span', {}, element);
    make('i', {}, entry).style.background = colour;
    entry.append(text);
  }
}

const times = (matrix, at) => matrix.slice(0, 3).map(row => row[0]*at[0] + row[1]*at[1] + row[2]*at[2] + row[3]);

function tell(scene, model, at) { // a voxel in words
  const {header} = scene, [ni, nj] = header.shape, number = at[0] + ni*(at[1] + nj*at[2]), several = header.structures.length > 1;
  const names = kind => {
    const layer = scene.layer(kind), marked = header.structures.filter((_, n) => layer && layer[number] >> n & 1);
    return header.known[kind] ? [`${kind}: ${marked.map(one => one.name).join(' + ') || 'none'}`] : [];
  };
  const sequence = picked(header.sequences, model.get('sequence'));
  const stored = scene.layer('sequence', sequence.name)[number], value = Number((sequence.black + stored*sequence.unit).toPrecision(3));
  const mm = times(header.affine, at).map((value, axis) => `${(value <= -0.05 ? 'LPI' : 'RAS')[axis]} ${Math.abs(value).toFixed(1)}`);
  const maps = Object.keys(header.ranges).flatMap(kind => chosen(scene, model).map(n => [kind, header.structures[n].name, scene.layer(kind, header.structures[n].name)]));
  const told = maps.filter(([, , layer]) => layer)
    .map(([kind, name, layer]) => `${kind}${several ? ` ${name}` : ''} ${(layer[number]*header.ranges[kind]/255).toFixed(2)}`);
  const near = header.every.some(every => every > 1) ? 'near voxel' : 'voxel';
  return [`${sequence.name} ${stored === 255 ? '≥' : stored ? '≈' : '≤'} ${value}`, `${mm.join(', ')} mm`,
          `${near} (${times(header.stored, at).map(Math.round).join(', ')})`, ...names('truth'), ...names('prediction'), ...told].join(' · ');
}

function viewer(root, model, current, always) { // `current` gives the scene; `always`: the wheel turns slices without a click before
  const box = make('div', {className: 'mriseg-slices'}, root);
  box.dataset.lmSuppressShortcuts = 'true'; // JupyterLab leaves the keys to us
  const strip = make('canvas', {className: 'strip', title: 'grey: truth, orange: prediction, red: where they differ; click to go there', ariaHidden: 'true'}, box);
  const picture = make('div', {className: 'picture'}, box), canvas = make('canvas', {className: 'slice', tabIndex: 0, role: 'img'}, picture);
  const sides = ['left', 'right', 'top', 'bottom'].map(side => make('span', {className: `side ${side}`, ariaHidden: 'true'}, picture));
  const legend = make('div', {className: 'legend'}, box), readout = make('div', {className: 'readout'}, box);
  let pointed = null; // the voxel under the pointer, while it is over the picture
  const put = (name, value) => { model.set(name, value); model.save_changes(); };
  const move = (plane, index) => { const {header} = current(); put(plane.name, placeOf(header, plane.cut, clamp(index, 0, header.shape[plane.cut] - 1))); };
  const step = by => { const {plane, index} = cut(current(), model); move(plane, index + by); };
  const share = (event, element) => { // where in an element something happened, from 0 to 1
    const area = element.getBoundingClientRect();
    return [clamp((event.clientX - area.left)/area.width, 0, 1 - 1e-9), clamp((event.clientY - area.top)/area.height, 0, 1 - 1e-9)];
  };
  const under = event => { const slice = cut(current(), model), [x, y] = share(event, canvas); return slice.voxel(Math.floor(x*slice.width), Math.floor(y*slice.height)); };

  const say = () => {
    const scene = current(), {plane, index} = cut(scene, model), where = `${scene.header.case}, ${plane.name} slice ${placeOf(scene.header, plane.cut, index)}`;
    readout.textContent = [where, ...(pointed ? [tell(scene, model, pointed)] : []), ...scene.header.notes].join(' · ');
    canvas.setAttribute('aria-label', `${where}; arrow keys turn slices`);
  };
  const draw = () => {
    const scene = current(), {plane, index} = cut(scene, model);
    box.style.width = `${scene.header.width}px`;
    drawPicture(canvas, scene, model);
    drawStrip(strip, scene, model);
    sides.forEach((element, n) => { element.textContent = plane.edges[n]; });
    showLegend(legend, scene, model);
    if (pointed) pointed[plane.cut] = index;
    say();
  };
  let due = false; // several values that change at once are drawn once
  const later = () => { if (!due) queueMicrotask(() => { due = false; draw(); }); due = true; };

  canvas.onpointermove = event => { pointed = under(event); say(); };
  canvas.onpointerleave = () => { pointed = null; say(); };
  canvas.oncontextmenu = event => event.preventDefault();
  canvas.onpointerdown = event => {
    canvas.focus({preventScroll: true});
    if (event.button === 2 || event.shiftKey) return dragGreys(event);
    const at = under(event), {planes} = current().header, shown = cut(current(), model).plane;
    for (const plane of planes) if (plane !== shown) move(plane, at[plane.cut]);
  };
  const dragGreys = event => { // window and level, as radiologists drag them
    const [x, y, width, level] = [event.clientX, event.clientY, model.get('window'), model.get('level')], usual = canvas.onpointermove;
    canvas.setPointerCapture(event.pointerId);
    canvas.onpointermove = moved => {
      model.set('window', clamp(Math.round(width + (moved.clientX - x)/2), 1, 200));
      put('level', clamp(Math.round(level + (moved.clientY - y)/2), 0, 130));
    };
    canvas.onlostpointercapture = () => { canvas.onpointermove = usual; };
  };
  canvas.onkeydown = event => {
    const by = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -1e6, End: 1e6}[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    step(by);
  };
  let turned = 0; // of the wheel, until it is a slice
  canvas.addEventListener('wheel', event => {
    if (event.ctrlKey || !always && document.activeElement !== canvas) return; // with Ctrl the page is enlarged
    event.preventDefault();
    event.stopPropagation();
    turned += event.deltaMode ? Math.sign(event.deltaY)*40 : clamp(event.deltaY, -40, 40);
    if (Math.abs(turned) >= 40) { step(turned < 0 ? 1 : -1); turned = 0; }
  }, {passive: false});
  strip.onpointerdown = event => { const {plane} = cut(current(), model); move(plane, Math.floor(share(event, strip)[0]*current().header.shape[plane.cut])); };
  for (const name of VALUES) model.on(`change:${name}`, later);
  draw();
  return {step, move, renew: () => { pointed = null; later(); }, forget: () => { for (const name of VALUES) model.off(`change:${name}`, later); }};
}

// --- In a page without Python: the values, and controls for them

class Values {
  constructor(values) { this.values = {...values}; this.listeners = {}; }
  get(name) { return this.values[name]; }
  set(name, value) { if (this.values[name] === value) return; this.values[name] = value; (this.listeners[`change:${name}`] || []).forEach(one => one()); }
  save_changes() {}
  on(event, listener) { (this.listeners[event] ||= []).push(listener); }
}

function controls(box, scene, model) {
  const {header} = scene, labelled = (text, tag, names) => { const label = make('label', {textContent: text}, box); return make(tag, names, label); };
  const follow = (name, show) => { model.on(`change:${name}`, show); show(); };
  const pick = (text, name, options) => {
    if (options.length < 2) return;
    const select = labelled(text, 'select', {className: name});
    for (const option of options) make('option', {textContent: option}, select);
    select.onchange = () => model.set(name, select.selectedIndex);
    follow(name, () => { select.selectedIndex = model.get(name); });
  };
  const slide = (text, name, max) => {
    const range = labelled(text, 'input', {type: 'range', min: 0, max, className: name});
    range.oninput = () => model.set(name, +range.value);
    follow(name, () => { range.value = model.get(name); });
  };
  pick('plane', 'plane', header.planes.map(plane => plane.name));
  pick('sequence', 'sequence', header.sequences.map(one => one.name));
  pick('overlay', 'overlay', header.overlays);
  pick('structure', 'structure', ['all', ...header.structures.map(one => one.name)].slice(header.structures.length > 1 ? 0 : 1));
  slide('opacity', 'opacity', 100);
  const tick = labelled('outlines', 'input', {type: 'checkbox', className: 'outlines'});
  tick.onchange = () => model.set('outlines', tick.checked);
  follow('outlines', () => { tick.checked = model.get('outlines'); });
  slide('window', 'window', 200);
  slide('level', 'level', 130);
}

function travel(box, scene, model, shown) { // slider, play, and jumps to errors
  const {header} = scene, slice = make('input', {type: 'range', className: 'long position', ariaLabel: 'slice'}, box);
  const here = () => cut(scene, model), counts = () => header.counts[here().plane.name][model.get('structure')];
  const show = () => {
    const {plane, index} = here();
    Object.assign(slice, {min: 0, max: header.shape[plane.cut] - 1});
    slice.value = index;
  };
  slice.oninput = () => shown.move(here().plane, +slice.value);
  for (const name of ['plane', ...header.planes.map(plane => plane.name)]) model.on(`change:${name}`, show);
  show();
  let timer = 0;
  const play = make('button', {textContent: '▶ play', className: 'play'}, box);
  const turn = () => { const {plane, index} = here(); if (box.isConnected) shown.move(plane, (index + 1) % header.shape[plane.cut]); else clearInterval(timer); };
  play.onclick = () => {
    if (timer) { clearInterval(timer); timer = 0; } else timer = setInterval(turn, 100);
    play.textContent = timer ? '❚❚ stop' : '▶ play';
  };
  if (!header.overlays.includes('errors')) return;
  const go = find => { const {wrong} = counts(), index = find(wrong); if (wrong.some(Boolean)) shown.move(here().plane, index); };
  const next = wrong => wrong.map((_, k) => (here().index + 1 + k) % wrong.length).find(k => wrong[k]);
  make('button', {textContent: 'next error', className: 'next'}, box).onclick = () => go(next);
  make('button', {textContent: 'worst slice', className: 'worst'}, box).onclick = () => go(wrong => wrong.indexOf(Math.max(...wrong)));
}

async function standalone(root, packed) { // base64 of the zlib stream that Python made
  const fold = root.closest('details'); // what is folded away is unpacked when it is looked at
  if (fold && !fold.open) await new Promise(opened => fold.addEventListener('toggle', opened, {once: true}));
  const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const scene = unpack(new Uint8Array(await new Response(stream).arrayBuffer())), model = new Values(scene.header.start);
  root.replaceChildren();
  make('style', {textContent: STYLE}, root);
  const above = make('div', {className: 'mriseg-controls'}, root), along = make('div', {className: 'mriseg-controls'}, root);
  above.style.width = along.style.width = `${scene.header.width}px`;
  const shown = viewer(root, model, () => scene, false);
  controls(above, scene, model);
  travel(along, scene, model, shown);
}

// --- In a notebook, as an anywidget

function render({model, el}) {
  const read = () => { const {buffer, byteOffset, byteLength} = model.get('scene'); return unpack(new Uint8Array(buffer, byteOffset, byteLength)); };
  let scene = read();
  make('style', {textContent: STYLE}, el);
  const shown = viewer(el, model, () => scene, true), renew = () => { scene = read(); shown.renew(); };
  model.on('change:scene', renew);
  return () => { model.off('change:scene', renew); shown.forget(); };
}

export default {render};
