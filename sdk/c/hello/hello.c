#define BULKHEAD_IMPLEMENTATION
#include "bulkhead.h"

static void hello(const bh_request *r, bh_reply *out) {
	bh_text(out, 200, bh_cat(BH("hello "), r->host.user, BH("")));
}

BH_ROUTES({BH("hello"), hello})
