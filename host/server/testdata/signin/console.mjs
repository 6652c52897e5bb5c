// Walks a real browser through the console page and prints what it saw as JSON. Arguments:
// the program, a directory of its own, the host's URL, a directory for screenshots or "",
// and a pod that runs.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [executablePath, profile, host, shots, pod] = process.argv.slice(2);
process.stdin.resume().on("end", () => process.exit(2)); // the test is gone
const browser = await chromium.launchPersistentContext(profile, {
  executablePath, headless: true, viewport: { width: 1200, height: 800 },
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const seen = { problems: [], pages: {} };

// open returns a page of a browser of its own, on which nothing may go wrong unseen.
const open = async name => {
  const context = await browser.browser()?.newContext({ viewport: { width: 1200, height: 800 } }) ?? browser;
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.on("console", m => {
    // The browser itself reports the answer by which the page learns that nobody is signed in.
    if (m.type() === "error" && !m.text().includes("status of 401")) seen.problems.push(`${name}: ${m.text()}`);
  });
  page.on("pageerror", e => seen.problems.push(`${name}: ${e.message}`));
  page.on("request", r => { if (!r.url().startsWith(host) && !r.url().startsWith("data:")) seen.problems.push(`${name} asks ${r.url()}`); });
  await page.addInitScript(() => addEventListener("securitypolicyviolation", e => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`)));
  return page;
};
const shot = async (page, name) => { if (shots) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true }); };
const signIn = async (page, user) => {
  await page.goto(host + "/");
  await page.fill("#user", `${user}@example.com`);
  await page.click("button[type=submit]");
  await page.waitForSelector("nav");
};
const menu = page => page.locator("nav ul:not([aria-label]) li a").allTextContents();
const visit = async (page, title) => {
  await page.click(`nav li a:text-is("${title}")`);
  await page.waitForSelector("main h1");
  if (await page.locator('h2:text-is("This page needs a reason")').count()) {
    await page.fill('label:has(span:text-is("Reason")) input', "INC-7: später erklärt");
    await page.click('button:text-is("State the reason")');
  }
  await page.waitForFunction(() => !document.querySelector("main [aria-busy=true]"));
};

// What everybody sees, as each of them.
for (const user of ["vic", "eve", "ola", "ada"]) {
  const page = await open(user);
  await signIn(page, user);
  const titles = seen.pages[user] = await menu(page);
  for (const title of titles) {
    await visit(page, title);
    if (await page.locator("main [role=alert]").count()) seen.problems.push(`${user} on ${title}: ${await page.locator("main [role=alert]").first().textContent()}`);
    if (user === "ada") {
      await page.evaluate(axe);
      const found = await page.evaluate(async () => (await axe.run()).violations.map(v => `${v.id}: ${v.nodes[0].html}`));
      seen.problems.push(...found.map(f => `axe on ${title}: ${f}`));
      await page.setViewportSize({ width: 360, height: 640 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide > 360) seen.problems.push(`${title} is ${wide} pixels wide on a screen of 360`);
      await shot(page, `small-${title}`);
      await page.setViewportSize({ width: 1200, height: 800 });
      await shot(page, title);
    }
  }
  await page.context().clearCookies();
  await page.close();
}

// The first load: what it takes to see the first page, by the network.
{
  const page = await open("first load");
  await signIn(page, "vic");
  seen.loaded = { requests: 0, bytes: 0 };
  const wire = await page.context().newCDPSession(page);
  await wire.send("Network.enable");
  await wire.send("Network.setCacheDisabled", { cacheDisabled: true });
  const paths = new Map();
  wire.on("Network.requestWillBeSent", e => paths.set(e.requestId, new URL(e.request.url).pathname));
  wire.on("Network.loadingFinished", e => {
    const path = paths.get(e.requestId) ?? "";
    if (path !== "/" && !path.startsWith("/console/")) return;
    seen.loaded.requests++;
    seen.loaded.bytes += e.encodedDataLength;
  });
  await page.reload();
  await page.waitForSelector(".cards");
  await page.waitForLoadState("networkidle");

  // The keyboard reaches the menu, and the palette every page.
  await page.keyboard.press("Tab");
  seen.skip = await page.evaluate(() => document.activeElement.textContent);
  seen.tabbed = [];
  for (let n = 0; n < 5; n++) {
    await page.keyboard.press("Tab");
    seen.tabbed.push(await page.evaluate(() => document.activeElement.textContent));
  }
  await page.keyboard.press("Control+k");
  await page.waitForSelector("dialog input:focus");
  await page.keyboard.type("sess");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => location.hash === "#/sessions");
  await page.context().clearCookies();
  await page.close();
}

// A terminal, a feature, and a logout elsewhere.
{
  const page = await open("eve");
  await signIn(page, "eve");
  await visit(page, "Features");
  await page.click('a:text-is("helm-releases")');
  await page.fill('label:has-text("cluster") input', "dev");
  await page.click('button:text-is("Send")');
  await page.waitForSelector('h2:has-text("Answer")');
  seen.answer = await page.textContent("section.card:has(h2:has-text('Answer'))");

  await visit(page, "Terminal");
  for (const [label, value] of Object.entries({ Cluster: "dev", Namespace: "shop", Pod: pod })) await page.fill(`label:has(span:text-is("${label}")) input`, value);
  await page.click('button:text-is("Open a terminal")');
  await page.waitForSelector(".xterm-rows");
  await page.keyboard.type("echo $((40+2))$((3+4))\n");
  await page.waitForFunction(() => document.querySelector(".xterm-rows").textContent.includes("427"));
  await shot(page, "terminal-open");
  seen.session = await page.evaluate(async () => (await (await fetch("/auth/sessions")).json()).sessions.map(s => s.plugin + " " + s.kind));

  // It stays open while another page is shown.
  await visit(page, "Sessions");
  await page.waitForSelector('td:has-text("exec")');
  await visit(page, "Terminal");
  await page.fill('label:has(span:text-is("Container (optional)")) input', "a draft");
  await page.click(".xterm");
  await page.keyboard.type("echo still$((1+1))\n");
  await page.waitForFunction(() => document.querySelector(".xterm-rows").textContent.includes("still2"));

  await page.evaluate(() => { document.elsewhere = fetch("/auth/logout", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" }); });
  await page.waitForSelector('dialog:has-text("You are signed out")');
  seen.draft = await page.inputValue('label:has(span:text-is("Container (optional)")) input');
  await shot(page, "signed-out");
}
// A plugin's page, and one that wants more than it may have.
{
  const page = await open("plugin pages");
  await signIn(page, "ada");
  await page.click('nav a:has-text("Echo")');
  const echo = page.frameLocator("iframe.plugin-page");
  await echo.locator('button:text-is("Send")').click();
  await echo.locator("pre:has-text('query: text=hello')").waitFor();
  seen.echo = await echo.locator("pre").first().textContent();
  await echo.locator('button:text-is("Count to ten")').click();
  await echo.locator("pre:has-text('9 the end')").waitFor();
  await shot(page, "plugin-echo");

  await page.click('nav a:has-text("GitOps")');
  const gitops = page.frameLocator("iframe.plugin-page");
  await gitops.locator('h2:text-is("Releases")').waitFor();
  for (const [label, value] of Object.entries({ namespace: "shop", release: "paged", chart: "demo/hello" })) await gitops.locator(`label:has-text("${label}") input`).last().fill(value);
  await gitops.locator('button:text-is("Preview")').click();
  await gitops.locator('summary:has-text("added")').first().waitFor();
  await shot(page, "plugin-gitops-preview");
  await gitops.locator('button:text-is("Go on")').click();
  await gitops.locator('td:has-text("paged")').waitFor();
  await shot(page, "plugin-gitops");

  const hostile = await open("hostile");
  seen.asked = [];
  hostile.removeAllListeners("console"); // the browser tells of each attempt that it stopped
  hostile.removeAllListeners("request");
  hostile.on("requestfinished", r => { if (!r.url().startsWith(host + "/ui/hostile/") && r.frame() !== hostile.mainFrame()) seen.asked.push(r.url()); });
  await signIn(hostile, "ada");
  hostile.on("popup", () => seen.problems.push("the hostile page opened a window"));
  hostile.on("dialog", () => seen.problems.push("the hostile page opened a dialog"));
  await hostile.click('nav a:has-text("Hostile")');
  await hostile.frameLocator("iframe.plugin-page").locator("pre#done").waitFor();
  seen.hostile = JSON.parse(await hostile.frameLocator("iframe.plugin-page").locator("pre#done").textContent());
  await hostile.waitForFunction(() => true, null, { polling: 1000 }); // its last attempts lead nowhere
  await visit(hostile, "Sessions"); // the console still answers
  if (new URL(hostile.url()).origin !== host) seen.problems.push(`the hostile page led to ${hostile.url()}`);
}
await browser.close();
console.log(JSON.stringify(seen));
process.exit(0);
