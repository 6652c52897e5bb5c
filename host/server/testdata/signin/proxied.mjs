// Signs in at oauth2-proxy with a real browser and prints who the host behind it
// takes the person for. Arguments: the program, a directory of its own, the
// proxy's URL.
import { chromium } from "playwright-core";

const [executablePath, profile, proxy] = process.argv.slice(2);
process.stdin.resume().on("end", () => process.exit(2)); // the test is gone
const context = await chromium.launchPersistentContext(profile, {
  executablePath, headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
context.setDefaultTimeout(30_000);
const page = await context.newPage();
await page.goto(`${proxy}/login`);
await page.fill("input[name=login]", "ann");
await page.fill("input[name=password]", "anything");
await page.click("button[type=submit]");
await page.click("text=Continue");
await page.waitForURL(`${proxy}/login`);
const ask = (path, init = {}) => page.evaluate(async ([path, init]) => {
  const r = await fetch(path, init);
  return { status: r.status, ...await r.json() };
}, [path, init]);
const seen = { page: await page.textContent("main"), me: await ask("/auth/me") };
// What a client says of itself besides, in the proxy's names and their twins.
seen.spoofed = await ask("/auth/me", { headers: { "X-Forwarded-Email": "ada@example.com", "X_Forwarded_Email": "ada@example.com", "X-Auth-Request-Email": "ada@example.com" } });
seen.form = await ask("/auth/logout", { method: "POST", body: "x" });
seen.logout = await ask("/auth/logout", { method: "POST", headers: { "X-Requested-With": "XMLHttpRequest" } });
seen.cookies = (await context.cookies(proxy)).map(c => c.name);
seen.value = (await context.cookies(proxy)).map(c => `${c.name}=${c.value}`).join("; ");
console.log(JSON.stringify(seen));
await context.close();
process.exit(0);
