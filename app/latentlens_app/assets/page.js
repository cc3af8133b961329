// What the page does by itself, without asking the server. The numbers come from the server, in the stores `live`
// (every token, every iteration) and `bars-data` (one token); here they are only shown. Every function named in
// playhead.py is a client-side callback of Dash; text is handed to React, which escapes it.
(function () {
  "use strict";

  const KEPT = "latentlens"; // this tab's memory: sessionStorage survives a reload, and is not shared between tabs
  const STILL = matchMedia("(prefers-reduced-motion: reduce)");
  const KINDS = ["stream", "map", "grid", "line"];
  const GRAPHS = [...KINDS, "motion"];
  const skip = () => window.dash_clientside.no_update;
  const set = (id, props) => window.dash_clientside.set_props(id, props);
  const cause = () => window.dash_clientside.callback_context.triggered.map((t) => t.prop_id.split(".")[0]);
  const here = { at: 0, last: 0, position: 0, tokens: 0, live: null, coords: null }; // where the playhead is now

  function recall() {
    try {
      return JSON.parse(sessionStorage.getItem(KEPT)) || {};
    } catch (error) {
      return {};
    }
  }

  function keep(values) {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(values));
    } catch (error) {
      /* storage is off: the page works, but forgets */
    }
  }

  const number = (value) => (value === null || value === undefined ? "" : value < 0.005 ? "<0.01" : value.toFixed(2));
  const between = (value, low, high) => Math.min(Math.max(value, low), high);

  // ---- the figures -------------------------------------------------------------------------------------------------

  const plot = (id) => document.querySelector(`#${id} .js-plotly-plot`);

  /** Put the playhead (and the chosen token's frame) of a graph where it should be; no work where it is already. */
  function place(id) {
    const graph = plot(id);
    if (!graph || !graph.layout || !here.live) return;
    if (id === "map") placeOnMap(graph);
    else placeOnAxis(graph, graph.data[0] && graph.data[0].type === "heatmap" ? 0.5 : 0);
  }

  function placeOnAxis(graph, half) {
    const change = {};
    const move = (number, name, axis, middle, half) => {
      const shape = (graph.layout.shapes || [])[number];
      if (!shape || shape.name !== name) return;
      if (shape[`${axis}0`] !== middle - half) {
        change[`shapes[${number}].${axis}0`] = middle - half;
        change[`shapes[${number}].${axis}1`] = middle + half;
      }
      if (shape.visible === false) change[`shapes[${number}].visible`] = true;
    };
    move(0, "playhead", "x", here.at, half);
    move(1, "mark", "y", here.position, 0.5);
    if (Object.keys(change).length) window.Plotly.relayout(graph, change);
  }

  function placeOnMap(graph) {
    const number = graph.data.length - 1;
    const head = graph.data[number];
    const coords = here.coords && here.coords[here.at] && here.coords[here.at][here.position];
    if (!head || head.name !== "playhead" || !coords) return;
    const [x, y, z] = coords;
    if (x === null) {
      if (head.visible === true) window.Plotly.restyle(graph, { visible: false }, [number]); // left out of the layout
      return;
    }
    const there = head.visible === true && head.x.length === 1 && head.x[0] === x && head.y[0] === y;
    if (there && (!head.z || head.z[0] === z)) return;
    if (head.type === "scatter" && head.visible === true) {
      // One marker glides; the paths are not drawn again. A move that comes before the last one ended rejects it.
      const glide = { transition: { duration: STILL.matches ? 0 : 180 }, frame: { duration: 0, redraw: false } };
      const frame = { data: [{ x: [x], y: [y] }], traces: [number] };
      window.Plotly.animate(graph, frame, { mode: "immediate", ...glide }).catch(() => {});
    } else {
      const change = { x: [[x]], y: [[y]], visible: true };
      if (head.type === "scatter3d") change.z = [[z]];
      window.Plotly.restyle(graph, change, [number]);
    }
  }

  /** Go to a state of the map. Dash's own clickData leaves out the ids of a point, so the graph is asked itself. */
  function visit(ids) {
    if (!ids) return;
    set("position", { data: ids[1] });
    leap(ids[2]);
  }

  /** Follow a graph: whatever draws it anew (a new figure, a resize), the playhead is put back. */
  function follow(id) {
    const graph = plot(id);
    if (!graph || !graph.on) {
      window.requestAnimationFrame(() => follow(id)); // plotly is still being loaded
      return;
    }
    if (!graph.latentlens) {
      graph.latentlens = true;
      graph.on("plotly_afterplot", () => place(id));
      if (id === "map") graph.on("plotly_click", (event) => visit(event.points[0].customdata));
    }
    place(id);
  }

  const soon = { frame: 0, rest: 0 };
  function inSight(id) {
    const box = document.getElementById(id).getBoundingClientRect();
    return box.bottom > 0 && box.top < window.innerHeight;
  }

  /** Draw what can be seen in the next frame, however many moves come before it; the rest when the moves pause. */
  function drawSoon() {
    clearTimeout(soon.rest);
    soon.rest = setTimeout(rest, 150);
    if (soon.frame) return;
    soon.frame = window.requestAnimationFrame(() => {
      soon.frame = 0;
      GRAPHS.filter(inSight).forEach(follow);
    });
  }

  /** The moves have paused: draw the rest, and say where the playhead stays, for what is marked there. */
  function rest() {
    GRAPHS.forEach(follow);
    const playing = document.getElementById("play").classList.contains("playing");
    if (!playing && here.rest !== here.at) set("rest", { data: (here.rest = here.at) });
  }

  function mark(at, position, live, coords) {
    if (!live) return;
    Object.assign(here, { live, coords, last: live.iterations, tokens: live.tokens.length });
    here.at = between(at || 0, 0, here.last);
    here.position = between(position || 0, 0, here.tokens - 1);
    drawSoon();
  }

  // ---- the texts ---------------------------------------------------------------------------------------------------

  function say(at, live) {
    const outputs = window.dash_clientside.callback_context.outputs_list;
    const row = live && live.top[at];
    return outputs.map((output) => (row && row[output.id.position]) || "");
  }

  function press(position) {
    const outputs = window.dash_clientside.callback_context.outputs_list[0];
    const chosen = outputs.map((output) => output.id.position === position);
    return [
      chosen.map((yes) => (yes ? "token chosen" : "token")),
      chosen.map((yes) => (yes ? "true" : "false")),
      chosen.map((yes) => (yes ? 0 : -1)),
    ];
  }

  function fill(at, data) {
    const outputs = window.dash_clientside.callback_context.outputs_list;
    if (!data || !data.prob[at]) return outputs.map((list) => list.map(skip));
    const row = Object.fromEntries(data.rows.map((one, index) => [one.id, index]));
    const rows = outputs[0].map((output) => row[output.id.token]);
    const place = rows.map((index) => data.place[at].indexOf(index));
    const chance = rows.map((index) => data.prob[at][index]);
    return [
      place.map((p) => (p < 0 ? { visibility: "hidden", opacity: 0, "--place": data.height } : { "--place": p })),
      chance.map((value) => ({ transform: `scaleX(${value || 0})` })),
      chance.map(number),
    ];
  }

  function tell(at, position, live) {
    if (!live || !live.top[at] || position === null || position >= live.tokens.length) return ["", "", "", ""];
    const [top, chance] = [live.top[at][position], live.prob[at][position]];
    const token = live.tokens[position];
    const bits = live.bits && live.bits[at][position];
    const settled = live.commitment[position];
    const parts = [`entropy ${live.entropy[at][position].toFixed(2)} bits`];
    if (bits !== null && bits !== undefined) parts.push(`${bits.toFixed(2)} bits from the exact answer`);
    if (!live.settled[position]) parts.push(`leads since iteration ${settled}, not settled`);
    else parts.push(at < settled ? `settles at iteration ${settled}` : `settled since iteration ${settled}`);
    const start = at === 0 && live.random ? ", the random start" : "";
    return [
      `Iteration ${at}`,
      `of ${live.iterations}${start}, at “${token}” (${position + 1} of ${live.tokens.length})`,
      parts.join(" · "),
      `Iteration ${at} of ${live.iterations}: ${top} leads with ${number(chance)}`,
    ];
  }

  // ---- play --------------------------------------------------------------------------------------------------------

  function toggle(clicks, playing, at, last) {
    if (!clicks) return [skip(), skip()];
    return [!playing, !playing && at >= last ? 0 : skip()];
  }

  function tick(ticks, playing, at, last) {
    if (!playing) return [skip(), skip()];
    return at + 1 >= last ? [false, last] : [skip(), at + 1];
  }

  const play = (playing) => [!playing, playing ? "play playing" : "play", playing ? "Pause" : "Play"];

  /** A click on a token, on a cell (which also is at an iteration), in the stream or on a line (which only are). */
  function choose(tokens, grid, stream, line) {
    const [source] = cause();
    if (!source) return [skip(), skip()];
    if (source.startsWith("{")) {
      const pressed = window.dash_clientside.callback_context.triggered.some((t) => t.value);
      return pressed ? [JSON.parse(source).position, skip()] : [skip(), skip()];
    }
    const points = ({ grid, stream, line }[source] || {}).points;
    if (!points || !points.length) return [skip(), skip()];
    if (source !== "grid") return [skip(), Number.isInteger(points[0].x) ? points[0].x : skip()];
    return points[0].customdata || [skip(), skip()];
  }

  function leap(at) {
    set("playing", { data: false });
    here.at = between(at, 0, here.last);
    set("at", { value: here.at });
  }

  function walk(steps) {
    const position = between(here.position + steps, 0, here.tokens - 1);
    here.position = position;
    set("position", { data: position });
    const button = document.querySelectorAll("#strip .token")[position];
    if (button) button.focus();
  }

  const TYPES = 'input, textarea, select, [contenteditable="true"], [role="slider"], [role="radio"], [role="menu"], [role="menuitem"], [role="dialog"], [role="combobox"]';

  function key(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      document.getElementById("run").click();
      return;
    }
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest(TYPES)) return;
    const inStrip = Boolean(event.target.closest("#strip"));
    const button = event.target.closest("button, a, summary");
    const moves = {
      ArrowLeft: () => leap(here.at - 1),
      ArrowRight: () => leap(here.at + 1),
      Home: () => leap(0),
      End: () => leap(here.last),
    };
    if (inStrip) Object.assign(moves, { ArrowUp: () => walk(-1), ArrowDown: () => walk(1) });
    if (!button || inStrip) moves[" "] = () => document.getElementById("play").click();
    const move = moves[event.key];
    if (!move || !here.live) return;
    event.preventDefault();
    move();
  }

  // ---- the run -----------------------------------------------------------------------------------------------------

  function open() {
    document.addEventListener("keydown", key);
    const kept = recall();
    kept.play = !STILL.matches;
    return kept;
  }

  /** Light or dark, and how wide each picture is; both may change at any time, and the pictures are drawn for them. */
  function look() {
    const root = document.documentElement;
    const frame = (kind) => document.getElementById(`${kind}-frame`);
    const now = () => ({
      dark: root.getAttribute("data-mantine-color-scheme") === "dark",
      widths: Object.fromEntries(KINDS.map((kind) => [kind, Math.max(frame(kind).clientWidth, 100)])),
    });
    let last = now();
    let waiting = null;
    const tell = () => {
      const next = now();
      const moved = KINDS.some((kind) => Math.abs(next.widths[kind] - last.widths[kind]) > 16);
      if (moved || next.dark !== last.dark) set("look", { data: (last = next) });
    };
    new MutationObserver(tell).observe(root, { attributes: true, attributeFilter: ["data-mantine-color-scheme"] });
    const resized = new ResizeObserver(() => {
      clearTimeout(waiting);
      waiting = setTimeout(tell, 250);
    });
    KINDS.forEach((kind) => resized.observe(frame(kind)));
    return last;
  }

  function remember(shown, job, position, at) {
    const kept = recall();
    if (job) kept.job = job;
    if (shown) Object.assign(kept, { ask: shown.ask, key: shown.key, position, at });
    if (shown || job) keep(kept);
  }

  // ---- the model ---------------------------------------------------------------------------------------------------

  const part = (type, className, children) => ({ namespace: "dash_html_components", type, props: { className, children } });

  /** What the model is, near its name; texts are children, which React escapes. */
  function describe(name, model) {
    if (!model) return skip();
    if (model.key !== name) return part("P", "about-facts", name ? "Press Run to load it." : "");
    return [
      part("P", "about-title", model.title),
      part("P", "about-facts", model.facts.join(" · ")),
      ...model.notes.map((note) => part("P", "about-note", note)),
    ];
  }

  const counts = { key: null, by: {} }; // the iterations that were chosen, by model

  /** The controls that depend on the model: another model iterates as often as it does by itself, until that is changed. */
  function fit(name, model, iterations) {
    const known = Boolean(model) && model.key === name;
    if (counts.key !== null && counts.key !== name) {
      counts.by[counts.key] = iterations;
      iterations = counts.by[name] === undefined ? "" : counts.by[name];
    }
    counts.key = name;
    if (known && (iterations === "" || iterations === null || !model.free)) iterations = model.iterations;
    const hint = known && model.ids ? "token ids, such as 12 7 5" : null;
    return [iterations, known && !model.free, hint, name !== "walks"];
  }

  /** What the lens picker offers: those that need no fitting, the saved ones of the model, and any file. */
  function lenses(lens, model) {
    const data = [
      { value: "coda", label: "Coda" },
      { value: "logit", label: "Logit" },
      ...((model && model.lenses) || []).map(([value, label]) => ({ value, label })),
      { value: "file", label: "A saved lens…" },
    ];
    if (lens && !data.some((one) => one.value === lens)) data.push({ value: lens, label: lens.split("/").pop() });
    return [data, lens !== "file"];
  }

  const WORDS = {
    load: "Loading the model",
    capture: "Iterating",
    decode: "Decoding",
    pca: "Laying out the states",
    points: "Laying out the states",
    coordinates: "Laying out the states",
    neighbours: "Finding neighbours; the first UMAP takes longer",
    umap: "Laying out by UMAP",
    dynamics: "Following the states",
    spectra: "Taking derivatives",
    pairs: "Laying out the states",
    starts: "Iterating from other starts",
    mark: "Decoding around the state",
    cancel: "Stopping",
  };

  function status(now) {
    if (!now) return [0, "", "progress idle", false, true, skip(), skip()];
    const busy = now.state === "queued" || now.state === "running";
    const percent = Math.round(100 * now.share);
    const word = WORDS[now.what.split(" ")[0]] || "Starting";
    const text = {
      queued: "Waiting for another run",
      running: word === WORDS.load ? word : `${word}, ${percent}%`,
      done: "Done",
      failed: "",
      cancelled: "Cancelled",
    }[now.state];
    const failed = now.state === "failed";
    const error = failed ? [now.message, false] : [skip(), busy || now.state === "done" ? true : skip()];
    return [busy ? percent : 0, text, `progress ${now.state}`, busy, !busy, ...error];
  }

  /** How far work beside a run is: the bar, the words, and whether there is something to cancel. */
  function side(now) {
    if (!now || now.state === "idle") return [0, "", "side idle", true];
    const percent = Math.round(100 * now.share);
    const words = {
      queued: "Waiting for another run",
      running: `${WORDS[now.what.split(" ")[0]] || "Working"}, ${percent}%`,
      done: "",
      failed: now.message,
      cancelled: "Cancelled",
    };
    const busy = now.state === "queued" || now.state === "running";
    return [busy ? percent : 0, words[now.state], `side ${busy ? "busy" : now.state}`, !busy];
  }

  let spoken = "";
  function announce(leader, playing) {
    if (!playing) spoken = leader; // while it plays, a screen reader would never come to an end
    return spoken;
  }

  const functions = { announce, choose, describe, fill, fit, lenses, look, mark, open, play, press, remember, say, side, status, tell, tick, toggle };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { latentlens: functions });
})();
