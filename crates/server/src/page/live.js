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

  // The element stays and its content changes, so that a screen reader hears of it.
  source.addEventListener("fragment", (event) => {
    const sent = new DOMParser().parseFromString(event.data, "text/html");
    for (const fresh of sent.body.children) {
      const shown = document.getElementById(fresh.id);
      if (shown && !shown.isEqualNode(fresh)) {
        shown.replaceChildren(...fresh.childNodes);
      }
    }
  });

  addEventListener("pagehide", () => source.close());
  // Brought back from the browser's memory, the page is old.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}
