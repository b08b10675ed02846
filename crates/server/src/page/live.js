// Puts what the service sends in the place of what the page shows. Without this script the page
// says the same once it is loaded again.
"use strict";

const place = document.querySelector("[data-events]");

if (place) {
  const connection = document.getElementById("connection");
  const say = (text, state) => {
    connection.textContent = text;
    connection.dataset.state = state;
  };
  const source = new EventSource(place.dataset.events);

  source.addEventListener("open", () => say("Live", "live"));

  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      say("Not live any more: load the page again", "lost");
    } else {
      say("Connecting again", "lost");
    }
  });

  // The element stays and its content changes, so that a screen reader hears of it. What was
  // unfolded stays so, and the keyboard stays on its link.
  const put = (shown, fresh) => {
    const summaries = () => [...shown.querySelectorAll("summary")];
    const open = summaries().filter((s) => s.parentElement.open).map((s) => s.textContent);
    const focus = document.activeElement;
    const link = shown.contains(focus) ? focus.getAttribute("href") : null;
    shown.replaceChildren(...fresh.childNodes);
    summaries()
      .filter((s) => open.includes(s.textContent))
      .forEach((s) => (s.parentElement.open = true));
    if (link) {
      [...shown.querySelectorAll("a")].find((a) => a.getAttribute("href") === link)?.focus();
    }
  };

  const sent = new Map();
  source.addEventListener("fragment", (event) => {
    const page = new DOMParser().parseFromString(event.data, "text/html");
    for (const fresh of page.body.children) {
      const shown = document.getElementById(fresh.id);
      const before = sent.get(fresh.id) ?? shown?.innerHTML;
      sent.set(fresh.id, fresh.innerHTML);
      if (shown && before !== fresh.innerHTML) {
        put(shown, fresh);
      }
    }
  });

  addEventListener("pagehide", () => source.close());
  // Brought back from the browser's memory, the page is old.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}
