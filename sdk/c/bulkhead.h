/* bulkhead.h: plugins for Bulkhead in C, ABI version 1 (sdk/abi/ABI.md). Freestanding:
 * no C library, no other file. One source file of the plugin defines BULKHEAD_IMPLEMENTATION
 * before it includes this header.
 *
 *	#define BULKHEAD_IMPLEMENTATION
 *	#include "bulkhead.h"
 *
 *	static void hello(const bh_request *r, bh_reply *out) {
 *		bh_text(out, 200, bh_cat(BH("hello "), r->host.user, BH("")));
 *	}
 *
 *	BH_ROUTES({BH("hello"), hello})
 *
 * Strings are pointer and length, and not terminated. bh_alloc takes from an arena that
 * is never freed within an entry: the host puts memory back after every request. A session
 * lives longer; it takes a bh_mark and releases it after each message. */
#ifndef BULKHEAD_H
#define BULKHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BH_EXPORT(name) __attribute__((export_name(name), visibility("default")))
#define BH_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

enum {
	BH_VERSION = 1,
	BH_MAX_FRAME = 16 << 20,
	BH_MAX_BODY = 8 << 20,
	BH_MAX_STRING = 64 << 10,
	BH_MAX_HEADERS = 256,
	BH_MAX_LIST = 4096,
};

enum { BH_REQUEST = 1, BH_RESPONSE, BH_ERROR, BH_START, BH_MESSAGE };                  /* kinds of frames */
enum { BH_PLUGIN, BH_POLICY, BH_GRANT, BH_HOST, BH_UPSTREAM };                         /* origins of errors */
enum { BH_MSG_TEXT = 1, BH_MSG_BINARY, BH_MSG_CLOSE, BH_MSG_IDLE, BH_MSG_EVENT };      /* kinds of messages */
enum { BH_OK = 0, BH_CLOSED = -1, BH_INVALID = -2, BH_REFUSED = -3, BH_TIMED_OUT = -4, BH_FAILED = -5 };
enum { BH_DEBUG = -4, BH_INFO = 0, BH_WARN = 4, BH_LOG_ERROR = 8 };                    /* levels of the log */

/* bh_str is bytes, of text UTF-8 as far as whoever sent it kept to that. */
typedef struct { const char *at; uint32_t n; } bh_str;
#define BH(literal) ((bh_str){"" literal, sizeof(literal) - 1})

typedef struct { bh_str name, value; } bh_pair;
typedef struct { const bh_str *at; uint32_t n; } bh_strs;
typedef struct { const bh_pair *at; uint32_t n; } bh_pairs;

/* What the host says of an inbound request. */
typedef struct {
	bh_str request_id, user, name;
	bh_strs roles, teams;
	bh_str route, action;
	bh_pairs params;
	int64_t timeout_ms;
	bh_strs namespaces, groups, redact;
} bh_host_section;

/* A request, inbound or of a capability. Its strings are in the frame. */
typedef struct {
	bh_str method, url;
	bh_pairs header;
	bh_str body;
	bool has_host; /* inbound; a capability's has none */
	bh_host_section host;
} bh_request;

typedef struct { uint32_t status; bh_pairs header; bh_str body; } bh_response;

/* A refusal or failure: of this plugin, or what a capability answered. */
typedef struct {
	bh_str code; /* empty: that of the status */
	uint8_t origin;
	uint32_t status; /* 400 to 599; anything else becomes 500 */
	bool retryable;
	bh_str message, detail;
} bh_error;

/* What a handler answers, and what a capability answers: a response, or an error. */
typedef struct { bool failed; bh_response response; bh_error error; } bh_reply;

typedef struct { uint32_t abi; bh_str instance, config; bh_strs denied; } bh_start;
typedef struct { uint8_t kind; bh_str data; } bh_message;

/* Routes, by their name in the manifest. */
typedef void (*bh_handler)(const bh_request *, bh_reply *);
typedef struct { bh_str name; bh_handler handle; } bh_route;

/* Declares the handlers of unary routes: BH_ROUTES({BH("list"), list}, …) */
#define BH_ROUTES(...) \
	static const bh_route bh_routes_[] = {__VA_ARGS__}; \
	const bh_route *const bh_routes = bh_routes_; \
	const uint32_t bh_routes_n = sizeof bh_routes_ / sizeof *bh_routes_;

/* Declares those of socket and events routes. A session handler that uses the session
 * leaves out as it is, or fails; one that answers before refuses the upgrade. */
#define BH_SESSIONS(...) \
	static const bh_route bh_sessions_[] = {__VA_ARGS__}; \
	const bh_route *const bh_sessions = bh_sessions_; \
	const uint32_t bh_sessions_n = sizeof bh_sessions_ / sizeof *bh_sessions_; \
	BH_EXPORT("bulkhead_session") uint64_t bulkhead_session(uint8_t *at, uint32_t n) { \
		return bh_enter(at, n, bh_sessions_, sizeof bh_sessions_ / sizeof *bh_sessions_); \
	}

/* Declares what runs once, before the first request: bool start(const bh_start *, bh_error *).
 * False with an error keeps the plugin from being loaded. */
#define BH_ON_START(f) bool (*const bh_on_start)(const bh_start *, bh_error *) = f;

/* Declares the client of a capability: bh_NAME_fetch(&request, &reply) makes one call, and
 * bh_NAME_open(&request, &reply) opens a stream and returns its number, 0 if it failed.
 * A status of 400 or more from what the host called is a response. */
