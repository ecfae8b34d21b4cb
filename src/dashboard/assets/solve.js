// Solving by hand: clicks on the image are typed into the answer's field, and what is typed there is drawn on the image.
// Without this script the field works as well.
"use strict";
(() => {
  const place = document.getElementById("captcha");

  function begin(form) {
    const field = form.elements.answer;
    const shape = form.dataset.shape;
    const svg = form.querySelector("svg[data-pick]");
    const marks = svg && svg.querySelector("[data-marks]");
    const rows = Number(form.dataset.rows);
    const columns = Number(form.dataset.columns);
    const before = []; // what was in the field before each click, until something is typed

    const numbers = (text) => (text.match(/-?\d+/g) || []).map(Number);
    const pairs = (text) => {
      const all = numbers(text);
      const found = [];
      for (let at = 0; at + 1 < all.length; at += 2) found.push([all[at], all[at + 1]]);
      return found;
    };
    const written = (points) => points.map(([x, y]) => `${x},${y}`).join(" ");
    const size = () => svg.viewBox.baseVal;

    function add(name, attributes, text) {
      const element = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      if (text !== undefined) element.textContent = text;
      marks.append(element);
    }

    function numbered(number, x, y) {
      const unit = Number(svg.dataset.unit);
      add("circle", { cx: x, cy: y, r: unit, class: "mark-dot" });
      add("text", { x, y, "font-size": unit * 1.3, class: "mark-number" }, number);
    }

    function draw() {
      if (shape === "angles") {
        const angles = numbers(field.value);
        form.querySelectorAll("image[data-turn]").forEach((image, at) => {
          const [x, y] = [image.getAttribute("width") / 2, image.getAttribute("height") / 2];
          image.setAttribute("transform", `rotate(${angles[at] || 0} ${x} ${y})`);
        });
      }
      if (!marks) return;
      marks.replaceChildren();
      if (shape === "points") pairs(field.value).forEach(([x, y], at) => numbered(at + 1, x, y));
      if (shape === "areas") {
        field.value.split(";").forEach((area) => {
          const corners = pairs(area);
          add("polygon", { points: written(corners), class: "mark-area" });
          corners.forEach(([x, y]) => add("circle", { cx: x, cy: y, r: svg.dataset.unit / 3, class: "mark-dot" }));
        });
      }
      if (shape === "cells") {
        const [width, height] = [size().width / columns, size().height / rows];
        const chosen = numbers(field.value);
        for (let cell = 1; cell <= rows * columns; cell++) {
          const [x, y] = [((cell - 1) % columns) * width, Math.floor((cell - 1) / columns) * height];
          add("rect", { x, y, width, height, class: chosen.includes(cell) ? "mark-cell" : "mark-cell empty" });
          if (chosen.includes(cell)) numbered(cell, x + width / 2, y + height / 2);
        }
      }
    }

    function pick(event) {
      before.push(field.value);
      const box = svg.getBoundingClientRect();
      const at = (part, whole) => Math.max(0, Math.min(whole - 1, Math.floor(part * whole)));
      const x = at((event.clientX - box.left) / box.width, size().width);
      const y = at((event.clientY - box.top) / box.height, size().height);
      if (shape === "points") field.value = written([...pairs(field.value), [x, y]]);
      if (shape === "areas") {
        const areas = field.value.split(";");
        const last = [...pairs(areas.pop()), [x, y]];
        field.value = [...areas, (areas.length ? " " : "") + written(last)].join(";");
      }
      if (shape === "cells") {
        const cell = Math.floor((y * rows) / size().height) * columns + Math.floor((x * columns) / size().width) + 1;
        const chosen = numbers(field.value);
        const rest = chosen.filter((other) => other !== cell);
        field.value = (rest.length < chosen.length ? rest : [...chosen, cell].sort((a, b) => a - b)).join(" ");
      }
      draw();
    }

    // Takes back the last click; without one, what stands last in the field.
    function undo() {
      if (before.length > 0) {
        field.value = before.pop();
      } else if (shape === "areas") {
        const areas = field.value.split(";");
        const corners = pairs(areas.pop());
        corners.pop();
        field.value = corners.length || !areas.length ? [...areas, written(corners)].join(";") : areas.join(";");
      } else if (shape === "points") {
        field.value = written(pairs(field.value).slice(0, -1));
      } else {
        field.value = numbers(field.value).slice(0, -1).join(" ");
      }
      draw();
      field.focus();
    }

    form.querySelectorAll("[data-needs-script]").forEach((element) => element.removeAttribute("hidden"));
    field.addEventListener("input", () => {
      before.length = 0;
      draw();
    });
    if (marks) svg.addEventListener("click", pick);
    form.querySelector("[data-undo]")?.addEventListener("click", undo);
    form.querySelector("[data-next-area]")?.addEventListener("click", () => {
      if (pairs(field.value.split(";").pop()).length > 2) {
        before.push(field.value);
        field.value += ";";
      }
      field.focus();
    });
    draw();
    field.focus({ preventScroll: true });
  }

  const form = place.querySelector("form[data-shape]");
  if (form) {
    begin(form);
    return;
  }
  // One that comes while the page is open stays: nothing that is typed is lost.
  new MutationObserver((_, observer) => {
    const form = place.querySelector("form[data-shape]");
    if (!form) return;
    observer.disconnect();
    place.removeAttribute("data-live");
    begin(form);
  }).observe(place, { childList: true });
})();
