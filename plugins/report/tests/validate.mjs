// What validators say of a report: nothing, if all is well.
//
//   npm install axe-core html-validate puppeteer-core vnu-jar
//   node validate.mjs node_modules /usr/bin/chromium report.html
//
// Prints a JSON object: what html-validate and vnu (which needs Java) find in the text, and axe-core
// in the page at two widths and in both themes, with all that is folded shown.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, browser, file] = process.argv.slice(2).map((place) => resolve(place));
const require = createRequire(`${modules}/`);
const found = {};

const { HtmlValidate } = await import(pathToFileURL(require.resolve("html-validate")));
const checked = await new HtmlValidate().validateFile(file);
found["html-validate"] = checked.results.flatMap((result) => result.messages);

const vnu = require.resolve("vnu-jar/build/dist/vnu.jar");
const words = ["-jar", vnu, "--stdout", "--exit-zero-always", "--format", "json", file];
const said = JSON.parse(execFileSync("java", words, { maxBuffer: 1e8 }));
found.vnu = said.messages.map((each) => each.message);

const puppeteer = (await import(pathToFileURL(require.resolve("puppeteer-core")))).default;
const chromium = await puppeteer.launch({ executablePath: browser, args: ["--no-sandbox"] });
for (const width of [390, 1280]) {
  for (const theme of ["light", "dark"]) {
    const page = await chromium.newPage();
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
    await page.setViewport({ width, height: 900 });
    await page.goto(pathToFileURL(file));
    await page.evaluate(() => document.querySelectorAll("details").forEach((it) => { it.open = true; }));
    await page.evaluate(readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"));
    const { violations } = await page.evaluate(() => axe.run());
    found[`axe-core, ${width} pixels, ${theme}`] = violations.map((each) => `${each.id}: ${each.help}`);
    await page.close();
  }
}
await chromium.close();
console.log(JSON.stringify(found));