#define BH_CAPABILITY(name) \
	BH_IMPORT("bulkhead:" #name "/v1", "fetch") int64_t bh_host_##name##_fetch(const void *, uint32_t, void *, uint32_t); \
	BH_IMPORT("bulkhead:" #name "/v1", "open") int64_t bh_host_##name##_open(const void *, uint32_t, void *, uint32_t); \
	__attribute__((unused)) static bool bh_##name##_fetch(const bh_request *r, bh_reply *out) { return bh_call(bh_host_##name##_fetch, r, out); } \
	__attribute__((unused)) static uint32_t bh_##name##_open(const bh_request *r, bh_reply *out) { return bh_open(bh_host_##name##_open, r, out); }

typedef int64_t (*bh_import)(const void *, uint32_t, void *, uint32_t);

/* Memory: zeroed, until the entry ends or a mark is released. It traps if there is no more. */
void *bh_alloc(size_t n);
size_t bh_mark(void);
void bh_release(size_t mark);

/* Text. */
bool bh_eq(bh_str a, bh_str b);
bool bh_eq_fold(bh_str a, bh_str b); /* without case, in ASCII */
int32_t bh_find(bh_str s, bh_str part); /* its offset, -1: not there */
bh_str bh_cat(bh_str a, bh_str b, bh_str c);
bh_str bh_join(bh_strs list, bh_str between);
bh_str bh_int(int64_t v);
int64_t bh_parse_int(bh_str s); /* 0 if it is no number */
bh_str bh_escape(bh_str s);     /* one segment of a path, or one value of a query */
bool bh_is_utf8(bh_str s);

/* A text that grows. */
typedef struct { char *at; uint32_t n, room; } bh_buf;
void bh_add(bh_buf *b, bh_str s);
void bh_add_json(bh_buf *b, bh_str s); /* as a JSON string */
static inline bh_str bh_done(const bh_buf *b) { return (bh_str){b->at, b->n}; }

/* Requests. */
bh_str bh_path(const bh_request *r);
bh_str bh_raw_query(const bh_request *r);
bh_str bh_query(const bh_request *r, bh_str name); /* the first value, decoded; empty: there is none */
bh_strs bh_query_all(const bh_request *r, bh_str name);
bh_str bh_header(const bh_request *r, bh_str name);
bh_str bh_param(const bh_request *r, bh_str name);

/* Replies. */
void bh_bytes(bh_reply *out, uint32_t status, bh_str content_type, bh_str body);
void bh_text(bh_reply *out, uint32_t status, bh_str text);
void bh_json(bh_reply *out, uint32_t status, bh_str json);
void bh_no_content(bh_reply *out);
void bh_fail(bh_reply *out, uint32_t status, bh_str message);

/* Log, clock, random numbers: live in every request. bh_panic logs and traps. */
void bh_log(int32_t level, bh_str text);
__attribute__((noreturn)) void bh_panic(bh_str text);
uint64_t bh_now(void); /* nanoseconds since 1970-01-01 UTC */
void bh_random(void *to, uint32_t n);

/* Sessions. Each returns BH_OK or what kept it from that; after BH_CLOSED the handler
 * returns. bh_next waits at most so many milliseconds, 0: as long as the session lives. */
int bh_next(bh_message *out, uint32_t timeout_ms);
int bh_send(uint8_t kind, bh_str data);
int bh_close(uint32_t code, bh_str reason); /* 1000, 4000 to 4399, 4600 to 4999 */
int bh_splice(uint32_t stream);

/* JSON (RFC 8259), read in place. A value that is not there has n 0. */
typedef bh_str bh_value;
bh_value bh_json_get(bh_value object, bh_str key);
bool bh_json_next(bh_value array, uint32_t *at, bh_value *element); /* *at begins with 0 */
bh_str bh_json_str(bh_value v); /* a string's text, empty for anything else */

/* Frames, for tools and tests. Decoders return NULL, or the name of the first field that is
 * wrong, as in ABI.md. */
const char *bh_kind_of(bh_str frame, uint8_t *kind);
const char *bh_decode_request(bh_str frame, bh_request *out);
const char *bh_decode_response(bh_str frame, bh_response *out);
const char *bh_decode_error(bh_str frame, bh_error *out);
const char *bh_decode_start(bh_str frame, bh_start *out);
const char *bh_decode_message(bh_str frame, bh_message *out);
void bh_encode_request(bh_buf *b, const bh_request *r);
void bh_encode_response(bh_buf *b, const bh_response *r);
void bh_encode_error(bh_buf *b, const bh_error *x);
void bh_encode_start(bh_buf *b, const bh_start *s);
void bh_encode_message(bh_buf *b, const bh_message *m);
bh_str bh_code_of(uint32_t status);

/* What the macros use. */
bool bh_call(bh_import f, const bh_request *r, bh_reply *out);
uint32_t bh_open(bh_import f, const bh_request *r, bh_reply *out);
uint64_t bh_enter(uint8_t *at, uint32_t n, const bh_route *routes, uint32_t routes_n);
extern const bh_route *const bh_routes;
extern const uint32_t bh_routes_n;
extern const bh_route *const bh_sessions __attribute__((weak));
extern const uint32_t bh_sessions_n __attribute__((weak));
extern bool (*const bh_on_start)(const bh_start *, bh_error *) __attribute__((weak));

#ifdef BULKHEAD_IMPLEMENTATION

/* The compiler calls these. */
__attribute__((no_builtin("memcpy"))) void *memcpy(void *restrict to, const void *restrict from, size_t n) {
	char *t = to;
	for (const char *f = from; n >= 4; n -= 4, t += 4, f += 4, from = f) __builtin_memcpy_inline(t, f, 4);
	for (const char *f = from; n; n--) *t++ = *f++;
	return to;
}
__attribute__((no_builtin("memset"))) void *memset(void *to, int c, size_t n) {
	for (char *t = to; n; n--) *t++ = (char)c;
	return to;
}
__attribute__((no_builtin("memcmp", "bcmp"))) int memcmp(const void *a, const void *b, size_t n) {
	const unsigned char *x = a, *y = b;
	for (; n; n--, x++, y++)
		if (*x != *y) return *x - *y;
	return 0;
}

BH_IMPORT("bulkhead:abi/v1", "take") int64_t bh_host_take(void *, uint32_t);
BH_IMPORT("bulkhead:log/v1", "write") void bh_host_write(int32_t, const char *, uint32_t);
BH_IMPORT("bulkhead:session/v1", "next") int64_t bh_host_next(void *, uint32_t, uint32_t);
BH_IMPORT("bulkhead:session/v1", "send") int32_t bh_host_send(const void *, uint32_t);
BH_IMPORT("bulkhead:session/v1", "close") int32_t bh_host_close(uint32_t, const char *, uint32_t);
BH_IMPORT("bulkhead:session/v1", "splice") int32_t bh_host_splice(uint32_t);
BH_IMPORT("wasi_snapshot_preview1", "clock_time_get") uint32_t bh_host_clock(uint32_t, uint64_t, uint64_t *);
BH_IMPORT("wasi_snapshot_preview1", "random_get") uint32_t bh_host_random(void *, uint32_t);

/* Memory: from the heap's base upwards. What was used before is zeroed again. */
extern char __heap_base;
static size_t bh_top_, bh_dirty_;

void *bh_alloc(size_t n) {
	if (!bh_top_) bh_top_ = bh_dirty_ = ((size_t)&__heap_base + 15) & ~(size_t)15;
	size_t at = bh_top_, end = at + ((n + 15) & ~(size_t)15);
	if (n > (size_t)1 << 31 || end < at) bh_panic(BH("bh_alloc: too much memory at once"));
	size_t have = __builtin_wasm_memory_size(0) << 16;
	if (end > have) {
		size_t want = (end - have + 0xffff) >> 16, spare = have >> 18; /* a quarter more, if there is */
		if (__builtin_wasm_memory_grow(0, want + spare) == (size_t)-1 && __builtin_wasm_memory_grow(0, want) == (size_t)-1)
			bh_panic(BH("bh_alloc: out of memory"));
	}
	if (at < bh_dirty_) __builtin_memset((void *)at, 0, (end < bh_dirty_ ? end : bh_dirty_) - at);
	bh_top_ = end;
	if (end > bh_dirty_) bh_dirty_ = end;
	return (void *)at;
}
static size_t bh_floor_; /* below it are the buffers of this header, which no release frees */
size_t bh_mark(void) { return (size_t)bh_alloc(0); }
void bh_release(size_t mark) { bh_top_ = mark < bh_floor_ ? bh_floor_ : mark; }

bool bh_eq(bh_str a, bh_str b) { return a.n == b.n && !memcmp(a.at, b.at, a.n); }
static char bh_lower_(char c) { return c >= 'A' && c <= 'Z' ? c | 32 : c; }
bool bh_eq_fold(bh_str a, bh_str b) {
	if (a.n != b.n) return false;
	for (uint32_t i = 0; i < a.n; i++)
		if (bh_lower_(a.at[i]) != bh_lower_(b.at[i])) return false;
	return true;
}
int32_t bh_find(bh_str s, bh_str part) {
	for (uint32_t i = 0; part.n <= s.n && i <= s.n - part.n; i++)
		if (!memcmp(s.at + i, part.at, part.n)) return (int32_t)i;
	return -1;
}
static bh_str bh_from_(bh_str s, uint32_t i) { return (bh_str){s.at + i, s.n - i}; }
static bh_str bh_cut_(bh_str s, uint32_t n) { /* at a character */
	if (s.n <= n) return s;
	while (n && ((unsigned char)s.at[n] & 0xc0) == 0x80) n--;
	return (bh_str){s.at, n};
}

static void bh_room_(bh_buf *b, uint32_t n) {
	if (n <= b->room - b->n) return;
	uint32_t room = b->n + n + (b->room < 64 ? 64 : b->room);
	char *at = bh_alloc(room);
	memcpy(at, b->at, b->n);
	b->at = at, b->room = room;
}
void bh_add(bh_buf *b, bh_str s) {
	bh_room_(b, s.n);
	memcpy(b->at + b->n, s.at, s.n);
	b->n += s.n;
}
static void bh_byte_(bh_buf *b, uint8_t c) {
	bh_room_(b, 1);
	b->at[b->n++] = (char)c;
}
bh_str bh_cat(bh_str a, bh_str b, bh_str c) {
	bh_buf out = {bh_alloc(a.n + b.n + c.n), 0, a.n + b.n + c.n};
	bh_add(&out, a), bh_add(&out, b), bh_add(&out, c);
	return bh_done(&out);
}
bh_str bh_join(bh_strs list, bh_str between) {
	bh_buf out = {0};
	for (uint32_t i = 0; i < list.n; i++) {
		if (i) bh_add(&out, between);
		bh_add(&out, list.at[i]);
	}
	return bh_done(&out);
}
bh_str bh_int(int64_t v) {
	char *end = (char *)bh_alloc(24) + 24, *at = end;
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
	do *--at = (char)('0' + u % 10);
	while (u /= 10);
	if (v < 0) *--at = '-';
	return (bh_str){at, (uint32_t)(end - at)};
}
int64_t bh_parse_int(bh_str s) {
	uint64_t v = 0;
	uint32_t i = s.n && s.at[0] == '-';
	if (i == s.n || s.n - i > 18) return 0;
	for (uint32_t k = i; k < s.n; k++) {
		if (s.at[k] < '0' || s.at[k] > '9') return 0;
		v = v * 10 + (uint64_t)(s.at[k] - '0');
	}
	return i ? -(int64_t)v : (int64_t)v;
}
bh_str bh_escape(bh_str s) {
	bh_buf out = {0};
	for (uint32_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.at[i];
		if ((c >= '0' && c <= '9') || (bh_lower_((char)c) >= 'a' && bh_lower_((char)c) <= 'z') || c == '-' || c == '_' || c == '.' || c == '~') {
			bh_byte_(&out, c);
			continue;
		}
		bh_byte_(&out, '%');
		bh_byte_(&out, (uint8_t)"0123456789ABCDEF"[c >> 4]);
		bh_byte_(&out, (uint8_t)"0123456789ABCDEF"[c & 15]);
	}
	return bh_done(&out);
}
static int bh_hex_(char c) {
	c = bh_lower_(c);
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
bool bh_is_utf8(bh_str s) {
	const unsigned char *p = (const unsigned char *)s.at, *end = p + s.n;
	while (p < end) {
		unsigned char c = *p++;
		if (c < 0x80) continue;
		uint32_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
		uint32_t v = c & (0x3fu >> more);
		if (c < 0xc2 || c > 0xf4 || more > (uint32_t)(end - p)) return false;
		for (uint32_t i = 0; i < more; i++, p++) {
			if ((*p & 0xc0) != 0x80) return false;
			v = v << 6 | (*p & 0x3f);
		}
		if ((more == 2 && v < 0x800) || (more == 3 && (v < 0x10000 || v > 0x10ffff)) || (v >= 0xd800 && v < 0xe000)) return false;
	}
	return true;
}
void bh_add_json(bh_buf *b, bh_str s) {
	bh_byte_(b, '"');
	for (uint32_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.at[i];
		if (c == '"' || c == '\\') bh_byte_(b, '\\');
		if (c >= ' ') {
			bh_byte_(b, c);
			continue;
		}
		bh_add(b, BH("\\u00"));
		bh_byte_(b, (uint8_t)"0123456789abcdef"[c >> 4]);
		bh_byte_(b, (uint8_t)"0123456789abcdef"[c & 15]);
	}
	bh_byte_(b, '"');
}

/* Decoding: the first error sticks, reads after it return nothing. */
typedef struct { const char *p; uint32_t at, n; const char *bad; } bh_dec_;

static void bh_bad_(bh_dec_ *d, const char *field) {
	if (!d->bad) d->bad = field;
}
static const char *bh_take_(bh_dec_ *d, const char *field, uint32_t n) {
	if (n > d->n - d->at) bh_bad_(d, field);
	if (d->bad) return NULL;
	d->at += n;
	return d->p + d->at - n;
}
static uint32_t bh_u32_at_(const char *p) {
	uint32_t v;
	__builtin_memcpy_inline(&v, p, 4); /* wasm is little-endian */
	return v;
}
static uint8_t bh_u8_(bh_dec_ *d, const char *field) {
	const char *p = bh_take_(d, field, 1);
	return p ? (uint8_t)*p : 0;
}
static bool bh_bool_(bh_dec_ *d, const char *field) {
	uint8_t v = bh_u8_(d, field);
	if (v > 1) bh_bad_(d, field);
	return v == 1;
}
static uint32_t bh_u32_(bh_dec_ *d, const char *field) {
	const char *p = bh_take_(d, field, 4);
	return p ? bh_u32_at_(p) : 0;
}
static int64_t bh_i64_(bh_dec_ *d, const char *field) {
	const char *p = bh_take_(d, field, 8);
	return p ? (int64_t)((uint64_t)bh_u32_at_(p) | (uint64_t)bh_u32_at_(p + 4) << 32) : 0;
}
static uint32_t bh_size_(bh_dec_ *d, const char *field, uint32_t limit) {
	uint32_t n = bh_u32_(d, field);
	if (n <= limit) return n;
	bh_bad_(d, field);
	return 0;
}
static bh_str bh_bytes_(bh_dec_ *d, const char *field, uint32_t limit) {
	uint32_t n = bh_size_(d, field, limit);
	const char *p = bh_take_(d, field, n);
	return p ? (bh_str){p, n} : (bh_str){"", 0};
}
static bh_str bh_str_(bh_dec_ *d, const char *field) { return bh_bytes_(d, field, BH_MAX_STRING); }
static uint32_t bh_count_(bh_dec_ *d, const char *field, uint32_t limit, uint32_t least) {
	uint32_t n = bh_size_(d, field, limit);
	if (n * least <= d->n - d->at) return n;
	bh_bad_(d, field);
	return 0;
}
static bh_strs bh_strs_(bh_dec_ *d, const char *field) {
	uint32_t n = bh_count_(d, field, BH_MAX_LIST, 4);
	bh_str *list = n ? bh_alloc(n * sizeof *list) : NULL;
	for (uint32_t i = 0; i < n; i++) list[i] = bh_str_(d, field);
	return (bh_strs){list, n};
}
static bh_pairs bh_pairs_(bh_dec_ *d, const char *field, uint32_t limit) {
	uint32_t n = bh_count_(d, field, limit, 8);
	bh_pair *list = n ? bh_alloc(n * sizeof *list) : NULL;
	for (uint32_t i = 0; i < n; i++) {
		list[i].name = bh_str_(d, field);
		list[i].value = bh_str_(d, field);
	}
	return (bh_pairs){list, n};
}
static uint32_t bh_status_(bh_dec_ *d) {
	uint32_t n = bh_u32_(d, "status");
	if (n < 100 || n > 599) bh_bad_(d, "status");
	return n;
}
static const char *bh_end_(bh_dec_ *d) {
	if (d->at != d->n) bh_bad_(d, "length");
	return d->bad;
}

const char *bh_kind_of(bh_str f, uint8_t *kind) {
	if (f.n < 8 || f.n > BH_MAX_FRAME) return "header";
	if (f.at[0] != BH_VERSION) return "version";
	if (f.at[2] || f.at[3]) return "reserved";
	if (bh_u32_at_(f.at + 4) != f.n) return "length";
	*kind = (uint8_t)f.at[1];
	return NULL;
}
static bh_dec_ bh_begin_(bh_str f, uint8_t want) {
	uint8_t kind = 0;
	const char *bad = bh_kind_of(f, &kind);
	if (!bad && kind != want) bad = "kind";
	return (bh_dec_){f.at, bad ? f.n : 8, f.n, bad};
}

const char *bh_decode_request(bh_str f, bh_request *r) {
	bh_dec_ d = bh_begin_(f, BH_REQUEST);
	r->method = bh_str_(&d, "method");
	r->url = bh_str_(&d, "url");
	r->header = bh_pairs_(&d, "header", BH_MAX_HEADERS);
	r->body = bh_bytes_(&d, "body", BH_MAX_BODY);
	r->has_host = bh_bool_(&d, "host section");
	if (r->has_host) {
		bh_host_section *h = &r->host;
		h->request_id = bh_str_(&d, "request id");
		h->user = bh_str_(&d, "user");
		h->name = bh_str_(&d, "name");
		h->roles = bh_strs_(&d, "roles");
		h->teams = bh_strs_(&d, "teams");
		h->route = bh_str_(&d, "route");
		h->action = bh_str_(&d, "action");
		h->params = bh_pairs_(&d, "params", BH_MAX_LIST);
		h->timeout_ms = bh_i64_(&d, "timeout");
		h->namespaces = bh_strs_(&d, "namespaces");
		h->groups = bh_strs_(&d, "groups");
		h->redact = bh_strs_(&d, "redact");
	}
	return bh_end_(&d);
}
const char *bh_decode_response(bh_str f, bh_response *r) {
	bh_dec_ d = bh_begin_(f, BH_RESPONSE);
	r->status = bh_status_(&d);
	r->header = bh_pairs_(&d, "header", BH_MAX_HEADERS);
	r->body = bh_bytes_(&d, "body", BH_MAX_BODY);
	return bh_end_(&d);
}
const char *bh_decode_error(bh_str f, bh_error *x) {
	bh_dec_ d = bh_begin_(f, BH_ERROR);
	x->code = bh_str_(&d, "code");
	x->origin = bh_u8_(&d, "origin");
	x->status = bh_status_(&d);
	x->retryable = bh_bool_(&d, "flags");
	x->message = bh_str_(&d, "message");
	x->detail = bh_str_(&d, "detail");
	if (x->status < 400) bh_bad_(&d, "status");
	if (x->origin > BH_UPSTREAM) bh_bad_(&d, "origin");
	return bh_end_(&d);
}
const char *bh_decode_start(bh_str f, bh_start *s) {
	bh_dec_ d = bh_begin_(f, BH_START);
	s->abi = bh_u32_(&d, "abi");
	s->instance = bh_str_(&d, "instance");
	s->config = bh_bytes_(&d, "config", BH_MAX_BODY);
	s->denied = bh_strs_(&d, "denied");
	return bh_end_(&d);
}
const char *bh_decode_message(bh_str f, bh_message *m) {
	bh_dec_ d = bh_begin_(f, BH_MESSAGE);
	m->kind = bh_u8_(&d, "message kind");
	m->data = bh_bytes_(&d, "data", BH_MAX_BODY);
	if (m->kind < BH_MSG_TEXT || m->kind > BH_MSG_EVENT) bh_bad_(&d, "message kind");
	return bh_end_(&d);
}

/* Encoding. */
static uint32_t bh_head_(bh_buf *b, uint8_t kind) {
	uint32_t start = b->n;
	bh_add(b, (bh_str){(char[8]){BH_VERSION, (char)kind}, 8});
	return start;
}
static void bh_finish_(bh_buf *b, uint32_t start) {
	uint32_t n = b->n - start;
	__builtin_memcpy_inline(b->at + start + 4, &n, 4);
}
static void bh_put_u32_(bh_buf *b, uint32_t v) {
	bh_room_(b, 4);
	__builtin_memcpy_inline(b->at + b->n, &v, 4);
	b->n += 4;
}
static void bh_put_(bh_buf *b, bh_str s) {
	bh_put_u32_(b, s.n);
	bh_add(b, s);
}
static void bh_put_strs_(bh_buf *b, bh_strs list) {
	bh_put_u32_(b, list.n);
	for (uint32_t i = 0; i < list.n; i++) bh_put_(b, list.at[i]);
}
static void bh_put_pairs_(bh_buf *b, bh_pairs list) {
	bh_put_u32_(b, list.n);
	for (uint32_t i = 0; i < list.n; i++) bh_put_(b, list.at[i].name), bh_put_(b, list.at[i].value);
}
void bh_encode_request(bh_buf *b, const bh_request *r) {
	uint32_t start = bh_head_(b, BH_REQUEST);
	bh_put_(b, r->method), bh_put_(b, r->url), bh_put_pairs_(b, r->header), bh_put_(b, r->body);
	bh_byte_(b, r->has_host);
	if (r->has_host) {
		const bh_host_section *h = &r->host;
		bh_put_(b, h->request_id), bh_put_(b, h->user), bh_put_(b, h->name);
		bh_put_strs_(b, h->roles), bh_put_strs_(b, h->teams);
		bh_put_(b, h->route), bh_put_(b, h->action), bh_put_pairs_(b, h->params);
		bh_put_u32_(b, (uint32_t)h->timeout_ms), bh_put_u32_(b, (uint32_t)((uint64_t)h->timeout_ms >> 32));
		bh_put_strs_(b, h->namespaces), bh_put_strs_(b, h->groups), bh_put_strs_(b, h->redact);
	}
	bh_finish_(b, start);
}
void bh_encode_response(bh_buf *b, const bh_response *r) {
	uint32_t start = bh_head_(b, BH_RESPONSE);
	bh_put_u32_(b, r->status), bh_put_pairs_(b, r->header), bh_put_(b, r->body);
	bh_finish_(b, start);
}
void bh_encode_error(bh_buf *b, const bh_error *x) {
	uint32_t start = bh_head_(b, BH_ERROR);
	bh_put_(b, x->code), bh_byte_(b, x->origin), bh_put_u32_(b, x->status), bh_byte_(b, x->retryable);
	bh_put_(b, bh_cut_(x->message, BH_MAX_STRING)), bh_put_(b, bh_cut_(x->detail, BH_MAX_STRING));
	bh_finish_(b, start);
}
void bh_encode_start(bh_buf *b, const bh_start *s) {
	uint32_t start = bh_head_(b, BH_START);
	bh_put_u32_(b, s->abi), bh_put_(b, s->instance), bh_put_(b, s->config), bh_put_strs_(b, s->denied);
	bh_finish_(b, start);
}
void bh_encode_message(bh_buf *b, const bh_message *m) {
	uint32_t start = bh_head_(b, BH_MESSAGE);
	bh_byte_(b, m->kind), bh_put_(b, m->data);
	bh_finish_(b, start);
}

bh_str bh_code_of(uint32_t status) {
	switch (status) {
	case 401: return BH("unauthenticated");
	case 403: return BH("forbidden");
	case 404: return BH("not_found");
	case 409: return BH("conflict");
	case 413: return BH("too_large");
	case 422: return BH("unprocessable");
	case 429: return BH("limited");
	case 502: return BH("upstream");
	case 503: return BH("unavailable");
	case 504: return BH("timeout");
	}
	return status >= 400 && status < 500 ? BH("invalid") : BH("internal");
}

/* Requests. */
static uint32_t bh_mark_of_(bh_str s, char c) {
	uint32_t i = 0;
	while (i < s.n && s.at[i] != c) i++;
	return i;
}
bh_str bh_path(const bh_request *r) { return (bh_str){r->url.at, bh_mark_of_(r->url, '?')}; }
bh_str bh_raw_query(const bh_request *r) {
	uint32_t i = bh_mark_of_(r->url, '?');
	return i < r->url.n ? bh_from_(r->url, i + 1) : BH("");
}
static bool bh_unescape_(bh_str s, bh_str *out) {
	char *to = bh_alloc(s.n);
	uint32_t n = 0;
	for (uint32_t i = 0; i < s.n; i++) {
		char c = s.at[i];
		if (c == '+') c = ' ';
		if (c == '%') {
			int high = i + 2 < s.n ? bh_hex_(s.at[i + 1]) : -1, low = i + 2 < s.n ? bh_hex_(s.at[i + 2]) : -1;
			if (high < 0 || low < 0) return false;
			c = (char)(high << 4 | low), i += 2;
		}
		to[n++] = c;
	}
	*out = (bh_str){to, n};
	return true;
}
bh_strs bh_query_all(const bh_request *r, bh_str name) {
	bh_str rest = bh_raw_query(r);
	bh_str *list = bh_alloc((rest.n / 2 + 1) * sizeof *list);
	uint32_t n = 0;
	while (rest.n) {
		uint32_t end = bh_mark_of_(rest, '&');
		bh_str part = {rest.at, end}, key, value;
		rest = end < rest.n ? bh_from_(rest, end + 1) : BH("");
		uint32_t mid = bh_mark_of_(part, '=');
		if (!part.n || bh_mark_of_(part, ';') < part.n || !bh_unescape_((bh_str){part.at, mid}, &key) || !bh_eq(key, name)) continue;
		if (bh_unescape_(mid < part.n ? bh_from_(part, mid + 1) : BH(""), &value)) list[n++] = value;
	}
	return (bh_strs){list, n};
}
bh_str bh_query(const bh_request *r, bh_str name) {
	bh_strs all = bh_query_all(r, name);
	return all.n ? all.at[0] : BH("");
}
bh_str bh_header(const bh_request *r, bh_str name) {
	for (uint32_t i = 0; i < r->header.n; i++)
		if (bh_eq_fold(r->header.at[i].name, name)) return r->header.at[i].value;
	return BH("");
}
bh_str bh_param(const bh_request *r, bh_str name) {
	for (uint32_t i = 0; i < r->host.params.n; i++)
		if (bh_eq(r->host.params.at[i].name, name)) return r->host.params.at[i].value;
	return BH("");
}

/* Replies. */
void bh_bytes(bh_reply *out, uint32_t status, bh_str content_type, bh_str body) {
	bh_pair *header = bh_alloc(sizeof *header);
	*header = (bh_pair){BH("Content-Type"), content_type};
	out->failed = false;
	out->response = (bh_response){status, {header, 1}, body};
}
void bh_text(bh_reply *out, uint32_t status, bh_str text) { bh_bytes(out, status, BH("text/plain; charset=utf-8"), text); }
void bh_json(bh_reply *out, uint32_t status, bh_str json) { bh_bytes(out, status, BH("application/json"), json); }
void bh_no_content(bh_reply *out) { *out = (bh_reply){.response = {.status = 204}}; }
void bh_fail(bh_reply *out, uint32_t status, bh_str message) {
	*out = (bh_reply){.failed = true, .error = {.status = status, .message = message, .code = bh_code_of(status)}};
}
static const char *bh_bad_header_(bh_pairs header) {
	if (header.n > BH_MAX_HEADERS) return "has more than 256 headers";
	for (uint32_t i = 0; i < header.n; i++)
		if (header.at[i].name.n > BH_MAX_STRING || header.at[i].value.n > BH_MAX_STRING) return "has a header over 64 KiB";
	return NULL;
}
static bh_str bh_of_(const char *s) {
	uint32_t n = 0;
	while (s[n]) n++;
	return (bh_str){s, n};
}

/* Log, clock, random numbers. */
void bh_log(int32_t level, bh_str text) {
	text = bh_cut_(text, 8 << 10);
	bh_host_write(level, text.at, text.n);
}
void bh_panic(bh_str text) {
	bh_log(BH_LOG_ERROR, text);
	__builtin_trap();
}
uint64_t bh_now(void) {
	uint64_t v = 0;
	if (bh_host_clock(0, 1, &v)) bh_panic(BH("the host has no clock"));
	return v;
}
void bh_random(void *to, uint32_t n) {
	if (bh_host_random(to, n)) bh_panic(BH("the host has no random numbers"));
}

/* Entries. The buffers are made before the first request, so that an ordinary one grows
 * no memory, and what a session releases does not reach them. */
static uint8_t *bh_in_;
static uint32_t bh_in_n_;
static bh_buf bh_out_, bh_ask_, bh_say_, bh_answer_, bh_heard_;

/* Gives a buffer at least n bytes, which stay when a mark is released. */
static void bh_keep_(bh_buf *b, uint32_t n) {
	b->n = 0;
	if (n <= b->room) return;
	*b = (bh_buf){bh_alloc(n), 0, n};
	bh_floor_ = bh_top_;
}

BH_EXPORT("bulkhead_alloc") void *bulkhead_alloc(uint32_t n) {
	if (n > BH_MAX_FRAME) return NULL;
	if (n > bh_in_n_) {
		bh_in_n_ = n < 64 << 10 ? 64 << 10 : n;
		bh_in_ = bh_alloc(bh_in_n_);
	}
	return bh_in_;
}
static uint64_t bh_return_(void) { return (uint64_t)(size_t)bh_out_.at << 32 | bh_out_.n; }
static uint64_t bh_refuse_(bh_error x) {
	if (x.status < 400 || x.status > 599) x.status = 500;
	if (!x.code.n || x.code.n > BH_MAX_STRING) x.code = bh_code_of(x.status);
	bh_out_.n = 0;
	bh_encode_error(&bh_out_, &x);
	return bh_return_();
}
static uint64_t bh_host_fault_(const char *field) {
	return bh_refuse_((bh_error){.origin = BH_HOST, .status = 500, .message = bh_cat(BH("abi frame: "), bh_of_(field), BH(": is malformed"))});
}
static bh_str bh_inbound_(uint8_t *at, uint32_t n) {
	return at == bh_in_ && n <= bh_in_n_ ? (bh_str){(const char *)at, n} : BH("");
}

static void bh_ready_(void) {
	if (!bh_out_.at) bh_out_ = (bh_buf){bh_alloc(64 << 10), 0, 64 << 10};
	bh_out_.n = 0;
}

static void bh_list_(bh_buf *to, bh_str kind, const bh_route *routes, uint32_t n) {
	for (uint32_t i = 0; i < n; i++) bh_add(to, kind), bh_add(to, routes[i].name), bh_add(to, BH("\n"));
}
/* Lists the handlers, for the host to compare with the manifest. */
BH_EXPORT("bulkhead_routes") uint64_t bulkhead_routes(void) {
	bh_buf list = {0};
	bh_list_(&list, BH("unary "), bh_routes, bh_routes_n);
	if (&bh_sessions) bh_list_(&list, BH("session "), bh_sessions, bh_sessions_n);
	bh_response r = {.status = 200, .body = {(const char *)list.at, list.n}};
	bh_ready_();
	bh_encode_response(&bh_out_, &r);
	return bh_return_();
}

BH_EXPORT("bulkhead_start") uint64_t bulkhead_start(uint8_t *at, uint32_t n) {
	bh_start s;
	const char *bad = bh_decode_start(bh_inbound_(at, n), &s);
	bh_ready_();
	if (bad) return bh_host_fault_(bad);
	bh_error x = {0};
	if (&bh_on_start && !bh_on_start(&s, &x)) {
		x.code = BH("start_failed"), x.status = 500;
		return bh_refuse_(x);
	}
	bh_response none = {.status = 204};
	bh_encode_response(&bh_out_, &none);
	return bh_return_();
}
uint64_t bh_enter(uint8_t *at, uint32_t n, const bh_route *routes, uint32_t routes_n) {
	bh_request r;
	const char *bad = bh_decode_request(bh_inbound_(at, n), &r);
	if (!bad && !r.has_host) bad = "host section";
	if (bad) return bh_host_fault_(bad);
	bh_reply out = {.response = {.status = 204}};
	uint32_t i = 0;
	while (i < routes_n && !bh_eq(routes[i].name, r.host.route)) i++;
	if (i == routes_n)
		return bh_refuse_((bh_error){.code = BH("no_handler"), .status = 404, .message = BH("not found"),
			.detail = bh_cat(BH("the plugin has no handler for route "), r.host.route, BH(""))});
	routes[i].handle(&r, &out);
	if (out.failed) return bh_refuse_(out.error);
	const char *what = bh_bad_header_(out.response.header);
	if (out.response.status < 200 || out.response.status > 599) what = "status is not within 200 to 599";
	else if (out.response.body.n > BH_MAX_BODY) what = "body is over the limit of 8 MiB";
	if (what) {
		bh_log(BH_LOG_ERROR, bh_cat(BH("response "), bh_of_(what), BH("")));
		return bh_refuse_((bh_error){.status = 500, .message = BH("the plugin failed")});
	}
	bh_out_.n = 0;
	bh_encode_response(&bh_out_, &out.response);
	return bh_return_();
}
BH_EXPORT("bulkhead_handle") uint64_t bulkhead_handle(uint8_t *at, uint32_t n) { return bh_enter(at, n, bh_routes, bh_routes_n); }

/* Calls of capabilities. */
static const char *bh_receive_(int64_t n, bh_buf *b, bh_str *frame) {
	if (n < 0 || n > BH_MAX_FRAME) return "the host gave no answer";
	if (n > b->room) {
		bh_keep_(b, (uint32_t)n);
		if (bh_host_take(b->at, b->room) != n) return "the host gave no answer";
	}
	*frame = (bh_str){b->at, (uint32_t)n};
	return NULL;
}
bool bh_call(bh_import f, const bh_request *r, bh_reply *out) {
	const char *what = bh_bad_header_(r->header);
	if (r->method.n > BH_MAX_STRING || r->url.n > BH_MAX_STRING) what = "has a URL over 64 KiB";
	else if (r->body.n > BH_MAX_BODY) what = "has a body over 8 MiB";
	if (what) {
		bh_fail(out, 413, bh_cat(BH("a capability call "), bh_of_(what), BH("")));
		return false;
	}
	bh_keep_(&bh_answer_, 16 << 10);
	uint32_t room = bh_ask_.room;
	bh_ask_.n = 0;
	bh_encode_request(&bh_ask_, r);
	if (bh_ask_.room > room) bh_floor_ = bh_top_;
	bh_str frame = {0};
	*out = (bh_reply){0};
	const char *bad = bh_receive_(f(bh_ask_.at, bh_ask_.n, bh_answer_.at, bh_answer_.room), &bh_answer_, &frame);
	uint8_t kind = 0;
	if (!bad) {
		/* The answer stays as it is while another call is made. */
		char *own = bh_alloc(frame.n);
		memcpy(own, frame.at, frame.n);
		frame.at = own;
		bad = bh_kind_of(frame, &kind);
		if (!bad && kind == BH_ERROR) bad = bh_decode_error(frame, &out->error), out->failed = true;
		else if (!bad) bad = bh_decode_response(frame, &out->response);
	}
	if (bad) {
		bh_fail(out, 500, bh_cat(BH("the host's answer: "), bh_of_(bad), BH("")));
		out->error.origin = BH_HOST;
	}
	return !out->failed;
}
uint32_t bh_open(bh_import f, const bh_request *r, bh_reply *out) {
	if (!bh_call(f, r, out)) return 0;
	for (uint32_t i = 0; i < out->response.header.n; i++)
		if (bh_eq_fold(out->response.header.at[i].name, BH("Bulkhead-Stream"))) return (uint32_t)bh_parse_int(out->response.header.at[i].value);
	bh_fail(out, 502, BH("no stream was opened"));
	out->error.origin = BH_HOST;
	return 0;
}

/* Sessions. */
int bh_next(bh_message *out, uint32_t timeout_ms) {
	bh_keep_(&bh_heard_, 4 << 10);
	int64_t n = bh_host_next(bh_heard_.at, bh_heard_.room, timeout_ms && timeout_ms < INT32_MAX ? timeout_ms : INT32_MAX);
	if (n < 0) return (int)n;
	bh_str frame;
	if (bh_receive_(n, &bh_heard_, &frame) || bh_decode_message(frame, out)) return BH_FAILED;
	return out->kind == BH_MSG_CLOSE ? BH_CLOSED : out->kind == BH_MSG_IDLE ? BH_TIMED_OUT : BH_OK;
}
int bh_send(uint8_t kind, bh_str data) {
	if (kind < BH_MSG_TEXT || kind > BH_MSG_BINARY || data.n > BH_MAX_BODY || (kind == BH_MSG_TEXT && !bh_is_utf8(data))) return BH_INVALID;
	bh_message m = {kind, data};
	bh_keep_(&bh_say_, data.n + 16);
	bh_encode_message(&bh_say_, &m);
	return bh_host_send(bh_say_.at, bh_say_.n);
}
int bh_close(uint32_t code, bh_str reason) {
	reason = bh_cut_(reason, 120);
	return bh_host_close(code, reason.at, reason.n);
}
int bh_splice(uint32_t stream) { return bh_host_splice(stream); }

/* JSON: a cursor over the text, without a stack. */
static uint32_t bh_space_(bh_str s, uint32_t i) {
	while (i < s.n && (s.at[i] == ' ' || s.at[i] == '\n' || s.at[i] == '\r' || s.at[i] == '\t')) i++;
	return i;
}
static uint32_t bh_string_end_(bh_str s, uint32_t i) { /* after the string that begins at i */
	for (i++; i < s.n && s.at[i] != '"'; i++)
		if (s.at[i] == '\\') i++;
	return i < s.n ? i + 1 : s.n;
}
static uint32_t bh_value_end_(bh_str s, uint32_t i) {
	uint32_t depth = 0;
	while (i < s.n) {
		char c = s.at[i];
		if (c == '"') i = bh_string_end_(s, i);
		else if (c == '{' || c == '[') depth++, i++;
		else if (c == '}' || c == ']') {
			if (!depth) return i;
			depth--, i++;
		} else if (!depth && (c == ',' || c == ':' || bh_space_(s, i) > i)) return i;
		else i++;
		if (!depth && (c == '"' || c == '}' || c == ']')) return i;
	}
	return s.n;
}
bool bh_json_next(bh_value array, uint32_t *at, bh_value *element) {
	uint32_t i = *at ? *at : bh_space_(array, 0);
	if (!*at && (i >= array.n || array.at[i] != '[')) return false;
	i = bh_space_(array, *at ? i : i + 1);
	if (*at && i < array.n && array.at[i] == ',') i = bh_space_(array, i + 1);
	if (i >= array.n || array.at[i] == ']') return false;
	uint32_t end = bh_value_end_(array, i);
	if (end == i) return false; /* malformed */
	*element = (bh_value){array.at + i, end - i};
	*at = end;
	return true;
}
bh_value bh_json_get(bh_value object, bh_str key) {
	uint32_t i = bh_space_(object, 0);
	if (i >= object.n || object.at[i] != '{') return BH("");
	for (i = bh_space_(object, i + 1); i < object.n && object.at[i] == '"';) {
		uint32_t end = bh_string_end_(object, i);
		bh_value name = {object.at + i, end - i};
		i = bh_space_(object, end);
		if (i >= object.n || object.at[i] != ':') break;
		i = bh_space_(object, i + 1);
		end = bh_value_end_(object, i);
		if (bh_eq(bh_json_str(name), key)) return (bh_value){object.at + i, end - i};
		i = bh_space_(object, end);
		if (i >= object.n || object.at[i] != ',') break;
		i = bh_space_(object, i + 1);
	}
	return BH("");
}
static int32_t bh_hex4_(bh_str s, uint32_t i) {
	int32_t v = 0;
	for (uint32_t k = 0; k < 4; k++) {
		int digit = i + k < s.n ? bh_hex_(s.at[i + k]) : -1;
		if (digit < 0) return -1;
		v = v << 4 | digit;
	}
	return v;
}
bh_str bh_json_str(bh_value v) {
	if (v.n < 2 || v.at[0] != '"' || v.at[v.n - 1] != '"') return BH("");
	v = (bh_str){v.at + 1, v.n - 2};
	if (bh_mark_of_(v, '\\') == v.n) return v;
	bh_buf out = {bh_alloc(v.n), 0, v.n};
	for (uint32_t i = 0; i < v.n; i++) {
		char c = v.at[i];
		if (c != '\\' || i + 1 >= v.n) {
			bh_byte_(&out, (uint8_t)c);
			continue;
		}
		c = v.at[++i];
		if (c == 'u') {
			int32_t u = bh_hex4_(v, i + 1);
			if (u < 0) return BH("");
			i += 4;
			int32_t low = u >= 0xd800 && u < 0xdc00 && i + 2 < v.n && v.at[i + 1] == '\\' && v.at[i + 2] == 'u' ? bh_hex4_(v, i + 3) : -1;
			if (low >= 0xdc00 && low < 0xe000) u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00), i += 6;
			else if (u >= 0xd800 && u < 0xe000) u = 0xfffd;
			if (u < 0x80) bh_byte_(&out, (uint8_t)u);
			else {
				int more = u < 0x800 ? 1 : u < 0x10000 ? 2 : 3;
				bh_byte_(&out, (uint8_t)(0xff00 >> (more + 1) | u >> 6 * more));
				while (more--) bh_byte_(&out, (uint8_t)(0x80 | (u >> 6 * more & 0x3f)));
			}
			continue;
		}
		bh_byte_(&out, (uint8_t)(c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : c));
	}
	return bh_done(&out);
}

#endif /* BULKHEAD_IMPLEMENTATION */
#endif /* BULKHEAD_H */
