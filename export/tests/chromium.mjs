// Drive the page in headless Chromium: node chromium.mjs < job.json
// job: {root, steps: [{model | picture | drop | draw | range | invert | size | screenshot}]}; prints a JSON array with what the page shows
// after each step, and the addresses that were asked for.

import { createServer } from "node:http";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { chromium } from "../web/node_modules/playwright-core/index.mjs";

const KINDS = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const { root, steps, chromium: executablePath } = JSON.parse(readFileSync(0));

const server = createServer((request, response) => {
  const path = join(root, normalize(new URL(request.url, "http://x").pathname).replace(/\/$/, "/index.html"));
  if (!existsSync(path)) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": KINDS[extname(path)] ?? "application/octet-stream" }).end(readFileSync(path));
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const address = `http://127.0.0.1:${server.address().port}/`;

const folder = mkdtempSync(join(tmpdir(), "kerasnas-chromium-"));
const context = await chromium.launchPersistentContext(folder, {
  executablePath,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
  viewport: { width: 1200, height: 900 },
});
const seen = [];
try {
  const page = context.pages()[0] ?? (await context.newPage());
  const [asked, said] = [[], []];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => said.push(String(error)));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && said.push(message.text()));
  page.setDefaultTimeout(20000);
  const settled = () => page.waitForFunction(() => document.body.dataset.state === "ready", null, { timeout: 60000 });
  await page.goto(address);
  await settled();
  for (const step of [{}, ...steps]) {
    if (step.size) await page.setViewportSize({ width: step.size[0], height: step.size[1] });
    if (step.model) await page.setInputFiles("#model", step.model);
    if (step.picture) await page.setInputFiles("#picture", step.picture);
    if (step.drop) {
      const name = step.drop.split("/").at(-1);
      const files = await page.evaluateHandle(([name, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0))], name));
        return transfer;
      }, [name, readFileSync(step.drop).toString("base64")]);
      await page.dispatchEvent("#drop", "drop", { dataTransfer: files });
    }
    if (step.range !== undefined) await page.selectOption("#range", step.range);
    if (step.draw) { // a line through points in shares of the canvas
      await page.check("input[value=draw]", { force: true });
      const { x, y, width, height } = await page.locator("#drawing").boundingBox();
      for (const [number, [across, down]] of step.draw.entries()) {
        await page.mouse.move(x + across * width, y + down * height);
        if (number === 0) await page.mouse.down();
      }
      await page.mouse.up();
    }
    if (step.invert) await page.click("#invert");
    await settled();
    if (step.screenshot) await page.screenshot({ path: step.screenshot, fullPage: true });
    seen.push(await page.evaluate(() => {
      const text = (id) => document.getElementById(id).textContent.trim();
      return {
        title: text("title"),
        facts: text("facts"),
        row: JSON.parse(document.getElementById("result").dataset.row || "null"),
        label: text("label"),
        bars: [...document.querySelectorAll("#bars li")].map((item) => ({
          name: item.querySelector(".name").textContent,
          share: item.querySelector(".share").textContent,
          filled: item.querySelector(".fill").getBoundingClientRect().width / item.querySelector("svg").getBoundingClientRect().width,
        })),
        problem: document.getElementById("problem").hidden ? "" : text("problem"),
        overflows: document.documentElement.scrollWidth > document.documentElement.clientWidth,
      };
    }));
  }
  console.log(JSON.stringify({ seen, asked: asked.map((url) => url.replace(address, "/")), said }));
} finally {
  await context.close();
  server.close();
  rmSync(folder, { recursive: true, force: true });
}
