package nethttp_test

import (
	"fmt"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/sdk/nethttp"
)

// A plugin that is a handler of net/http, such as an existing router. Its init has this.
func ExampleHandle() {
	_ = func() {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /releases/{name}", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s for %s", r.PathValue("name"), nethttp.RequestOf(r.Context()).User())
		})
		nethttp.Handle("release", mux)
	}
	// Output:
}
