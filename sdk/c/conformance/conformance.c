/* The conformance plugin of the C SDK. It does what sdk/conformance/plugin/main.go does,
 * route by route. */
#define BULKHEAD_IMPLEMENTATION
#include "bulkhead.h"

BH_CAPABILITY(kube)
BH_CAPABILITY(exec)
BH_CAPABILITY(helm)

/* What the start leaves, and requests change. */
static bh_buf started_, kept;
static volatile uint32_t count_;

static void frame(bh_buf *to, bh_str f) {
	uint32_t n = f.n;
	bh_add(to, (bh_str){(const char *)&n, 4});
	bh_add(to, f);
}

/* Makes a call and returns the frame of its answer, too. */
static bh_str outbound(const bh_request *q, bh_reply *reply) {
	bh_buf b = {0};
	if (bh_kube_fetch(q, reply)) bh_encode_response(&b, &reply->response);
	else bh_encode_error(&b, &reply->error);
	return bh_done(&b);
}

static bool start(const bh_start *s, bh_error *x) {
	if (bh_find(s->config, BH("\"refuse\"")) >= 0) {
		x->message = BH("the configuration asks to refuse");
		return false;
	}
	bh_buf again = {0};
	bh_encode_start(&again, s);
	frame(&started_, bh_done(&again));
	if (bh_find(s->config, BH("\"call\"")) >= 0) {
		bh_request q = {.method = BH("GET"), .url = BH("kube://dev/api/v1/pods")};
		bh_reply reply;
		frame(&started_, outbound(&q, &reply));
	}
	count_ = 100;
	bh_add(&kept, BH("x"));
	return true;
}
BH_ON_START(start)

static void bytes(bh_reply *out, bh_str body) { bh_bytes(out, 200, BH("application/octet-stream"), body); }

static void echo(const bh_request *r, bh_reply *out) {
	bh_buf b = {0};
	bh_encode_request(&b, r);
	bytes(out, bh_done(&b));
}

static void read(const bh_request *r, bh_reply *out) {
	const bh_host_section *h = &r->host;
	bh_str lines[] = {
		r->method, bh_path(r), bh_raw_query(r), bh_query(r, BH("a")), bh_query(r, BH("absent")),
		bh_join(bh_query_all(r, BH("many")), BH(",")), bh_header(r, BH("content-TYPE")), bh_header(r, BH("absent")),
		bh_param(r, BH("first")), bh_param(r, BH("second")), bh_param(r, BH("absent")), h->user, h->name,
		bh_join(h->roles, BH(",")), bh_join(h->teams, BH(",")), h->route, h->action, h->request_id,
		bh_join(h->namespaces, BH(",")), bh_join(h->groups, BH(",")), bh_join(h->redact, BH(",")),
		h->timeout_ms > 0 ? BH("some") : BH("none"), r->body,
	};
	bh_text(out, 200, bh_join((bh_strs){lines, sizeof lines / sizeof *lines}, BH("\n")));
}

static const char *recode(bh_str f, bh_buf *b) {
	union { bh_request request; bh_response response; bh_error error; bh_start start; bh_message message; } v;
	uint8_t kind;
	const char *bad = bh_kind_of(f, &kind);
	if (bad) return bad;
	switch (kind) {
	case BH_REQUEST:
		if (!(bad = bh_decode_request(f, &v.request))) bh_encode_request(b, &v.request);
		return bad;
	case BH_RESPONSE:
		if (!(bad = bh_decode_response(f, &v.response))) bh_encode_response(b, &v.response);
		return bad;
	case BH_ERROR:
		if (!(bad = bh_decode_error(f, &v.error))) bh_encode_error(b, &v.error);
		return bad;
	case BH_START:
		if (!(bad = bh_decode_start(f, &v.start))) bh_encode_start(b, &v.start);
		return bad;
	case BH_MESSAGE:
		if (!(bad = bh_decode_message(f, &v.message))) bh_encode_message(b, &v.message);
		return bad;
	}
	return "kind";
}

static void frames(const bh_request *r, bh_reply *out) {
	bh_buf all = {0}, one = {0};
	for (bh_str rest = r->body; rest.n;) {
		uint32_t n;
		memcpy(&n, rest.at, 4);
		one.n = 0;
		const char *bad = recode((bh_str){rest.at + 4, n}, &one);
		if (bad) {
			uint32_t len = 0;
			while (bad[len]) len++;
			bh_add(&one, BH("!"));
			bh_add(&one, (bh_str){bad, len});
		}
		frame(&all, bh_done(&one));
		rest = (bh_str){rest.at + 4 + n, rest.n - 4 - n};
	}
	bytes(out, bh_done(&all));
}

