// What a page can do beyond being read: theme, copying, searching, fresh times, and the crosshair of the charts.
// Everything is readable without it.
(() => {
  "use strict";

  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Theme: automatic, light, dark ------------------------------------------------------------------------------------

  const THEMES = ["auto", "light", "dark"];

  function stored() {
    try { return localStorage.getItem("theme") || "auto"; } catch { return document.documentElement.dataset.theme || "auto"; }
  }

  function setTheme(theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      if (theme === "auto") localStorage.removeItem("theme");
      else localStorage.setItem("theme", theme);
    } catch { /* the choice lasts as long as the page */ }
    nameTheme();
  }

  function nameTheme() {
    const words = { auto: "automatic", light: "light", dark: "dark" }[stored()];
    $$("[data-theme-switch]").forEach((button) => {
      button.setAttribute("aria-label", `Theme: ${words}`);
      button.title = `Theme: ${words}`;
    });
  }

  // Copying ----------------------------------------------------------------------------------------------------------

  async function copy(button) {
    const text = $("pre", button.parentElement).textContent;
    const label = $("span", button);
    try {
      await navigator.clipboard.writeText(text);
      label.textContent = "Copied";
    } catch {
      // Plain http has no clipboard: mark the lines, so that the keyboard can copy them.
      getSelection().selectAllChildren($("pre", button.parentElement));
      label.textContent = "Marked";
    }
    setTimeout(() => { label.textContent = "Copy"; }, 1600);
  }

  // Times ------------------------------------------------------------------------------------------------------------

  const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];

  function freshen() {
    if (document.hidden) return;
    for (const time of $$("time[data-time=ago]")) {
      const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
      if (seconds >= 7 * 86400) continue;
      const [unit, name] = UNITS.find(([size]) => seconds >= size) || [1, "s"];
      const words = seconds < 10 ? "just now" : `${Math.floor(seconds / unit)}${name} ago`;
      if (time.textContent !== words) time.textContent = words;
    }
  }

  // Swapping in what htmx brings -------------------------------------------------------------------------------------

  // A page that asks for itself again brings places for charts where the old page has drawn ones: those stay, and
  // are asked for again only when they would show something else.
  function keepDrawn(old, fresh) {
    if (!(old instanceof Element) || !(fresh instanceof Element)) return true;
    if (old.matches("details[data-keep-open]") && fresh.matches("details")) fresh.open = old.open;
    if (old.id === "receipt" && old.dataset.source === fresh.dataset.source && $("details", old)) return false;
    if (!fresh.matches(".chart.is-waiting") || old.matches(".is-waiting")) return true;
    if (old.dataset.source !== fresh.dataset.source) {
      const address = fresh.dataset.source;
      queueMicrotask(() => htmx.ajax("GET", address, { source: old, target: old, swap: "morph:outerHTML" }));
    }
    return false;
  }

  if (window.Idiomorph) Idiomorph.defaults.callbacks.beforeNodeMorphed = keepDrawn;

  // Nobody looks at a hidden page: it asks for nothing until it is seen again.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const isPolling = !event.detail.requestConfig.triggeringEvent;
    if (document.hidden && isPolling && event.detail.requestConfig.verb === "get") event.preventDefault();
  });
  document.addEventListener("visibilitychange", freshen);

  // Crosshair --------------------------------------------------------------------------------------------------------

  const values = new Map(); // address → promise of the points behind a chart
  const cross = document.createElement("div");
  const tip = document.createElement("div");
  cross.className = "cross";
  tip.className = "tip";
  tip.setAttribute("role", "status");
  cross.hidden = tip.hidden = true;
  document.body.append(cross, tip);
  let at = null; // { id of the chart, share of the width, y in px }

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

  function exact(value) {
    if (value === null) return "NaN";
    return String(Number(value.toPrecision(7))).replace("-", "\u2212").replace("e\u2212", "e-");
  }

  function nameX(kind, x) {
    if (kind === "step") return `step ${Math.round(x).toLocaleString("en").replaceAll(",", "\u202f")}`;
    if (kind === "time") return new Date(x * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC";
    const whole = Math.round(x);
    return whole < 60 ? `${exact(x)} s` : [[3600, "h"], [60, "m"], [1, "s"]].map(([size, name], i, all) => {
      const part = Math.floor((i ? whole % all[i - 1][0] : whole) / size);
      return part ? `${part}${name}` : "";
    }).filter(Boolean).join(" ");
  }

  async function point() {
    const plot = at && $(`#${CSS.escape(at.id)} .plot[data-values]`);
    if (!plot) return hide();
    const found = await load(plot.dataset.values);
    if (!found || !at || $(`#${CSS.escape(at.id)} .plot`) !== plot) return;
    const box = $(".line-chart", plot).getBoundingClientRect();
    const [low, high] = [Number(plot.dataset.xLow), Number(plot.dataset.xHigh)];
    const wanted = low + at.share * (high - low);
    const rows = found.series.filter((s) => s.xs.length && wanted >= s.xs[0] - (high - low) * 0.02 && wanted <= s.xs.at(-1) + (high - low) * 0.02)
      .map((s) => { const i = nearest(s.xs, wanted); return { ...s, x: s.xs[i], y: s.ys[i] }; });
    if (!rows.length) return hide();
    const x = rows.reduce((best, row) => (Math.abs(row.x - wanted) < Math.abs(best - wanted) ? row.x : best), rows[0].x);
    rows.sort((a, b) => b.y - a.y);
    const near = hovered(plot, rows);
    const left = box.left + scrollX + (high > low ? (x - low) / (high - low) : 0.5) * box.width;
    Object.assign(cross.style, { left: `${left}px`, top: `${box.top + scrollY}px`, height: `${box.height}px` });
    const head = document.createElement("p");
    head.className = "tip-x";
    head.textContent = nameX(found.x, x);
    const table = document.createElement("table");
    for (const row of around(rows, near)) {
      const line = table.insertRow();
      if (row === near && rows.length > 1) line.className = "is-near";
      const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      swatch.setAttribute("width", "12");
      swatch.setAttribute("height", "8");
      swatch.setAttribute("class", row.look);
      swatch.innerHTML = '<path class="swatch" d="M1 4h10"/>';
      line.insertCell().append(swatch);
      line.insertCell().textContent = row.name;
      line.insertCell().textContent = exact(row.y);
    }
    tip.replaceChildren(head, table);
    cross.hidden = tip.hidden = false;
    const width = tip.offsetWidth;
    const isRight = left + 12 + width < scrollX + document.documentElement.clientWidth - 8;
    Object.assign(tip.style, { left: `${Math.max(8, isRight ? left + 12 : left - 12 - width)}px`, top: `${box.top + scrollY + 4}px` });
    if (rows.length > 1 && near) focusOn(near.run);
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
      const line = $(`.line[data-run="${CSS.escape(row.run)}"]`, plot);
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
    focused = run;
    $$(".board").forEach((board) => board.classList.toggle("has-focus", run !== null));
    $$(".board .is-focused").forEach((part) => { if (part.dataset.run !== run) part.classList.remove("is-focused"); });
    if (run !== null) $$(`.board [data-run="${CSS.escape(run)}"]`).forEach((part) => part.classList.add("is-focused"));
  }

  document.addEventListener("pointermove", (event) => {
    const plot = event.target instanceof Element && event.target.closest(".plot[data-values]");
    if (plot) {
      const box = $(".line-chart", plot).getBoundingClientRect();
      at = { id: plot.closest(".chart").id, share: Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)), y: event.clientY };
      point();
    } else if (at && at.y !== null) hide();
    const row = event.target instanceof Element && event.target.closest("tr[data-run]");
    if (row && focused !== row.dataset.run) focusOn(row.dataset.run);
    else if (!row && !plot && focused !== null && (!at || at.y !== null)) focusOn(null);
  }, { passive: true });

  document.addEventListener("focusin", (event) => {
    const plot = event.target instanceof Element && event.target.matches(":focus-visible") && event.target.closest(".plot[data-values]");
    if (plot) {
      at = { id: plot.closest(".chart").id, share: 1, y: null };
      point();
    } else if (at && at.y === null) hide();
  });

  // Keys -------------------------------------------------------------------------------------------------------------

  // An element with data-key="g r" is followed, pressed or focused when g and then r are typed.
  let typed = "";
  let forget = 0;

  function pressed(key) {
    typed = typed ? `${typed} ${key}` : key;
    clearTimeout(forget);
    forget = setTimeout(() => { typed = ""; }, 900);
    const keys = $$("[data-key]").filter((one) => one.offsetParent !== null || one.closest("details, dialog, .lens"));
    const found = keys.find((one) => one.dataset.key === typed);
    if (!found) {
      if (!keys.some((one) => one.dataset.key.startsWith(`${typed} `))) typed = "";
      return false;
    }
    typed = "";
    if (found.matches("input, textarea")) {
      found.focus();
      found.select();
    } else found.click();
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.matches("input:not([type=checkbox], [type=range]), textarea, select");
    if (event.key === "Escape") {
      hide();
      $$("details.menu[open]").forEach((menu) => { menu.open = false; });
      if (event.target.matches("input[type=search]")) event.target.blur();
    } else if (!isTyping && !$("dialog[open]") && event.key.length === 1 && pressed(event.key)) {
      event.preventDefault();
    } else if (event.target.matches(".plot") && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
      event.preventDefault();
      const share = at ? at.share : 1;
      const step = event.shiftKey ? 0.1 : 0.01;
      const moved = { ArrowLeft: share - step, ArrowRight: share + step, Home: 0, End: 1 }[event.key];
      at = { id: event.target.closest(".chart").id, share: Math.min(1, Math.max(0, moved)), y: null };
      point();
    }
  });

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const button = event.target.closest("button");
    if (button && button.hasAttribute("data-theme-switch")) setTheme(THEMES[(THEMES.indexOf(stored()) + 1) % THEMES.length]);
    if (button && button.hasAttribute("data-copy")) copy(button);
    if (button && button.dataset.opens) $(`#${button.dataset.opens}`).showModal();
    if (event.target.matches("dialog[open]")) event.target.close(); // its backdrop
    $$("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
  });

  // What cannot be undone is asked about first.
  document.addEventListener("submit", (event) => {
    const words = event.target.dataset.confirm;
    if (words && !confirm(words)) event.preventDefault();
  });

  document.addEventListener("htmx:afterSwap", () => {
    values.clear();
    if (at) point();
    else if (focused) focusOn(focused);
    freshen();
  });

  nameTheme();
  setInterval(freshen, 5000);
})();
