// Node's server, and the two ways in which its programs take a target apart.
const http = require("node:http");
const legacy = require("node:url");
const path = require("node:path");

const hidden = (name) => `${name}/`.startsWith("/admin/") || `${name}/`.startsWith("/api/status/");
const readings = [
  (target) => new URL(target, "http://base").pathname,
  (target) => decodeURIComponent(new URL(target, "http://base").pathname),
  (target) => legacy.parse(target).pathname,
  (target) => path.posix.normalize(decodeURIComponent(legacy.parse(target).pathname)),
  (target) => path.win32.normalize(decodeURIComponent(target)).replaceAll("\\", "/"),
];
const safely = (read, target) => {
  try {
    return hidden(read(target) ?? "");
  } catch {
    return false;
  }
};
const server = http.createServer((request, answer) => {
  const found = readings.some((read) => safely(read, request.url));
  answer.setHeader("Connection", "close");
  answer.end(found ? "hidden" : "open");
});
server.listen(0, "127.0.0.1", () => console.log(`serving ${server.address().port}`));