static void respond(const bh_request *r, bh_reply *out) {
	if (bh_decode_response(r->body, &out->response)) bh_fail(out, 400, BH("the body is no response"));
}

static int64_t number(const bh_request *r, bh_str name) { return bh_parse_int(bh_query(r, name)); }

static bh_str filled(char c, int64_t n) {
	char *p = bh_alloc((size_t)n);
	__builtin_memset(p, c, (size_t)n);
	return (bh_str){p, (uint32_t)n};
}

/* The headers that the query asks for, after those that are there. */
static bh_pairs headers(const bh_request *r, bh_pairs before) {
	uint32_t n = before.n, many = (uint32_t)number(r, BH("headers"));
	bh_pair *list = bh_alloc((n + many + 1) * sizeof *list);
	for (uint32_t i = 0; i < n; i++) list[i] = before.at[i];
	while (many--) list[n++] = (bh_pair){BH("X-Many"), BH("v")};
	if (number(r, BH("value"))) list[n++] = (bh_pair){BH("X-Long"), filled('v', number(r, BH("value")))};
	return (bh_pairs){list, n};
}

static void fill(const bh_request *r, bh_reply *out) {
	out->response.status = (uint32_t)number(r, BH("status"));
	out->response.header = headers(r, (bh_pairs){0});
	out->response.body = filled('b', number(r, BH("body")));
}

static void fail(const bh_request *r, bh_reply *out) {
	if (bh_decode_error(r->body, &out->error)) return bh_fail(out, 400, BH("the body is no error"));
	out->failed = true;
	if (number(r, BH("status"))) out->error.status = (uint32_t)number(r, BH("status"));
}

static void call(const bh_request *r, bh_reply *out) {
	if (bh_eq(bh_query(r, BH("on")), BH("helm"))) {
		bh_helm_fetch(&(bh_request){.method = BH("GET"), .url = BH("helm://dev/shop")}, out);
		return;
	}
	bh_request q;
	if (bh_decode_request(r->body, &q)) return bh_fail(out, 400, BH("the body is no request"));
	q.header = headers(r, q.header);
	q.url = bh_cat(q.url, filled('u', number(r, BH("url"))), BH(""));
	if (number(r, BH("body"))) q.body = filled(0, number(r, BH("body")));
	bh_str reply = outbound(&q, out);
	if (out->failed && bh_query(r, BH("pass")).n) return;
	if (bh_query(r, BH("again")).n) reply = outbound(&q, out);
	bytes(out, reply);
}

static void started(const bh_request *r, bh_reply *out) { (void)r, bytes(out, bh_done(&started_)); }

static void count(const bh_request *r, bh_reply *out) {
	(void)r;
	count_++;
	bh_add(&kept, BH("x"));
	bh_text(out, 200, bh_cat(bh_int(count_), BH(" "), bh_int(kept.n)));
}

static void live(const bh_request *r, bh_reply *out) {
	(void)r;
	uint8_t b[16];
	char hex[32];
	bh_random(b, sizeof b);
	for (int i = 0; i < 32; i++) hex[i] = "0123456789abcdef"[i & 1 ? b[i / 2] & 15 : b[i / 2] >> 4];
	bh_text(out, 200, bh_cat(bh_int((int64_t)bh_now()), BH(" "), (bh_str){hex, 32}));
	out->response.body = bh_cat(out->response.body, BH(""), BH("")); /* hex is on the stack */
}

static void grow(const bh_request *r, bh_reply *out) {
	bh_str all = filled(0, number(r, BH("bytes")));
	for (uint32_t i = 0; i < all.n; i += 4096) ((volatile char *)all.at)[i] = 1;
	bh_text(out, 200, bh_int(all.n));
}

static void spin(const bh_request *r, bh_reply *out) {
	(void)r, (void)out;
	for (;;) count_++;
}

static void trap(const bh_request *r, bh_reply *out) {
	(void)r, (void)out;
	bh_panic(BH("trap was asked for"));
}

static void write_log(const bh_request *r, bh_reply *out) {
	bh_str level = bh_query(r, BH("level"));
	bh_log(bh_eq(level, BH("debug")) ? BH_DEBUG : bh_eq(level, BH("info")) ? BH_INFO : bh_eq(level, BH("warn")) ? BH_WARN : BH_LOG_ERROR, r->body);
	bh_no_content(out);
}

