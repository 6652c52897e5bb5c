// A real OpenID Connect provider on loopback. It prints its issuer, then reads
// one line of JSON, its clients, and serves until its standard input ends.
import http from "node:http";
import readline from "node:readline";
import Provider from "oidc-provider";

const server = http.createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  console.log(issuer);
  const input = readline.createInterface({ input: process.stdin });
  input.once("line", line => {
    const provider = new Provider(issuer, {
      clients: JSON.parse(line),
      pkce: { required: () => false }, // oauth2-proxy is not asked for it
      claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"], groups: ["groups"] },
      scopes: ["openid", "email", "profile", "groups"],
      features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
      cookies: { keys: [crypto.randomUUID()] },
      // Whoever signs in is believed; the name is the account.
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({
          sub: id, name: id, email: `${id}@example.com`, email_verified: id !== "mallory", groups: ["testers"],
        }),
      }),
    });
    // A page of another site that posts a form with whatever cookies there are.
    const evil = '<form method="post" enctype="text/plain"></form><script>const f=document.forms[0];f.action=new URLSearchParams(location.search).get("to");f.submit()</script>';
    const answer = provider.callback();
    server.on("request", (req, res) => {
      if (!req.url.startsWith("/evil")) return answer(req, res);
      res.setHeader("Content-Type", "text/html");
      res.end(evil);
    });
    console.log("ready");
  });
});
process.stdin.on("end", () => process.exit(0));
