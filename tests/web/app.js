// A page of messages: what was sent is shown when a service has answered it, what was pushed when it comes, each once.

import { Client } from "./client.js";

const decode = (bytes) => new TextDecoder().decode(bytes);

function append(list, text) {
  document.getElementById(list).append(Object.assign(document.createElement("li"), { textContent: text }));
}

function standing(text) {
  document.getElementById("standing").textContent = text;
}

/** Connects to the gateway; `onShown` is called whenever a message was added to the page. */
export function start(gateway, user, onShown = () => {}) {
  return new Client({ user, gateways: [gateway] }, (event) => {
    if (event.event === "connected") standing(`connected to ${event.gateway}`);
    else if (event.event === "disconnected") standing("not connected: what is sent waits");
    else if (event.event === "ended") standing(`ended, reason ${event.reason}`);
    else if (event.event === "pushed") append("pushed", decode(event.payload));
    else append("sent", event.how === "replied" ? decode(event.payload) : `message ${event.id}: ${event.how}`);
    if (event.event === "settled") onShown();
  });
}
