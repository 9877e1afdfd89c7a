// Tells the test what happens on the page; what goes wrong there is told too.

export function post(what) {
  const headers = { "content-type": "application/json" };
  return fetch("/posted", { method: "POST", headers, body: JSON.stringify(what) });
}

addEventListener("error", ({ message, filename, lineno }) => post({ error: `${filename}:${lineno}: ${message}` }));
addEventListener("unhandledrejection", ({ reason }) => post({ error: String(reason.stack ?? reason) }));
