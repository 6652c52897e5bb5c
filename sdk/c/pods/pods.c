/* Lists the names of a namespace's pods, as the user. */
#define BULKHEAD_IMPLEMENTATION
#include "bulkhead.h"

BH_CAPABILITY(kube)

static void list(const bh_request *r, bh_reply *out) {
	bh_request call = {.method = BH("GET")};
	call.url = bh_cat(BH("kube://"), bh_escape(bh_query(r, BH("cluster"))), BH("/api/v1/namespaces/"));
	call.url = bh_cat(call.url, bh_escape(bh_query(r, BH("namespace"))), BH("/pods"));
	if (!bh_kube_fetch(&call, out)) return; /* the error says who refused */
	bh_str body = out->response.body;
	if (out->response.status >= 400) {
		uint32_t status = out->response.status;
		bh_fail(out, status, bh_json_str(bh_json_get(body, BH("message"))));
		return;
	}
	bh_buf names = {0};
	bh_add(&names, BH("["));
	bh_value pod, items = bh_json_get(body, BH("items"));
	for (uint32_t at = 0; bh_json_next(items, &at, &pod);) {
		if (names.n > 1) bh_add(&names, BH(","));
		bh_add_json(&names, bh_json_str(bh_json_get(bh_json_get(pod, BH("metadata")), BH("name"))));
	}
	bh_add(&names, BH("]"));
	bh_json(out, 200, bh_done(&names));
}

BH_ROUTES({BH("list"), list})