static void nothing(const bh_request *r, bh_reply *out) { (void)r, bh_no_content(out); }

BH_ROUTES(
	{BH("echo"), echo}, {BH("read"), read}, {BH("frames"), frames}, {BH("respond"), respond}, {BH("fill"), fill}, {BH("fail"), fail},
	{BH("call"), call}, {BH("started"), started}, {BH("count"), count}, {BH("live"), live}, {BH("grow"), grow}, {BH("spin"), spin},
	{BH("trap"), trap}, {BH("log"), write_log}, {BH("nothing"), nothing})

static bh_str outcome(int status) {
	switch (status) {
	case BH_OK: return BH("ok");
	case BH_TIMED_OUT: return BH("timed out");
	case BH_CLOSED: return BH("closed");
	case BH_REFUSED: return BH("refused");
	}
	return BH("invalid");
}

/* The word before the first space; rest is what follows it. */
static bh_str word_of(bh_str s, bh_str *rest) {
	int32_t i = bh_find(s, BH(" "));
	if (i < 0) {
		*rest = BH("");
		return s;
	}
	*rest = (bh_str){s.at + i + 1, s.n - (uint32_t)i - 1};
	return (bh_str){s.at, (uint32_t)i};
}

/* Does what a text message says, and sends every other message back. */
static void talk(const bh_request *r, bh_reply *out) {
	if (number(r, BH("refuse"))) return bh_fail(out, (uint32_t)number(r, BH("refuse")), BH("the session is refused"));
	bh_message m;
	for (size_t mark = bh_mark();; bh_release(mark)) {
		if (bh_next(&m, 0)) return;
		bh_str rest, word = m.kind == BH_MSG_TEXT ? word_of(m.data, &rest) : BH("");
		int64_t n = m.kind == BH_MSG_TEXT ? bh_parse_int(rest) : 0;
		if (bh_eq(word, BH("bye"))) return;
		if (bh_eq(word, BH("fail"))) return bh_fail(out, (uint32_t)n, BH("failure was asked for"));
		if (bh_eq(word, BH("count"))) m.data = bh_int(++count_);
		else if (bh_eq(word, BH("idle"))) {
			bh_message next;
			m.data = bh_cat(BH("idle "), outcome(bh_next(&next, (uint32_t)n)), BH(""));
		} else if (bh_eq(word, BH("big"))) m.kind = BH_MSG_BINARY, m.data = filled(0, n);
		else if (bh_eq(word, BH("garble"))) m.data = bh_cat(BH("garble "), outcome(bh_send(BH_MSG_TEXT, BH("\xff"))), BH(""));
		else if (bh_eq(word, BH("splice"))) m.data = bh_cat(BH("splice "), outcome(bh_splice(1)), BH(""));
		else if (bh_eq(word, BH("close"))) {
			bh_str reason, code = word_of(rest, &reason);
			if (!bh_close((uint32_t)bh_parse_int(code), reason)) return;
			m.data = BH("close invalid");
		}
		if (bh_send(m.kind, m.data)) return;
	}
}

/* Opens as many streams as the query says and hands the client to the last. */
static void splice(const bh_request *r, bh_reply *out) {
	bh_request q = {.method = BH("GET"), .url = BH("exec://dev/shop/web?command=sh")};
	int64_t open = number(r, BH("open"));
	uint32_t stream = 0;
	for (int64_t i = 0; i < (open ? open : 1); i++)
		if (!(stream = bh_exec_open(&q, out))) return;
	if (number(r, BH("stream"))) stream = (uint32_t)number(r, BH("stream"));
	if (bh_query(r, BH("leave")).n) return bh_fail(out, 409, BH("left"));
	int status = bh_splice(stream);
	if (status) return bh_fail(out, 409, bh_cat(BH("splice "), outcome(status), BH("")));
	if (bh_query(r, BH("after")).n) bh_log(BH_WARN, bh_cat(BH("after splice: "), outcome(bh_send(BH_MSG_TEXT, BH("more"))), BH("")));
}

static void events(const bh_request *r, bh_reply *out) {
	(void)out;
	for (int64_t i = 0; i < number(r, BH("n")); i++)
		if (bh_send(BH_MSG_TEXT, bh_cat(BH("event "), bh_int(i), BH("")))) return;
}

BH_SESSIONS({BH("talk"), talk}, {BH("splice"), splice}, {BH("events"), events})
