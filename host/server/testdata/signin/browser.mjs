// Drives a real browser through sign-in, refresh and sign-out, and prints what
// it saw as JSON. Arguments: the program, a directory of its own, the host's
// URL, the provider's URL, and a directory for screenshots or "".
import { chromium } from "playwright-core";

const [executablePath, profile, host, provider, shots] = process.argv.slice(2);
process.stdin.resume().on("end", () => process.exit(2)); // the test is gone
const context = await chromium.launchPersistentContext(profile, {
  executablePath, headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
context.setDefaultTimeout(30_000);
const page = await context.newPage();
const seen = {};
const shot = async name => { if (shots) await page.screenshot({ path: `${shots}/${name}.png` }); };
const post = (path, body = {}) => page.evaluate(async ([path, body]) => {
  const r = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  return { status: r.status, ...await r.json() };
}, [path, body]);
const me = () => page.evaluate(async () => (await fetch("/auth/me")).json());
const cookie = async () => (await context.cookies(host)).find(c => c.name === "bulkhead");
// signIn goes from the sign-in page through the provider's pages.
const signIn = async (user, consent = true) => {
  await page.goto(`${host}/login?redirect=/login`);
  await page.click("text=Sign in with corp");
  await page.waitForURL(u => u.href.startsWith(provider) && u.pathname.includes("/interaction/"));
  if (await page.locator("input[name=login]").count()) {
    await page.fill("input[name=login]", user);
    await page.fill("input[name=password]", "anything");
    await Promise.all([page.waitForURL(u => !u.pathname.endsWith("/login") || u.href.startsWith(host)), page.click("button[type=submit]")]);
  }
  if (page.url().startsWith(provider)) {
    await page.click(consent ? "button[type=submit]" : "text=Cancel");
  }
  await page.waitForURL(u => u.href.startsWith(`${host}/login`));
};

await page.goto(`${host}/login`);
await shot("1-sign-in");
let callback = "";
page.on("request", r => { if (r.url().startsWith(`${host}/auth/callback/corp`)) callback = r.url(); });
await signIn("ann");
await shot("2-signed-in");
seen.page = await page.textContent("main");
seen.me = await me();
const before = await cookie();
seen.cookie = before;
seen.script = await page.evaluate(() => document.cookie);

seen.refresh = await post("/auth/refresh");
const after = await cookie();
seen.refreshed = after.value !== before.value;
seen.afterRefresh = await me();

const tab = await context.newPage();
await tab.goto(`${host}/login`);
seen.otherTab = await tab.textContent("main");

// Another site's page posts with the browser's cookies.
await tab.goto(`${provider}/evil?to=${encodeURIComponent(host + "/auth/logout")}`);
await tab.waitForURL(`${host}/auth/logout`);
seen.foreign = await tab.textContent("body");
seen.afterForeign = await me();
await tab.close();

// A callback that was used, in a browser that is signed in.
const used = callback;
await page.goto(used).catch(() => {});
seen.replaySignedIn = page.url();
await page.goto(`${host}/login`);

await page.click("text=Sign out");
await page.waitForSelector("text=Sign in with corp");
await shot("3-signed-out");
seen.afterLogout = await me();
seen.cookieAfterLogout = await cookie() ?? null;

await page.goto(used);
seen.replay = page.url();
await shot("4-replayed");
seen.replayText = await page.textContent("main");

// Somebody whose address the provider has not verified, then somebody who says no.
await context.clearCookies();
await signIn("mallory");
seen.unverified = page.url();
await context.clearCookies();
await signIn("ann", false);
seen.denied = page.url();
await shot("5-denied");

console.log(JSON.stringify(seen));
await context.close();
process.exit(0);
