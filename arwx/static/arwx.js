// What a page can do beyond being read: theme, copying, fresh times, other views without a new page, keys.
// Everything is readable without it; charts.js adds what charts can do.
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

  // The width of the run table, which each browser remembers ----------------------------------------------------------

  function setWidth(width) {
    const root = document.documentElement.style;
    const kept = width && Math.round(Math.min(Math.max(width, 288), innerWidth * 0.7));
    if (kept) root.setProperty("--table", `${kept}px`); else root.removeProperty("--table");
    try { if (kept) localStorage.setItem("table-width", kept); else localStorage.removeItem("table-width"); } catch { /* as above */ }
    nameWidth();
  }

  function nameWidth() {
    const split = $("[data-split]");
    if (!split) return;
    const most = Math.round(innerWidth * 0.7);
    const is = Math.round(split.previousElementSibling.offsetWidth);
    for (const [name, value] of [["min", 288], ["max", most], ["now", is]]) split.setAttribute(`aria-value${name}`, value);
  }

  document.addEventListener("pointerdown", (event) => {
    const split = event.target instanceof Element && event.target.closest("[data-split]");
    if (!split || event.button) return;
    event.preventDefault();
    const from = split.previousElementSibling.offsetWidth - event.clientX;
    split.setPointerCapture(event.pointerId);
    split.classList.add("is-held");
    const move = (moved) => setWidth(from + moved.clientX);
    split.addEventListener("pointermove", move);
    split.addEventListener("lostpointercapture", () => {
      split.removeEventListener("pointermove", move);
      split.classList.remove("is-held");
    }, { once: true });
  });
  document.addEventListener("dblclick", (event) => { if (event.target instanceof Element && event.target.closest("[data-split]")) setWidth(0); });
  document.addEventListener("keydown", (event) => {
    if (!(event.target instanceof Element) || !event.target.matches("[data-split]")) return;
    const step = { ArrowLeft: -32, ArrowRight: 32, Home: -9999, End: 9999 }[event.key];
    if (!step) return;
    event.preventDefault();
    setWidth(event.target.previousElementSibling.offsetWidth + step);
  });

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
    button.classList.add("is-said");
    setTimeout(() => { label.textContent = "Copy"; button.classList.remove("is-said"); }, 1600);
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

  // Other views of the same page -------------------------------------------------------------------------------------

  // Choices are links and forms with data-view: their address is fetched, and the page morphs into it.
  let turned = 0; // when the last other view was asked for

  function go(address, { replaces = false } = {}) {
    const url = new URL(address, location.href);
    if (url.href === location.href && performance.now() - turned < 400) return; // said twice, by Enter and by leaving the field
    if (!$("#live") || url.pathname !== location.pathname || !window.htmx) {
      location.assign(url);
      return;
    }
    history[replaces ? "replaceState" : "pushState"]({ htmx: true }, "", url);
    turned = performance.now();
    document.body.classList.add("is-going");
    htmx.ajax("GET", url.pathname + url.search, { target: "#live", swap: "morph:outerHTML" })
      .then(() => {
        // The page says its address in the shortest form.
        const said = $("#live").dataset.address;
        if (said && location.href === url.href) history.replaceState({ htmx: true }, "", said);
      })
      .finally(() => document.body.classList.remove("is-going"));
  }

  // What was asked for before the visitor turned to another view comes too late to be shown.
  document.addEventListener("htmx:beforeRequest", (event) => { event.detail.xhr.askedAt = performance.now(); });
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id === "live" && event.detail.xhr.askedAt < turned) event.detail.shouldSwap = false;
  });

  let settling = 0;

  function addressOf(form, submitter) {
    const fields = new URLSearchParams();
    for (const [name, value] of new FormData(form, submitter)) if (value !== "" && !(name === "smooth" && value === "0")) fields.append(name, value);
    return `${form.getAttribute("action")}?${fields}`;
  }

  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[data-view]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(link.href);
  });

  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-view]")) return;
    event.preventDefault();
    event.target.closest("details.menu")?.removeAttribute("open");
    go(addressOf(event.target, event.submitter));
  });

  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-view]:not(.columns-form)");
    if (!form || !event.target.matches("select, input[type=range], input[type=search]")) return;
    clearTimeout(settling);
    // A slider that is moved by keys says every step: the last one counts.
    settling = setTimeout(() => go(addressOf(form)), event.target.type === "range" ? 250 : 0);
  });

  // The cross in a search field means: all again.
  document.addEventListener("search", (event) => {
    const form = event.target.closest("form[data-view]");
    if (form && event.target.value === "") go(addressOf(form));
    if (event.target.dataset.filters) event.target.dispatchEvent(new Event("input", { bubbles: true }));
  });

  // A link back to where the visitor comes from goes there with everything as it was left.
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[data-back]");
    if (!link || !document.referrer || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const [from, to] = [new URL(document.referrer), new URL(link.href)];
    if (from.origin !== to.origin || from.pathname !== to.pathname || history.length < 2) return;
    event.preventDefault();
    // Other views of this page are steps of the history too.
    if (history.state?.htmx) location.assign(from); else history.back();
  });

  document.addEventListener("input", (event) => {
    if (event.target.matches(".smooth input")) event.target.nextElementSibling.textContent = Number(event.target.value) ? Number(event.target.value).toFixed(2) : "off";
  });

  // A list that shows only what has the words in it.
  document.addEventListener("input", (event) => {
    const list = event.target.dataset?.filters && $(`#${event.target.dataset.filters}`);
    if (!list) return;
    const words = event.target.value.trim().toLowerCase();
    for (const one of list.matches("dl") ? list.children : $$(".columns-line", list)) one.hidden = !one.textContent.toLowerCase().includes(words);
  });

  // A section that is closed or opened stays so in the address.
  document.addEventListener("toggle", (event) => {
    const section = event.target;
    if (!(section instanceof Element) || !section.dataset.section) return;
    const url = new URL(location.href);
    const isUsuallyOpen = section.dataset.section !== "system";
    const name = isUsuallyOpen ? "closed" : "opened";
    const wanted = section.open !== isUsuallyOpen;
    const pack = (one) => one.replaceAll("%", "%25").replaceAll(",", "%2C");
    const listed = (url.searchParams.get(name) || "").split(",").filter(Boolean);
    const isListed = listed.includes(pack(section.dataset.section));
    if (wanted === isListed) return;
    const others = listed.filter((one) => one !== pack(section.dataset.section));
    if (wanted) others.push(pack(section.dataset.section));
    if (others.length) url.searchParams.set(name, others.join(",")); else url.searchParams.delete(name);
    history.replaceState(history.state, "", url);
    $("#live[hx-get]")?.setAttribute("hx-get", url.pathname + url.search);
  }, true);

  // Swapping in what htmx brings -------------------------------------------------------------------------------------

  // A page that asks for itself again brings places for charts where the old page has drawn ones: those stay, and
  // are asked for again only when they would show something else. What a visitor has in hand stays too.
  function keepDrawn(old, fresh) {
    if (!(old instanceof Element) || !(fresh instanceof Element)) return true;
    if (old.matches("details.menu[open]")) return false;
    if (old.matches("details[data-keep-open]") && fresh.matches("details")) fresh.open = old.open;
    if (old.matches("input[data-keep]") && old.checked) fresh.setAttribute("checked", "");
    if (old.matches("form[data-editing]")) return false;
    // What was typed and not sent yet, unless the answer says something new.
    if (old.matches("input[type=text], input[type=search]") && old.value !== old.defaultValue && (fresh.getAttribute("value") ?? "") === old.defaultValue) return false;
    if (old.id === "receipt" && old.dataset.source === fresh.dataset.source && $("details", old)) return false;
    if (!fresh.matches(".chart.is-waiting") || old.matches(".is-waiting")) return true;
    if (old.dataset.source !== fresh.dataset.source) {
      const address = fresh.dataset.source;
      queueMicrotask(() => {
        old.dataset.source = address;
        redraw(old);
      });
    }
    return false;
  }

  // Only what is in sight is drawn again at once; the rest when it comes into view.
  const sight = new IntersectionObserver((seen) => {
    for (const one of seen) {
      if (!one.isIntersecting) continue;
      sight.unobserve(one.target);
      htmx.ajax("GET", one.target.dataset.source, { source: one.target, target: one.target, swap: "morph:outerHTML" });
    }
  }, { rootMargin: "200px" });

  function redraw(chart) {
    sight.unobserve(chart);
    sight.observe(chart);
  }

  if (window.Idiomorph) {
    Idiomorph.defaults.callbacks.beforeNodeMorphed = keepDrawn;
    Idiomorph.defaults.ignoreActiveValue = true;
  }

  function inSight(element) {
    const box = element.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight && box.width > 0;
  }

  // A place for a chart whose answer did not come says so, and asks again when told to.
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, (event) => {
      const chart = event.target instanceof Element && event.target.closest(".chart.is-waiting");
      if (!chart) return;
      const words = document.createElement("p");
      const again = document.createElement("button");
      again.type = "button";
      again.className = "quiet-button";
      again.textContent = "Try again";
      again.addEventListener("click", () => redraw(chart));
      words.append(name === "htmx:responseError" ? "The server could not draw this. " : "The server does not answer. ", again);
      $(".plot", chart).replaceChildren(words);
    });
  }

  // Nobody looks at a hidden page: it asks for nothing until it is seen again.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const isPolling = !event.detail.requestConfig.triggeringEvent;
    const isUnseen = document.hidden || (event.target.matches(".chart") && !inSight(event.target));
    if (isUnseen && isPolling && event.detail.requestConfig.verb === "get") event.preventDefault();
  });
  document.addEventListener("visibilitychange", freshen);

  // A page on which nothing lives asks for nothing, until somebody comes back to it: then once, whether there is news.
  const QUIET_MS = 20000;
  let heardAt = performance.now(); // when the page was made, or asked for news
  let touchedAt = performance.now();

  async function askForNews() {
    const page = $("#live[data-news]");
    if (!page || document.hidden || performance.now() - heardAt < QUIET_MS) return;
    heardAt = performance.now();
    const answer = await fetch(page.dataset.news).catch(() => null);
    const words = answer?.ok ? (await answer.text()).trim() : "";
    $("#news")?.remove();
    if (!words || !page.isConnected) return;
    const told = document.createElement("button");
    told.id = "news";
    told.type = "button";
    told.className = "news chip";
    told.textContent = `${words} · show`;
    told.addEventListener("click", () => { told.remove(); go(location.href, { replaces: true }); });
    const place = document.createElement("div");
    place.setAttribute("role", "status");
    place.append(told);
    $("#main").append(place);
  }

  document.addEventListener("visibilitychange", askForNews);
  addEventListener("focus", askForNews);
  document.addEventListener("pointermove", () => {
    if (performance.now() - touchedAt > QUIET_MS) askForNews();
    touchedAt = performance.now();
  }, { passive: true });
  document.addEventListener("htmx:afterSwap", (event) => { if (event.detail.target.id === "live") heardAt = performance.now(); });

  // The progress picture and the table below it show each other what is pointed at ------------------------------------

  const label = document.createElement("div");
  label.className = "point-tip";
  label.hidden = true;
  document.body.append(label);
  let pointed = null; // the experiment under the pointer, or with the focus

  function pointAt(event) {
    const one = event.target instanceof Element && event.target.closest("[data-experiment], [data-try]");
    const id = one ? one.dataset.experiment || one.dataset.try : null;
    if (id === pointed) return;
    pointed = id;
    $$(".is-pointed").forEach((old) => old.classList.remove("is-pointed"));
    label.hidden = true;
    if (!one) return;
    const dot = $(`[data-experiment="${CSS.escape(id)}"]`);
    [dot, $(`[data-try="${CSS.escape(id)}"]`)].forEach((other) => other?.classList.add("is-pointed"));
    const title = dot && $("title", dot);
    if (title) { // our own words come at once; the browser's would come late, and beside them
      dot.setAttribute("aria-label", title.textContent);
      title.remove();
    }
    if (one !== dot || !dot) return;
    label.textContent = dot.getAttribute("aria-label");
    label.hidden = false;
    const [box, own] = [dot.getBoundingClientRect(), label.getBoundingClientRect()];
    const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 8);
    const above = box.top - own.height - 6;
    label.style.left = `${left + scrollX}px`;
    label.style.top = `${(above > 48 ? above : box.bottom + 6) + scrollY}px`;
  }

  document.addEventListener("pointerover", pointAt);
  document.addEventListener("focusin", pointAt);

  // However many points the picture has, Tab stops there once, at the best or where the focus was; arrow keys go on.
  const pointsOf = (picture) => $$("a[data-index]", picture).sort((a, b) => a.dataset.index - b.dataset.index);

  function stopOnce() {
    for (const picture of $$(".progress-figure .picture")) {
      const points = pointsOf(picture);
      const stop = points.find((one) => one === document.activeElement) || points.findLast((one) => one.dataset.kind === "best") || points.at(-1);
      for (const one of points) one.setAttribute("tabindex", one === stop ? "0" : "-1");
    }
  }

  document.addEventListener("keydown", (event) => {
    if (!(event.target instanceof Element) || !event.target.matches(".picture a[data-index]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const points = pointsOf(event.target.closest(".picture"));
    const at = points.indexOf(event.target);
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: points.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    points[next]?.focus();
    stopOnce();
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
      const menus = $$("details.menu[open]");
      menus.forEach((menu) => { menu.open = false; });
      if (event.target.matches("input[type=search]")) event.target.blur();
      else if (!menus.length && !isTyping && !$("dialog[open]")) $("[data-key=Escape]")?.click();
    } else if (!isTyping && !$("dialog[open]") && event.key.length === 1 && pressed(event.key)) {
      event.preventDefault();
    }
  });

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const button = event.target.closest("button");
    if (button && button.hasAttribute("data-theme-switch")) setTheme(THEMES[(THEMES.indexOf(stored()) + 1) % THEMES.length]);
    if (button && button.hasAttribute("data-copy")) copy(button);
    if (button && button.hasAttribute("data-unchoose")) $$(".pick input:checked", button.form).forEach((one) => { one.checked = false; });
    if (button && button.dataset.opens) $(`#${button.dataset.opens}`).showModal();
    if (event.target.matches("dialog[open]")) event.target.close(); // its backdrop
    $$("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
  });

  // What cannot be undone is asked about first.
  document.addEventListener("submit", (event) => {
    const words = event.target.dataset.confirm;
    if (words && !confirm(words)) event.preventDefault();
  });

  document.addEventListener("htmx:afterSwap", () => { freshen(); nameWidth(); stopOnce(); });

  const said = $("#live")?.dataset.address;
  if (said && said !== location.pathname + location.search) history.replaceState(history.state, "", said + location.hash);
  window.arwx = { go, redraw };
  nameTheme();
  nameWidth();
  stopOnce();
  setInterval(freshen, 5000);
})();
