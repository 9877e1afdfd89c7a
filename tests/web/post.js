// Tells the test what happens on the page; what goes wrong there is told too.

export function post(what) {
  return fetch("/posted", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(what) });
}

window.addEventListener("error", ({ message, filename, lineno }) => post({ error: `${filename}:${lineno}: ${message}` }));
window.addEventListener("unhandledrejection", ({ reason }) => post({ error: String(reason.stack ?? reason) }));
