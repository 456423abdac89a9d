// What charts can do beyond being looked at: crosshair, zoom by dragging, pins, copying. The drawing itself is the
// server's; a zoom asks it for finer data.
(() => {
  "use strict";

  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  const values = new Map(); // address → promise of the points behind a chart
  const cross = document.createElement("div");
  const tip = document.createElement("div");
  const marquee = document.createElement("div");
  [cross.className, tip.className, marquee.className] = ["cross", "tip", "marquee"];
  tip.setAttribute("role", "status");
  cross.hidden = tip.hidden = marquee.hidden = true;
  document.body.append(cross, tip, marquee);
  const WHOLE = [0, 1];
  let at = null; // { id of the chart, share of the width, y in px }
  let drag = null; // { plot, from: share, x and y: page px, isHeld: by a finger that stayed first }

  // Data -------------------------------------------------------------------------------------------------------------

  function load(address) {
    if (!values.has(address)) {
      if (values.size > 40) values.clear();
      const points = fetch(address, { headers: { Accept: "application/json" } }).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
      values.set(address, points);
    }
    return values.get(address);
  }

  function nearest(xs, x) {
    let low = 0;
    let high = xs.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle; else high = middle;
    }
    return high >= 0 && Math.abs(xs[high] - x) < Math.abs(xs[low] - x) ? high : low;
  }

  // An axis of a plot, x or y: from data to shares of the width or the height, and back.
  function axis(plot, name = "x") {
    const [low, high] = [Number(plot.dataset[`${name}Low`]), Number(plot.dataset[`${name}High`])];
    const isLog = `${name}Log` in plot.dataset;
    const [a, b] = isLog ? [Math.log10(low), Math.log10(high)] : [low, high];
    return {
      low, high,
      at: (share) => { const v = a + share * (b - a); return isLog ? 10 ** v : v; },
      share: (x) => (b > a ? ((isLog ? Math.log10(x) : x) - a) / (b - a) : 0.5),
    };
  }

  function exact(value) {
    if (value === null || value === undefined) return "NaN";
    return String(Number(value.toPrecision(7))).replace("-", "\u2212").replace("e\u2212", "e-");
  }

  function grouped(value) {
    return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
  }

  function nameX(found, x) {
    if (found.x === "step") return `step ${grouped(x)}`;
    if (found.x === "metric") return `${found.metric} ${exact(x)}`;
    if (found.x === "time") return new Date(x * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC";
    const whole = Math.round(x);
    return whole < 60 ? `${exact(x)} s` : [[3600, "h"], [60, "m"], [1, "s"]].map(([size, name], i, all) => {
      const part = Math.floor((i ? whole % all[i - 1][0] : whole) / size);
      return part ? `${part}${name}` : "";
    }).filter(Boolean).join(" ");
  }

  // Crosshair --------------------------------------------------------------------------------------------------------

  async function point() {
    const plot = at && $(`#${CSS.escape(at.id)} .plot[data-values]`);
    if (!plot) return hide();
    const found = await load(plot.dataset.values);
    if (!found || !at || $(`#${CSS.escape(at.id)} .plot`) !== plot) return;
    const box = $(".line-chart", plot).getBoundingClientRect();
    const scale = axis(plot);
    const wanted = scale.at(at.share);
    const air = (scale.high - scale.low) * 0.02;
    const rows = found.series.filter((s) => s.xs.length && wanted >= s.xs[0] - air && wanted <= s.xs.at(-1) + air)
      .map((s) => { const i = nearest(s.xs, wanted); return { ...s, x: s.xs[i], y: s.ys[i], soft: s.smooth?.[i], step: s.steps?.[i], ts: s.ts?.[i] }; });
    if (!rows.length) return hide();
    const x = rows.reduce((best, row) => (Math.abs(row.x - wanted) < Math.abs(best - wanted) ? row.x : best), rows[0].x);
    const height = (row) => row.soft ?? row.y;
    rows.sort((a, b) => height(b) - height(a));
    const near = hovered(plot, rows);
    const left = box.left + scrollX + scale.share(x) * box.width;
    Object.assign(cross.style, { left: `${left}px`, top: `${box.top + scrollY}px`, height: `${box.height}px` });
    tip.replaceChildren(...words(found, rows, near, x));
    cross.hidden = tip.hidden = false;
    const width = tip.offsetWidth;
    const isRight = left + 12 + width < scrollX + document.documentElement.clientWidth - 8;
    Object.assign(tip.style, { left: `${Math.max(8, isRight ? left + 12 : left - 12 - width)}px`, top: `${box.top + scrollY + 4}px` });
    if (rows.length > 1 && near) focusOn(near.run);
  }

  // What the tip says: where, and the runs there sorted by value, those around the nearest one when there are many.
  function words(found, rows, near, x) {
    const head = document.createElement("p");
    head.className = "tip-x";
    head.textContent = nameX(found, x);
    if (near?.step !== undefined) head.append(` · step ${grouped(near.step)}`);
    if (near?.ts !== undefined) head.append(` · ${new Date(near.ts * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`);
    const table = document.createElement("table");
    const shown = around(rows, near);
    for (const row of shown) {
      const line = table.insertRow();
      if (row === near && rows.length > 1) line.className = "is-near";
      const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      swatch.setAttribute("width", "12");
      swatch.setAttribute("height", "8");
      swatch.setAttribute("class", row.look);
      swatch.innerHTML = '<path class="swatch" d="M1 4h10"/>';
      line.insertCell().append(swatch);
      line.insertCell().textContent = row.n ? `${row.name} (mean of ${row.n})` : row.name;
      line.insertCell().textContent = exact(row.soft ?? row.y);
      if (row.soft !== undefined) line.insertCell().textContent = `raw ${exact(row.y)}`;
    }
    if (rows.length === shown.length) return [head, table];
    const more = document.createElement("p");
    more.className = "tip-more";
    more.textContent = `${rows.length - shown.length} more`;
    return [head, table, more];
  }

  function around(rows, near) {
    const index = Math.max(0, rows.indexOf(near));
    const from = Math.max(0, Math.min(index - 5, rows.length - 11));
    return rows.slice(from, from + 11);
  }

  // The run whose line is closest to the pointer, measured on the drawing itself.
  function hovered(plot, rows) {
    if (at.y === null) return rows[0];
    let best = rows[0];
    let distance = Infinity;
    for (const row of rows) {
      const line = $(`.line:not(.is-raw)[data-run="${CSS.escape(row.run)}"]`, plot);
      if (!line) continue;
      const matrix = line.getScreenCTM();
      const y = heightAt(line, at.share, plot) * matrix.d + matrix.f;
      if (Math.abs(y - at.y) < distance) [best, distance] = [row, Math.abs(y - at.y)];
    }
    return best;
  }

  // The height of a path, in its own units, at a share of the width. Paths are `M x y l dx dy …` in whole numbers.
  const shapes = new WeakMap();

  function heightAt(line, share, plot) {
    const d = line.getAttribute("d");
    let shape = shapes.get(line);
    if (!shape || shape.d !== d) {
      shape = { d, xs: [], ys: [] };
      for (const piece of d.split("M").slice(1)) {
        const numbers = piece.match(/-?\d+/g).map(Number);
        let x = 0;
        let y = 0;
        for (let i = 0; i < numbers.length; i += 2) {
          x += numbers[i];
          y += numbers[i + 1];
          shape.xs.push(x);
          shape.ys.push(y);
        }
      }
      shapes.set(line, shape);
    }
    return shape.ys[nearest(shape.xs, share * $(".lines", plot).viewBox.baseVal.width)];
  }

  function hide() {
    at = null;
    cross.hidden = tip.hidden = true;
    focusOn(null);
  }

  let focused = null;

  function focusOn(run) {
    if (run === focused && run === null) return;
    focused = run;
    $$(".board").forEach((board) => board.classList.toggle("has-focus", run !== null));
    $$(".board .is-focused").forEach((part) => { if (part.dataset.run !== run) part.classList.remove("is-focused"); });
    if (run !== null) $$(`.board [data-run="${CSS.escape(run)}"]`).forEach((part) => part.classList.add("is-focused"));
  }

  // Pointer ----------------------------------------------------------------------------------------------------------

  function shareOf(plot, event) {
    const box = $(".line-chart", plot).getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  }

  document.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return moved(event);
    if (drag) return stretch(event);
    const plot = event.target instanceof Element && event.target.closest(".plot[data-values]");
    if (plot) {
      at = { id: plot.closest(".chart").id, share: shareOf(plot, event), y: event.clientY };
      point();
    } else if (at && at.y !== null) hide();
    const row = event.target instanceof Element && event.target.closest("tr[data-run]");
    if (row && focused !== row.dataset.run) focusOn(row.dataset.run);
    else if (!row && !plot && focused !== null && (!at || at.y !== null)) focusOn(null);
  }, { passive: true });

  document.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") return touched(event);
    const plot = event.target instanceof Element && event.target.closest("[data-zoomable] .plot[data-values]");
    if (!plot || event.button) return;
    drag = { plot, from: shareOf(plot, event), x: event.clientX, y: event.clientY };
  });

  // A drag takes a part of x. On an enlarged chart one that goes far up or down takes a part of y too, or alone.
  const FAR_PX = 24;

  function stretch(event) {
    if (!drag.plot.isConnected) { drag = null; marquee.hidden = true; return; }
    const [dx, dy] = [Math.abs(event.clientX - drag.x), Math.abs(event.clientY - drag.y)];
    const isTall = dy >= FAR_PX && !drag.isHeld && drag.plot.closest(".is-alone") !== null;
    if (dx < 5 && !isTall && marquee.hidden) return;
    const box = $(".line-chart", drag.plot).getBoundingClientRect();
    const depth = (y) => Math.min(1, Math.max(0, (y - box.top) / box.height));
    drag.shares = isTall && dx < FAR_PX ? WHOLE : [drag.from, shareOf(drag.plot, event)].sort((a, b) => a - b);
    drag.depths = isTall ? [depth(drag.y), depth(event.clientY)].sort((a, b) => a - b) : WHOLE;
    hide();
    getSelection().removeAllRanges();
    mark(drag.plot, drag.shares, drag.depths);
  }

  function mark(plot, shares, depths = WHOLE) {
    const box = $(".line-chart", plot).getBoundingClientRect();
    marquee.hidden = false;
    Object.assign(marquee.style, {
      left: `${box.left + scrollX + shares[0] * box.width}px`, width: `${Math.max(3, (shares[1] - shares[0]) * box.width)}px`,
      top: `${box.top + scrollY + depths[0] * box.height}px`, height: `${(depths[1] - depths[0]) * box.height}px`,
    });
  }

  document.addEventListener("pointerup", (event) => {
    if (event.pointerType === "touch" && lifted(event)) return;
    const done = drag;
    drag = null;
    if (marquee.hidden) return;
    marquee.hidden = true;
    if (done?.shares) zoomTo(done.plot, done.shares, done.depths);
  });

  function zoomTo(plot, shares, depths = WHOLE) {
    const [x, y] = [axis(plot), axis(plot, "y")];
    const ends = shares.map((share) => Number(x.at(share).toPrecision(10)));
    const heights = depths.map((depth) => Number(y.at(1 - depth).toPrecision(5))).reverse();
    if (ends[1] > ends[0] && heights[1] > heights[0]) zoom(plot, shares === WHOLE ? null : ends, depths === WHOLE ? null : heights);
  }

  // Touch: a tap, or a finger that moves sideways, reads values. A finger that stays and then moves chooses what to zoom
  // into; so do two that spread, and two that close show all again. Up and down scrolls the page, as everywhere.
  const HOLD_MS = 350;
  const fingers = new Map(); // pointer → { plot, from: share, share, x, y }
  const guarded = new WeakSet();
  let hold = 0;

  function touched(event) {
    const plot = event.target instanceof Element && event.target.closest(".plot[data-values]");
    if (!plot) return hide();
    const share = shareOf(plot, event);
    clearTimeout(hold);
    if (fingers.size === 2 || [...fingers.values()].some((finger) => finger.plot !== plot)) fingers.clear();
    fingers.set(event.pointerId, { plot, from: share, share, x: event.clientX, y: event.clientY });
    drag = null;
    if (fingers.size > 1 || !plot.closest("[data-zoomable]")) return;
    hold = setTimeout(() => {
      drag = { plot, from: share, x: event.clientX, isHeld: true };
      hide();
      mark(plot, [share, share]);
    }, HOLD_MS);
  }

  function moved(event) {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    finger.share = shareOf(finger.plot, event);
    if (Math.hypot(event.clientX - finger.x, event.clientY - finger.y) > 8) clearTimeout(hold);
    if (fingers.size === 2) {
      const shares = spread();
      hide();
      if (shares) mark(finger.plot, shares); else marquee.hidden = true;
    } else if (drag) stretch(event);
    else if (Math.abs(event.clientX - finger.x) > 8) read(finger.plot, event);
  }

  // Whether that was all there is to do.
  function lifted(event) {
    const finger = fingers.get(event.pointerId);
    clearTimeout(hold);
    if (fingers.size === 2) {
      const shares = spread();
      const isClosed = reachOf() < 0.8;
      fingers.clear();
      marquee.hidden = true;
      if (shares) zoomTo(finger.plot, shares); else if (isClosed) zoom(null, null);
      return true;
    }
    fingers.clear();
    if (drag || !finger) return false;
    read(finger.plot, event);
    return true;
  }

  function read(plot, event) {
    at = { id: plot.closest(".chart").id, share: shareOf(plot, event), y: event.clientY };
    point();
  }

  // How much further apart two fingers are than they were.
  function reachOf() {
    const [a, b] = [...fingers.values()];
    return Math.abs(b.share - a.share) / Math.max(0.02, Math.abs(b.from - a.from));
  }

  // The part of the width that two spread fingers pull to the whole of it: what is under them stays under them.
  function spread() {
    const scale = reachOf();
    if (scale < 1.1) return null;
    const left = [...fingers.values()].reduce((one, other) => (one.from <= other.from ? one : other));
    const low = left.from - left.share / scale;
    return [Math.max(0, low), Math.min(1, low + 1 / scale)];
  }

  document.addEventListener("pointercancel", () => {
    clearTimeout(hold);
    fingers.clear();
    drag = null;
    marquee.hidden = true;
  });

  // The page must not scroll while a finger chooses, and a long press must not open a menu.
  function guard() {
    for (const plot of $$(".plot[data-values]")) {
      if (guarded.has(plot)) continue;
      guarded.add(plot);
      plot.addEventListener("touchmove", (event) => { if ((drag?.isHeld || fingers.size === 2) && event.cancelable) event.preventDefault(); }, { passive: false });
      plot.addEventListener("contextmenu", (event) => { if (fingers.size || drag?.isHeld) event.preventDefault(); });
    }
  }

  document.addEventListener("dblclick", (event) => {
    if (event.target instanceof Element && event.target.closest("[data-zoomable] .plot")) zoom(null, null);
  });

  // A zoom holds for all charts over the same axis: it is in the address. Without ends all is shown again.
  function zoom(plot, ends, heights) {
    const url = new URL(location.href);
    if (ends) {
      url.searchParams.set("zoom", ends.join("~"));
      // Charts of system metrics are over relative time while the others are over steps: zoomed, all are over time.
      if (plot.dataset.x === "relative" && !url.searchParams.has("x")) url.searchParams.set("x", "relative");
    }
    if (heights) ["ymin", "ymax"].forEach((name, i) => url.searchParams.set(name, heights[i]));
    if (!ends && !heights) ["zoom", "ymin", "ymax"].forEach((name) => url.searchParams.delete(name));
    if (url.href !== location.href) arwx.go(url.href);
  }

  document.addEventListener("focusin", (event) => {
    const plot = event.target instanceof Element && event.target.matches(":focus-visible") && event.target.closest(".plot[data-values]");
    if (plot) {
      at = { id: plot.closest(".chart").id, share: 1, y: null };
      point();
    } else if (at && at.y === null) hide();
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      drag = null;
      marquee.hidden = true;
      hide();
    } else if (event.target.matches(".plot") && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
      event.preventDefault();
      const share = at ? at.share : 1;
      const step = event.shiftKey ? 0.1 : 0.01;
      const moved = { ArrowLeft: share - step, ArrowRight: share + step, Home: 0, End: 1 }[event.key];
      at = { id: event.target.closest(".chart").id, share: Math.min(1, Math.max(0, moved)), y: null };
      point();
    }
  });

  // Pins and copies --------------------------------------------------------------------------------------------------

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest("[data-unzoom]")) zoom(null, null);
    const pin = event.target.closest("[data-pin]");
    const copy = event.target.closest("[data-copy-svg]");
    if (pin) {
      event.preventDefault();
      const url = new URL(location.href);
      const key = pin.dataset.pin.replaceAll("%", "%25").replaceAll(",", "%2C");
      const pins = (url.searchParams.get("pin") || "").split(",").filter(Boolean);
      const others = pins.includes(key) ? pins.filter((one) => one !== key) : [...pins, key];
      if (others.length) url.searchParams.set("pin", others.join(",")); else url.searchParams.delete("pin");
      arwx.go(url.href);
    } else if (copy) copySvg(copy);
  });

  async function copySvg(button) {
    const answer = await fetch(button.dataset.copySvg).catch(() => null);
    const words = button.textContent;
    try {
      if (!answer?.ok) throw new Error("no picture");
      await navigator.clipboard.writeText(await answer.text());
      button.textContent = "Copied";
    } catch {
      button.textContent = answer?.ok ? "No clipboard here: download it" : "The server does not answer";
    }
    setTimeout(() => { button.textContent = words; }, 1600);
  }

  document.addEventListener("htmx:afterSwap", () => {
    values.clear();
    guard();
    if (at) point();
    else if (focused) { const run = focused; focused = ""; focusOn(run); }
  });
  guard();
})();
